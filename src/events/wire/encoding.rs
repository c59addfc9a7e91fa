//! How is a batch serialized, and what if it is too large for a message?
//!
//! As MessagePack. A batch that is too large is split into several, each a message of its own.

use std::vec;

use anyhow::{Result, bail};
use bytes::Bytes;

use crate::SequenceHash;

use super::messages::{KvCacheEvents, KvbmCacheEvents};

/// Iterates over the messages of a batch, in order. Each is itself a batch.
pub(super) struct Messages {
    /// The parts still to be serialized, in reverse order.
    parts: Vec<KvbmCacheEvents>,
    /// The size of the largest message in bytes, if there is a limit.
    limit: Option<usize>,
}

impl Messages {
    /// Serializes a batch into messages of at most `limit` bytes.
    pub(super) fn of(batch: KvbmCacheEvents, limit: Option<usize>) -> Self {
        Self {
            parts: vec![batch],
            limit,
        }
    }
}

impl Iterator for Messages {
    type Item = Result<Bytes>;

    /// Returns the next message, or an error for an event that is too large on its own.
    fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            let part = self.parts.pop()?;
            let payload = match rmp_serde::to_vec(&part) {
                Ok(payload) => payload,
                Err(error) => return Some(Err(error.into())),
            };
            let size = payload.len();
            match self.limit {
                Some(limit) if size > limit => {
                    // As many parts as suffice if hashes account for the whole size, but at
                    // least two.
                    match split(part, size.div_ceil(limit.max(1)).max(2)) {
                        Ok(parts) => self.parts.extend(parts.rev()),
                        Err(error) => {
                            return Some(Err(error.context(format!(
                                "the message has {size} bytes, but at most {limit} are accepted"
                            ))));
                        }
                    }
                }
                _ => return Some(Ok(payload.into())),
            }
        }
    }
}

/// Splits a batch into at most `parts` batches of nearly equal size.
fn split(batch: KvbmCacheEvents, parts: usize) -> Result<vec::IntoIter<KvbmCacheEvents>> {
    let KvbmCacheEvents {
        events,
        instance_id,
    } = batch;
    type Kind = fn(Vec<SequenceHash>) -> KvCacheEvents;
    let (hashes, kind): (_, Kind) = match events {
        KvCacheEvents::Create(hashes) => (hashes, KvCacheEvents::Create),
        KvCacheEvents::Remove(hashes) => (hashes, KvCacheEvents::Remove),
        KvCacheEvents::Shutdown => bail!("the message cannot be split"),
    };
    if hashes.len() <= 1 {
        bail!("the message cannot be split");
    }
    let batches: Vec<_> = hashes
        .chunks(hashes.len().div_ceil(parts))
        .map(|hashes| KvbmCacheEvents {
            events: kind(hashes.to_vec()),
            instance_id,
        })
        .collect();
    Ok(batches.into_iter())
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;

    fn batch(events: KvCacheEvents) -> KvbmCacheEvents {
        KvbmCacheEvents {
            events,
            instance_id: 7,
        }
    }

    fn hashes(count: u64) -> Vec<SequenceHash> {
        (0..count)
            .map(|position| SequenceHash::new(position + 1, None, position))
            .collect()
    }

    /// Returns the hashes of all messages, and how many each message has.
    fn sent(batch: KvbmCacheEvents, limit: Option<usize>) -> (Vec<SequenceHash>, Vec<usize>) {
        let mut counts = Vec::new();
        let mut all = Vec::new();
        for message in Messages::of(batch, limit) {
            let message = message.unwrap();
            assert!(limit.is_none_or(|limit| message.len() <= limit));
            let message: KvbmCacheEvents = rmp_serde::from_slice(&message).unwrap();
            assert_eq!(message.instance_id, 7);
            let (KvCacheEvents::Create(hashes) | KvCacheEvents::Remove(hashes)) = message.events
            else {
                panic!("an unexpected shutdown");
            };
            counts.push(hashes.len());
            all.extend(hashes);
        }
        (all, counts)
    }

    #[test]
    fn parts_are_in_order_and_within_the_limit() {
        let created = || batch(KvCacheEvents::Create(hashes(1000)));
        let size = rmp_serde::to_vec(&created()).unwrap().len();
        assert_eq!(sent(created(), None), (hashes(1000), vec![1000]));
        assert_eq!(sent(created(), Some(size)), (hashes(1000), vec![1000]));
        assert_eq!(
            sent(created(), Some(size - 1)),
            (hashes(1000), vec![500, 500])
        );
        for limit in [64, 100, 1000, 5000] {
            assert_eq!(sent(created(), Some(limit)).0, hashes(1000));
        }
        let removed = batch(KvCacheEvents::Remove(hashes(100)));
        assert_eq!(sent(removed, Some(200)).0, hashes(100));
    }

    #[test]
    fn what_cannot_be_split_is_an_error() {
        for (events, errors) in [
            (KvCacheEvents::Create(hashes(3)), 3),
            (KvCacheEvents::Create(hashes(1)), 1),
            (KvCacheEvents::Remove(Vec::new()), 1),
            (KvCacheEvents::Shutdown, 1),
        ] {
            for limit in [0, 1] {
                let messages = Messages::of(batch(events.clone()), Some(limit));
                let messages: Vec<_> = messages.collect();
                assert!(messages.iter().all(Result::is_err), "{events:?}");
                assert_eq!(messages.len(), errors, "{events:?}");
            }
        }
    }
}
