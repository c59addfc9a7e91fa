//! A router's view: follows the events of all instances to know which blocks each has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, Context};
use futures::StreamExt;
use kvbm_lockfree::SequenceHash;
use kvbm_lockfree::events::{InstanceId, KvCacheEvents, KvbmCacheEvents};
use kvbm_lockfree::pubsub::async_nats;
use tokio::time::timeout;

/// The longest silence before the connection is considered broken.
const SILENCE: Duration = Duration::from_millis(300);

/// The blocks that each instance has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Holders(pub BTreeMap<InstanceId, BTreeSet<u128>>);

impl Holders {
    /// Applies a message. Panics if it contradicts earlier ones.
    pub fn follow(&mut self, payload: &[u8]) {
        let message: KvbmCacheEvents = rmp_serde::from_slice(payload).unwrap();
        let held = self.0.entry(message.instance_id).or_default();
        match message.events {
            KvCacheEvents::Create(hashes) => {
                for hash in hashes {
                    assert!(held.insert(hash.as_u128()), "{hash:?} created twice");
                }
            }
            KvCacheEvents::Remove(hashes) => {
                for hash in hashes {
                    assert!(held.remove(&hash.as_u128()), "{hash:?} was not there");
                }
            }
            KvCacheEvents::Shutdown => {
                self.0.remove(&message.instance_id);
            }
        }
    }

    /// Returns how many leading blocks of a sequence an instance has.
    pub fn prefix(&self, instance: InstanceId, hashes: &[SequenceHash]) -> usize {
        let Some(held) = self.0.get(&instance) else {
            return 0;
        };
        hashes
            .iter()
            .take_while(|hash| held.contains(&hash.as_u128()))
            .count()
    }
}

/// Reads a stream from its beginning, across restarts of the server.
pub struct Consumer {
    context: Context,
    stream: &'static str,
    /// The position in the stream that was read last.
    last: u64,
    pub holders: Holders,
}

impl Consumer {
    pub fn new(client: async_nats::Client, stream: &'static str) -> Self {
        Self {
            context: jetstream::new(client),
            stream,
            last: 0,
            holders: Holders::default(),
        }
    }

    /// Reads until `is_done`.
    pub async fn read_until(&mut self, is_done: impl Fn(&Holders) -> bool) {
        while !is_done(&self.holders) {
            // A failure means that the server is away: try again.
            if self.read(&is_done).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn read(&mut self, is_done: impl Fn(&Holders) -> bool) -> anyhow::Result<()> {
        let stream = timeout(SILENCE, self.context.get_stream(self.stream)).await??;
        let consumer = stream.create_consumer(pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.last + 1,
            },
            ack_policy: AckPolicy::None,
            ..Default::default()
        });
        let consumer = timeout(SILENCE, consumer).await??;
        let mut messages = consumer.messages().await?;
        while !is_done(&self.holders)
            && let Some(message) = timeout(SILENCE, messages.next()).await?
        {
            let message = message?;
            let at = message
                .info()
                .map_err(|e| anyhow::anyhow!(e))?
                .stream_sequence;
            anyhow::ensure!(at == self.last + 1, "after {} came {at}", self.last);
            self.holders.follow(&message.payload);
            self.last = at;
        }
        Ok(())
    }
}
