//! Least recently released first.
//!
//! This is the [order of release](super::release_order) with a single level.
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

use super::release_order::ReleaseOrder;
use crate::policy::slot_policy::PlainPolicy;
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

    fn is_sharded(&self) -> bool {
        true
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        Box::new(Lru::new(block_count))
    }
}

/// Evicts the block whose last release is longest ago.
pub(crate) type Lru = ReleaseOrder<1>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::slot_policy::SlotPolicy;
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
