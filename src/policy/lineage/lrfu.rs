//! Leaves by how often and how recently their content was used.
//!
//! This is the order of *LRFU: a spectrum of policies that subsumes the least recently used
//! and least frequently used policies* (Lee, Choi, Kim, Noh, Min, Cho, Kim; IEEE
//! Transactions on Computers 50, 2001). Every use of a block's content has a value that halves
//! with each half-life, and the block whose content has the smallest sum is evicted first. With
//! a short half-life, that is LRU; with an infinite one, LFU.
//!
//! # What is different here?
//!
//! * Only leaves of the lineage are candidates.
//! * Uses of content that is not cached count too, as far back as a bounded
//!   [history](crate::policy::adaptive::history) reaches: content that was evicted between two
//!   uses has been used twice, not once.
//! * Time passes only when content that the history knows is used, so that content that is used
//!   once does not age the rest.
//! * The half-life is [tuned](crate::policy::adaptive::tuner), unless it is given.
//!
//! A release counts as a use. The sum of values is kept as a time, which does not change
//! until the next use. The leaves can therefore be kept in a heap, and need no aging.

use super::graph::Lineage;
use super::leaves::Leaves;
use crate::SequenceHash;
use crate::policy::adaptive::history::{History, key};
use crate::policy::adaptive::tag::Tag;
use crate::policy::adaptive::tuner::Tuner;
use crate::policy::containers::heap::SlotHeap;
use crate::policy::slot_policy::PlainPolicy;
use crate::policy::spec::PolicySpec;

/// The longest half-life that can be given.
const MAX_HALF_LIFE: u32 = 1 << 24;

/// Hashes in the history, per block.
const HASHES: usize = 3;

/// The fewest hashes in any history: an eighth of a megabyte.
const FEWEST_HASHES: usize = 1 << 13;

/// Leaf-first by LRFU.
pub(crate) struct Lrfu {
    /// In releases of known content, or `None` if it is tuned.
    half_life: Option<u32>,
}

impl Lrfu {
    pub(crate) const TUNED: Self = Self { half_life: None };

    pub(crate) fn with_half_life(releases: u32) -> Self {
        Self {
            half_life: Some(releases),
        }
    }
}

impl PolicySpec for Lrfu {
    fn name(&self) -> &'static str {
        "lrfu"
    }

    fn title(&self) -> &'static str {
        "LRFU"
    }

    fn summary(&self) -> &'static str {
        "Leaf-first: the leaf used least often and least recently goes first."
    }

    fn is_leaf_first(&self) -> bool {
        true
    }

    fn validate(&self) -> Result<(), String> {
        match self.half_life {
            Some(half_life) if !(1..=MAX_HALF_LIFE).contains(&half_life) => Err(format!(
                "the half-life must be from 1 to {MAX_HALF_LIFE} releases, got {half_life}"
            )),
            _ => Ok(()),
        }
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        let leaves = match self.half_life {
            Some(half_life) => LrfuLeaves::with_half_life(block_count, half_life),
            None => LrfuLeaves::new(block_count),
        };
        Box::new(Lineage::with_leaves(block_count, leaves))
    }
}

/// See the module documentation.
pub(crate) struct LrfuLeaves {
    leaves: SlotHeap,
    history: History,
    /// `None` if the half-life is given.
    tuner: Option<Tuner>,
}

impl LrfuLeaves {
    pub(crate) fn with_half_life(block_count: usize, half_life: u32) -> Self {
        Self {
            leaves: SlotHeap::new(block_count),
            history: History::new(hashes(block_count), f64::from(half_life)),
            tuner: None,
        }
    }

    /// Creates an order whose half-life is tuned, with a history of `hashes` hashes.
    fn tuned(block_count: usize, hashes: usize) -> Self {
        let tuner = Tuner::new(block_count, hashes);
        Self {
            leaves: SlotHeap::new(block_count),
            history: History::new(hashes, tuner.half_life()),
            tuner: Some(tuner),
        }
    }
}

fn hashes(block_count: usize) -> usize {
    (HASHES * block_count).max(FEWEST_HASHES)
}

impl Leaves for LrfuLeaves {
    const COMMUTES: bool = true;
    const IS_TRACELESS: bool = false;

