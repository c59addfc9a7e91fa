//! Publishers that panic: only the message being published is lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use kvbm_lockfree::events::{
    BatchingConfig, EventsManager, KvCacheEvents, KvbmCacheEvents, KvbmCacheEventsPublisher,
};
use kvbm_lockfree::pubsub::Publisher;
use kvbm_lockfree::{BlockManager, BlockRegistry};

use crate::fuse::Fuse;
use crate::ledger::{Ledger, Owner, Value};
use crate::world::{Gpu, hash};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    MaxPayload,
    Publish,
    Flush,
    /// The poll of the future.
    Flushing,
    /// The drop of the future.
    Flushed,
    Drop,
}

const PLACES: [At; 6] = [
    At::MaxPayload,
    At::Publish,
    At::Flush,
    At::Flushing,
    At::Flushed,
    At::Drop,
];

/// What has been published.
#[derive(Default)]
struct Log {
    messages: Mutex<Vec<Bytes>>,
    flushes: Mutex<u32>,
}

/// A bus that panics.
struct Bus {
    at: At,
    fuse: Arc<Fuse>,
    log: Arc<Log>,
    _life: Value,
}

impl Bus {
    fn call_at(&self, at: At) {
        if self.at == at {
            self.fuse.call();
        }
    }
}

impl Publisher for Bus {
    fn publish(&self, _subject: &str, payload: Bytes) -> anyhow::Result<()> {
        self.call_at(At::Publish);
        let messages = self.log.messages.lock();
        messages
            .unwrap_or_else(PoisonError::into_inner)
            .push(payload);
        Ok(())
    }

    fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
        self.call_at(At::Flush);
        *self
            .log
            .flushes
            .lock()
            .unwrap_or_else(PoisonError::into_inner) += 1;
        Flushing {
            at: self.at,
            fuse: Arc::clone(&self.fuse),
        }
        .boxed()
    }

    fn max_payload(&self) -> Option<usize> {
        self.call_at(At::MaxPayload);
        None
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.call_at(At::Drop);
    }
}

struct Flushing {
    at: At,
    fuse: Arc<Fuse>,
}

impl Future for Flushing {
    type Output = anyhow::Result<()>;

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.at == At::Flushing {
            self.fuse.call();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        if self.at == At::Flushed {
            self.fuse.call();
        }
    }
}

/// The result of a run.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    messages: Vec<KvCacheEvents>,
    flushes: u32,
    calls: u32,
    /// Whether joining reported that nothing was lost.
    is_joined: bool,
    /// Whether the bus was dropped exactly once.
    is_dropped: bool,
}

/// Publishes four batches and the end.
fn publish(at: At, armed: &[u32], depth: u32) -> Outcome {
    let fuse = Fuse::new(armed, depth);
    fuse.light();
    let log = Arc::new(Log::default());
    let ledger = Arc::new(Ledger::default());
    let bus = Bus {
        at,
        fuse: Arc::clone(&fuse),
        log: Arc::clone(&log),
        _life: Value::new(Owner::Low, &ledger, None),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let is_joined = runtime.block_on(async {
        let events = Arc::new(EventsManager::builder().build());
        let publisher = KvbmCacheEventsPublisher::builder()
            .instance_id(7)
            .event_stream(events.subscribe())
            .publisher(Arc::new(bus))
            .batching_config(BatchingConfig::default())
            .build()
            .expect("everything is there");
        let registry = BlockRegistry::builder().event_manager(events).build();
        for n in 0..2 {
            drop(registry.register_sequence_hash(hash(n)));
        }
        // The manager continues, whatever happens to the publisher.
        let manager = BlockManager::<Gpu>::builder()
            .block_count(2)
            .registry(registry)
            .build()
            .expect("it is valid");
        drop(manager);
        publisher.join().await.is_ok()
    });
    drop(runtime);
    fuse.put_out();
    let messages = log.messages.lock().unwrap_or_else(PoisonError::into_inner);
    let messages = messages.iter().map(|payload| {
        let message: KvbmCacheEvents = rmp_serde::from_slice(payload).expect("a message");
        message.events
    });
    let gone_off = fuse.gone_off();
    assert_eq!(gone_off, armed, "the bombs went off");
    Outcome {
        messages: messages.collect(),
        flushes: *log.flushes.lock().unwrap_or_else(PoisonError::into_inner),
        calls: fuse.calls(),
        is_joined,
        is_dropped: ledger.open().is_empty(),
    }
}

#[test]
fn a_publisher_that_panics_loses_what_is_at_hand() {
    for at in PLACES {
        let control = publish(at, &[], 0);
        assert_eq!(control.messages.len(), 5, "two pairs, and the end");
        assert!(control.is_joined && control.is_dropped && control.calls > 0);
        let last = control.calls - 1;
        let mut armed = vec![
            vec![0],
            vec![control.calls / 2],
            vec![last],
            vec![0, last],
            vec![0, 1],
        ];
        armed.retain(|at| at.windows(2).all(|two| two[0] < two[1]) && at[at.len() - 1] <= last);
        for (armed, depth) in armed.iter().flat_map(|armed| [(armed, 0), (armed, 2)]) {
            let outcome = publish(at, armed, depth);
            let mut expected = publish(at, &[], 0);
            if matches!(at, At::MaxPayload | At::Publish) {
                let mut number = 0;
                expected.messages.retain(|_| {
                    number += 1;
                    !armed.contains(&(number - 1))
                });
            }
            if at == At::Flush {
                expected.flushes = 0;
            }
            // What panicked in the end had done its work by then.
            expected.is_joined = matches!(at, At::Flushed | At::Drop);
            assert_eq!(outcome, expected, "{at:?}, {armed:?}, {depth}");
        }
    }
}
