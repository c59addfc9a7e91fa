//! Least recently released first.
//!
//! One [ring](crate::policy::containers::ring) in order of release. Releasing a block
//! appends it, taking it out leaves a gap, and the victim is the front. Each operation is O(1)
//! amortized.
//!
//! The same type serves two orders that a store can be configured with:
//!
//! - *LRU* moves a block to the end whenever it is used. A block in use is not listed at
//!   all, so its last use is over when it is released, and appending it then is the move.
//! - *A hash map with first-in-first-out reuse* numbers the blocks as they are released, and
//!   evicts the smallest number. A matched block leaves the map and is numbered again by its
//!   next release, so the numbers ascend in order of last release.
//!
//! Both evict in order of last release.

use crate::SequenceHash;
use crate::policy::containers::bands::Bands;
use crate::policy::containers::ring::ReleaseRing;
use crate::policy::priorities::retained::Retained;
use crate::policy::slot_policy::{PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::policy::spec::PolicySpec;

/// The order of last release, under either of its names.
pub(crate) struct OldestFirst {
    name: &'static str,
    title: &'static str,
    summary: &'static str,
}

impl OldestFirst {
    pub(crate) const LRU: Self = Self {
        name: "lru",
        title: "LRU",
        summary: "Least recently used first.",
    };

    pub(crate) const HASH_MAP: Self = Self {
        name: "hashmap",
        title: "HashMap",
        summary: "First in, first out, over a hash map: least recently released first.",
    };
}

impl PolicySpec for OldestFirst {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        Box::new(Lru::new(block_count))
    }
}

/// Evicts the block whose last release is longest ago.
pub(crate) struct Lru {
    order: ReleaseRing,
}

impl Lru {
    pub(crate) fn new(block_count: usize) -> Self {
        Self {
            order: ReleaseRing::new(block_count),
        }
    }
}

impl SlotPolicy for Lru {
    fn insert(&mut self, slot: u32, _hash: SequenceHash, _level: u8) {
        self.order.push(slot);
    }

    fn remove(&mut self, slot: u32) {
        self.order.remove(slot);
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        self.order.pop()
    }

    fn contains(&self, slot: u32) -> bool {
        self.order.contains(slot)
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    /// False: taking a block out leaves the order of the others unchanged, and its own next
    /// position comes from its next release.
    fn observes_resurrection(&self) -> bool {
        false
    }

    /// True: what is released later is evicted later.
    fn hands_out_ahead(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        self.order.check()
    }
}

impl PlainPolicy for Lru {
    fn with_priorities(self: Box<Self>, bands: Bands) -> Box<dyn PrioritizedPolicy> {
        Box::new(Retained::new(*self, bands))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Random, any_hash};

    #[test]
    fn releasing_again_moves_to_the_end() {
        let mut lru = Lru::new(3);
        for slot in [0, 1, 2, 0] {
            lru.insert(slot, any_hash(), 0);
        }
        assert_eq!(lru.len(), 3);
        assert_eq!(
            [lru.pop(), lru.pop(), lru.pop()],
            [Some(1), Some(2), Some(0)]
        );
        assert_eq!(lru.pop(), None);
    }

    #[test]
    fn agrees_with_a_plain_queue() {
        const SLOTS: u64 = 12;
        let mut random = Random::new(1);
        let mut lru = Lru::new(SLOTS as usize);
        let mut queue: Vec<u32> = Vec::new();
        for _ in 0..20_000 {
            let slot = random.below(SLOTS) as u32;
            match random.below(4) {
                0 | 1 => {
                    queue.retain(|&listed| listed != slot);
                    queue.push(slot);
                    lru.insert(slot, any_hash(), 0);
                }
                2 => {
                    queue.retain(|&listed| listed != slot);
                    lru.remove(slot);
                }
                _ => {
                    let victim = (!queue.is_empty()).then(|| queue.remove(0));
                    assert_eq!(lru.pop(), victim);
                }
            }
            lru.check().unwrap();
            assert_eq!(lru.len(), queue.len());
            assert_eq!(lru.contains(slot), queue.contains(&slot));
        }
    }
}