    fn new(block_count: usize) -> Self {
        Self::tuned(block_count, hashes(block_count))
    }

    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool) {
        let tag = Tag::of(hash);
        self.leaves.set_key(slot, key(self.history.count(tag)));
        if let Some(tuner) = &mut self.tuner
            && tuner.count(tag)
        {
            self.history.set_half_life(tuner.half_life());
        }
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
        self.tuner.as_ref().map_or(Ok(()), Tuner::check)?;
        Ok(self.leaves.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lrfu_model::Model;
    use super::*;
    use crate::policy::testing::Random;

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
        for (half_life, order) in [(1, [0, 1, 2]), (1000, [1, 2, 0])] {
            let mut leaves = LrfuLeaves::with_half_life(3, half_life);
            for _ in 0..50 {
                leaves.list(0, hash(7), true);
                leaves.unlist(0);
            }
            leaves.list(0, hash(7), true);
            // Each is used a few times, so that time passes.
            for slot in 1..3 {
                for _ in 0..4 {
                    leaves.list(slot, hash(u64::from(slot)), true);
                    leaves.unlist(slot);
                }
                leaves.list(slot, hash(u64::from(slot)), true);
            }
            assert_eq!(drain(&mut leaves), order);
        }
    }

    /// For a while, some hashes are popular among many that are used once. Then hashes are used
    /// a few times, as far apart as the pool has room for, and never again.
    fn content(random: &mut Random, step: u64, slots: u64) -> u64 {
        if (step / 4_000).is_multiple_of(2) {
            match random.below(2) {
                0 => random.below(slots),
                _ => 1 << 40 | random.below(1 << 40),
            }
        } else {
            1 << 50 | (step / 4).saturating_sub(random.below(slots))
        }
    }

    fn compare(mut leaves: LrfuLeaves, mut model: Model, slots: u64, seed: u64) -> [bool; 2] {
        let mut random = Random::new(seed);
        let mut moved = [false; 2];
        for step in 0..16_000 {
            let slot = random.below(slots) as u32;
            match random.below(8) {
                0..=4 => {
                    // As in a pool, which takes a victim's slot.
                    let slot = match model.first() {
                        Some(victim) if model.is_listed(slot) => {
                            leaves.unlist(victim);
                            model.unlist(victim);
                            victim
                        }
                        _ if model.is_listed(slot) => continue,
                        _ => slot,
                    };
                    let hash = hash(content(&mut random, step, slots));
                    let leaf = random.below(4) > 0;
                    let before = model.half_life();
                    leaves.list(slot, hash, leaf);
                    model.list(slot, Tag::of(hash), leaf);
                    moved[0] |= model.half_life() < before;
                    moved[1] |= model.half_life() > before;
                }
                5 => {
                    leaves.unlist(slot);
                    model.unlist(slot);
                }
                _ if !model.is_listed(slot) => {}
                _ => {
                    let leaf = model.is_leaf(slot);
                    model.set_leaf(slot, !leaf);
                    if leaf {
                        leaves.demote(slot);
                    } else {
                        leaves.add(slot);
                    }
                }
            }
            assert_eq!(leaves.first(), model.first());
            assert_eq!(leaves.contains(slot), model.is_leaf(slot));
            if let Some(tuner) = &leaves.tuner {
                assert_eq!(tuner.half_life(), model.half_life(), "step {step}");
            }
            if step % 100 == 0 {
                leaves.check().unwrap();
            }
        }
        moved
    }

    /// Room for enough hashes that none is forgotten.
    const ROOM: usize = 1 << 17;

    #[test]
    fn agrees_with_the_model() {
        for seed in 0..6 {
            for half_life in [1, 20, 1_000] {
                let mut leaves = LrfuLeaves::with_half_life(20, half_life);
                leaves.history = History::new(ROOM, f64::from(half_life));
                compare(leaves, Model::with_half_life(half_life), 20, seed);
            }
        }
    }

    #[test]
    fn agrees_with_the_model_while_it_is_tuned() {
        for (blocks, small) in [(16, 16), (24, 16), (256, 32)] {
            for seed in 0..6 {
                let leaves = LrfuLeaves::tuned(blocks, ROOM);
                let model = Model::tuned(blocks, small);
                let moved = compare(leaves, model, blocks as u64, seed);
                assert_eq!(moved, [true; 2], "{blocks} blocks, seed {seed}");
            }
        }
    }
}
