//! A small model of a pool, which estimates how many hits a half-life would have.
//!
//! The content of a cache is a sample of hashes. A small cache that sees every hundredth hash,
//! with a hundredth of the blocks, therefore has about the hit rate of the large one
//! (Waldspurger, Saemundsson, Ahmad, Park: *Cache modeling and optimization using miniature
//! simulations*, USENIX ATC 2017).
//!
//! The miniature evicts by the places of a [history](super::history) of its own. It ignores
//! the lineage, because a sample of a chain is not a chain. That makes little difference,
//! since a parent is used whenever its child is. Blocks in use, however, do make a
//! difference. A request that holds its blocks evicts those of others. A request that
//! released each block before it took the next would evict its own, the more so the further back
//! a first use is placed. Uses are therefore grouped in batches, and a batch holds all of its
//! blocks at the same time.

use std::collections::HashMap;

use ahash::RandomState;

use super::history::{History, key};
use super::tag::Tag;
use crate::policy::containers::ensure;
use crate::policy::containers::heap::SlotHeap;

/// See the module documentation.
pub(crate) struct Miniature {
    history: History,
    order: SlotHeap,
    /// The content of each slot, up to the last slot that has been used.
    contents: Vec<Tag>,
    slots: HashMap<Tag, u32, RandomState>,
    blocks: usize,
}

impl Miniature {
    /// Creates an empty pool, with a history of `hashes` hashes.
    pub(crate) fn new(blocks: usize, hashes: usize) -> Self {
        Self {
            history: History::new(hashes, 1.0),
            order: SlotHeap::new(blocks),
            contents: Vec::with_capacity(blocks),
            // Twice the room, so that the table is cleaned up in place.
            slots: HashMap::with_capacity_and_hasher(2 * blocks, RandomState::new()),
            blocks,
        }
    }

    /// Uses the hashes of a batch, at most as many as there are blocks, with this half-life.
    /// Returns the number of hits.
    pub(crate) fn serve(&mut self, batch: &[Tag], half_life: f64) -> u32 {
        for tag in batch {
            if let Some(&slot) = self.slots.get(tag) {
                self.order.remove(slot);
            }
        }
        let mut hits = 0;
        for &tag in batch {
            if self.slots.contains_key(&tag) {
                hits += 1;
            } else {
                self.admit(tag);
            }
        }
        self.history.set_half_life(half_life);
        for &tag in batch {
            let slot = self.slots[&tag];
            // A hash that occurs twice is there already.
            self.order.remove(slot);
            self.order.set_key(slot, key(self.history.count(tag)));
            self.order.push(slot);
        }
        hits
    }

    fn admit(&mut self, tag: Tag) {
        let slot = self.contents.len();
        if slot < self.blocks {
            self.contents.push(tag);
            self.slots.insert(tag, slot as u32);
        } else if let Some(slot) = self.order.first() {
            self.order.remove(slot);
            let before = std::mem::replace(&mut self.contents[slot as usize], tag);
            self.slots.remove(&before);
            self.slots.insert(tag, slot);
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.order.check()?;
        let filled = [self.contents.len(), self.slots.len()];
        ensure(filled == [self.order.len(); 2], || {
            format!("{filled:?} slots, {} in order", self.order.len())
        })?;
        for (slot, tag) in (0..).zip(&self.contents) {
            let recorded = self.slots.get(tag);
            ensure(recorded == Some(&slot), || {
                format!("{tag:?} is in slot {slot}, not {recorded:?}")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SequenceHash;

    fn tags(numbers: impl IntoIterator<Item = u64>) -> Vec<Tag> {
        let tag = |n| Tag::of(SequenceHash::new(n, None, 0));
        numbers.into_iter().map(tag).collect()
    }

    #[test]
    fn counts_what_is_there() {
        let mut miniature = Miniature::new(4, 100);
        assert_eq!(miniature.serve(&tags([1, 2, 3]), 10.0), 0);
        assert_eq!(miniature.serve(&tags([1, 4, 4]), 10.0), 2);
        assert_eq!(miniature.serve(&tags([2, 3, 4]), 10.0), 3);
        miniature.check().unwrap();
    }

    #[test]
    fn a_batch_does_not_push_out_its_own() {
        let mut miniature = Miniature::new(4, 100);
        for _ in 0..5 {
            miniature.serve(&tags([1, 2, 3, 4]), 1e6);
        }
        assert_eq!(miniature.serve(&tags([5, 6, 7]), 1e6), 0);
        assert_eq!(miniature.serve(&tags([5, 6, 7]), 1e6), 3);
    }

    #[test]
    fn the_half_life_decides_what_stays() {
        for (half_life, stays) in [(1e6, 1), (0.1, 0)] {
            let mut miniature = Miniature::new(2, 100);
            for _ in 0..5 {
                miniature.serve(&tags([1]), half_life);
            }
            for _ in 0..2 {
                miniature.serve(&tags([2]), half_life);
                miniature.serve(&tags([3]), half_life);
            }
            assert_eq!(miniature.serve(&tags([1]), half_life), stays);
        }
    }
}
