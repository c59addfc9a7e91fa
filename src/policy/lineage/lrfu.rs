//! Leaves by how often and how lately their content was used.
//!
//! The order of *LRFU: a spectrum of policies that subsumes the least recently used and
//! least frequently used policies* (Lee, Choi, Kim, Noh, Min, Cho, Kim; IEEE
//! Transactions on Computers 50, 2001): every use of a content has a value that
//! halves with each half-life, and the block whose content has the smallest sum goes
//! first. With a short half-life that is LRU, with an endless one LFU.
//!
//! Two things are this crate's. Only leaves of the lineage are candidates. And the
//! uses of contents that are not cached count too, as far back as a bounded
//! [history](super::history) has them: what was evicted between two uses has not
//! been used once.
//!
//! A release is a use. The sum of values is kept as a time that does not change until
//! the next use, so that the leaves stand in a heap, and nothing has to be aged.

use super::Leaves;
use super::heap::SlotHeap;
use super::history::History;
use crate::SequenceHash;

/// The half-life, in releases of blocks, if nothing else is said.
pub(crate) const HALF_LIFE: u32 = 24_576;

/// The longest half-life: its history takes a gigabyte.
pub(crate) const MAX_HALF_LIFE: u32 = 1 << 24;

/// See the module documentation.
pub(crate) struct LrfuLeaves {
    leaves: SlotHeap,
    history: History,
}

impl LrfuLeaves {
    pub(crate) fn with_half_life(block_count: usize, half_life: u32) -> Self {
        Self {
            leaves: SlotHeap::new(block_count),
            history: History::new(half_life),
        }
    }
}

impl Leaves for LrfuLeaves {
    const COMMUTES: bool = true;
    const IS_TRACELESS: bool = false;

    fn new(block_count: usize) -> Self {
        Self::with_half_life(block_count, HALF_LIFE)
    }

    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool) {
        self.leaves.set_key(slot, self.history.count(hash));
        if leaf {
            self.leaves.push(slot);
        }
    }

    fn unlist(&mut self, slot: u32) {
        self.leaves.remove(slot);
    }

    fn add(&mut self, slot: u32) {
        self.leaves.push(slot);
    }

    fn demote(&mut self, slot: u32) {
        self.leaves.remove(slot);
    }

    fn first(&mut self) -> Option<u32> {
        self.leaves.first()
    }

    fn contains(&self, slot: u32) -> bool {
        self.leaves.contains(slot)
    }

    fn check(&self) -> Result<usize, String> {
        self.leaves.check()?;
        Ok(self.leaves.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> SequenceHash {
        SequenceHash::new(n, None, 0)
    }

    fn drain(leaves: &mut LrfuLeaves) -> Vec<u32> {
        std::iter::from_fn(|| {
            let slot = leaves.first()?;
            leaves.unlist(slot);
            Some(slot)
        })
        .collect()
    }

    #[test]
    fn once_used_is_least_recently_used() {
        let mut leaves = LrfuLeaves::new(4);
        for slot in [2, 0, 3, 1] {
            leaves.list(slot, hash(u64::from(slot)), true);
        }
        leaves.demote(0);
        leaves.add(0);
        assert_eq!(drain(&mut leaves), [2, 0, 3, 1]);
    }

    #[test]
    fn uses_before_an_eviction_count() {
        let mut leaves = LrfuLeaves::with_half_life(4, 1000);
        leaves.list(0, hash(7), true);
        leaves.unlist(0);
        // In another slot, and before the others.
        leaves.list(1, hash(7), true);
        leaves.list(2, hash(8), true);
        leaves.list(3, hash(9), true);
        assert_eq!(drain(&mut leaves), [2, 3, 1]);
    }

    #[test]
    fn a_short_half_life_forgets() {
        let mut leaves = LrfuLeaves::with_half_life(4, 1);
        for _ in 0..50 {
            leaves.list(0, hash(7), true);
            leaves.unlist(0);
        }
        leaves.list(0, hash(7), true);
        for slot in 1..4 {
            leaves.list(slot, hash(u64::from(slot)), true);
        }
        assert_eq!(drain(&mut leaves), [0, 1, 2, 3]);
    }
}
