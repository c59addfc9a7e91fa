//! Which queued events change whether a hash is registered?
//!
//! Consecutive registrations of a hash may be queued out of order: the second one's `Create`
//! before the first one's `Remove`. So the dispatcher counts the live registrations of each
//! hash. `Create` is an event for subscribers when the count goes from zero to one, `Remove`
//! when it goes from one to zero. A count exceeds one only briefly.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;

use crate::SequenceHash;
use crate::events::event::KvCacheEvent;

/// Spare capacity that is kept for future hashes.
const SPARE: usize = 1024;

/// The number of live registrations per hash, according to the events drained so far.
#[derive(Default)]
pub(crate) struct LiveCounts {
    by_hash: HashMap<SequenceHash, u32, RandomState>,
    /// The largest number of hashes since memory was last released.
    peak: usize,
}

impl LiveCounts {
    /// Counts a queued event. Returns whether its hash has become registered or
    /// unregistered.
    pub(crate) fn apply(&mut self, event: &KvCacheEvent) -> bool {
        match event {
            KvCacheEvent::Create(hash) => {
                let count = self.by_hash.entry(*hash).or_default();
                *count += 1;
                let is_first = *count == 1;
                self.peak = self.peak.max(self.by_hash.len());
                is_first
            }
            KvCacheEvent::Remove(hash) => match self.by_hash.entry(*hash) {
                Entry::Occupied(count) if *count.get() == 1 => {
                    count.remove();
                    true
                }
                Entry::Occupied(mut count) => {
                    *count.get_mut() -= 1;
                    false
                }
                Entry::Vacant(_) => {
                    // Cannot happen: a `Remove` is queued only after its `Create`. If it did,
                    // ignoring it would keep the pairs exact and the dispatch thread alive, so
                    // only the crate's own tests panic.
                    if cfg!(test) {
                        panic!("{hash:?} ended and had not begun");
                    }
                    false
                }
            },
        }
    }

    /// Releases memory if the capacity far exceeds the number of hashes.
    pub(crate) fn trim(&mut self) {
        let room = SPARE + 2 * self.by_hash.len();
        if self.peak > 4 * room {
            self.by_hash.shrink_to(room);
            self.peak = self.by_hash.len();
        }
    }

    /// Returns the hashes that are registered.
    #[cfg(test)]
    pub(crate) fn hashes(&self) -> impl Iterator<Item = SequenceHash> {
        self.by_hash.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(position: u64) -> SequenceHash {
        SequenceHash::new(1, None, position)
    }

    #[test]
    fn each_event_of_a_pair_is_a_change() {
        let mut counts = LiveCounts::default();
        assert!(counts.apply(&KvCacheEvent::Create(hash(0))));
        assert!(counts.apply(&KvCacheEvent::Create(hash(1))));
        assert!(counts.apply(&KvCacheEvent::Remove(hash(0))));
        assert_eq!(counts.hashes().collect::<Vec<_>>(), [hash(1)]);
    }

    #[test]
    fn an_overtaken_remove_changes_nothing() {
        let mut counts = LiveCounts::default();
        assert!(counts.apply(&KvCacheEvent::Create(hash(0))));
        assert!(!counts.apply(&KvCacheEvent::Create(hash(0))));
        assert!(!counts.apply(&KvCacheEvent::Remove(hash(0))));
        assert!(counts.apply(&KvCacheEvent::Remove(hash(0))));
        assert_eq!(counts.hashes().count(), 0);
    }

    #[test]
    fn memory_is_released() {
        let mut counts = LiveCounts::default();
        for position in 0..100_000 {
            counts.apply(&KvCacheEvent::Create(hash(position)));
        }
        for position in 0..100_000 {
            counts.apply(&KvCacheEvent::Remove(hash(position)));
        }
        assert!(counts.by_hash.capacity() > 8 * SPARE);
        counts.trim();
        assert!(counts.by_hash.capacity() < 8 * SPARE);
    }
}
