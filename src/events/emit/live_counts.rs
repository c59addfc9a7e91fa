//! How many registrations of each hash the notes read so far tell of.
//!
//! There is more than one only for a while: when a registration has been noted before the
//! end of the previous one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ahash::RandomState;

use crate::SequenceHash;

use crate::events::event::KvCacheEvent;

/// Capacity that is kept for future hashes.
const SPARE: usize = 1024;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Lives {
    by_hash: HashMap<SequenceHash, u32, RandomState>,
    /// The most hashes there have been since memory was given back.
    peak: usize,
}

impl Lives {
    /// Counts a note. Returns whether its hash has become registered or unregistered.
    pub(crate) fn count(&mut self, note: &KvCacheEvent) -> bool {
        match note {
            KvCacheEvent::Create(hash) => {
                let lives = self.by_hash.entry(*hash).or_default();
                *lives += 1;
                let is_first = *lives == 1;
                self.peak = self.peak.max(self.by_hash.len());
                is_first
            }
            KvCacheEvent::Remove(hash) => match self.by_hash.entry(*hash) {
                Entry::Occupied(lives) if *lives.get() == 1 => {
                    lives.remove();
                    true
                }
                Entry::Occupied(mut lives) => {
                    *lives.get_mut() -= 1;
                    false
                }
                Entry::Vacant(_) => {
                    // Cannot happen: whoever notes an end has noted the beginning. Should
                    // it, ignoring it keeps the pairs exact and the reader alive, so only
                    // the crate's own tests panic.
                    if cfg!(test) {
                        panic!("{hash:?} ended and had not begun");
                    }
                    false
                }
            },
        }
    }

    /// Gives back memory if there is room for many more hashes than there are.
    pub(crate) fn trim(&mut self) {
        let room = SPARE + 2 * self.by_hash.len();
        if self.peak > 4 * room {
            self.by_hash.shrink_to(room);
            self.peak = self.by_hash.len();
        }
    }

    /// The hashes that are registered.
    #[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
    pub(crate) fn hashes(&self) -> impl Iterator<Item = SequenceHash> {
        self.by_hash.keys().copied()
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use super::*;

    fn hash(position: u64) -> SequenceHash {
        SequenceHash::new(1, None, position)
    }

    #[test]
    fn a_pair_is_a_change_each() {
        let mut lives = Lives::default();
        assert!(lives.count(&KvCacheEvent::Create(hash(0))));
        assert!(lives.count(&KvCacheEvent::Create(hash(1))));
        assert!(lives.count(&KvCacheEvent::Remove(hash(0))));
        assert_eq!(lives.hashes().collect::<Vec<_>>(), [hash(1)]);
    }

    #[test]
    fn an_end_that_is_overtaken_changes_nothing() {
        let mut lives = Lives::default();
        assert!(lives.count(&KvCacheEvent::Create(hash(0))));
        assert!(!lives.count(&KvCacheEvent::Create(hash(0))));
        assert!(!lives.count(&KvCacheEvent::Remove(hash(0))));
        assert!(lives.count(&KvCacheEvent::Remove(hash(0))));
        assert_eq!(lives.hashes().count(), 0);
    }

    #[test]
    fn memory_comes_back() {
        let mut lives = Lives::default();
        for position in 0..100_000 {
            lives.count(&KvCacheEvent::Create(hash(position)));
        }
        for position in 0..100_000 {
            lives.count(&KvCacheEvent::Remove(hash(position)));
        }
        assert!(lives.by_hash.capacity() > 8 * SPARE);
        lives.trim();
        assert!(lives.by_hash.capacity() < 8 * SPARE);
    }
}
