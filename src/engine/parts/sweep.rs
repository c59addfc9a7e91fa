//! Sweeps: victims without the policy plane.
//!
//! The holder of the plane may be suspended, which puts the order of all inactive blocks out
//! of reach. Allocation does not wait for it, but sweeps the slots themselves, where every
//! inactive block is visible. A sweep follows no policy's order, except for one guarantee that
//! it keeps: under a leaf-first policy no block is taken before its inactive children.
//!
//! # What does it cost?
//!
//! O(block count), without locks. Under a leaf-first policy each round first collects the
//! parents of all inactive blocks in a set, which allocates.

use std::collections::HashSet;

use crate::policy::Keys;

use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::sync::{AtomicU32, Ordering};

/// Sweeps a store's slots for victims, each sweep from where the last one ended.
pub(crate) struct Sweep {
    /// The slot where the next sweep begins.
    hand: AtomicU32,
    leaf_first: bool,
}

impl Sweep {
    pub(crate) fn new(leaf_first: bool) -> Self {
        Self {
            hand: AtomicU32::new(0),
            leaf_first,
        }
    }

    /// Vacates up to `max` inactive or discarded blocks, and calls `sink` with each slot and
    /// its previous word. Returns how many it has vacated.
    ///
    /// If that is fewer than `max`, the last round over all slots has skipped no inactive
    /// block because of its children. Blocks released behind the hand are missed.
    pub(crate) fn evict<'s>(
        &self,
        max: usize,
        slots: &'s [Slot],
        reset: bool,
        mut sink: impl FnMut(&'s Slot, Word),
    ) -> usize {
        let mut evicted = 0;
        loop {
            let round = self.go_around(max - evicted, slots, reset, &mut sink);
            evicted += round.evicted;
            // Once leaves are taken, by any thread, their parents are leaves.
            if evicted == max || round.parents == 0 {
                return evicted;
            }
        }
    }

    /// Looks at every slot once, from the hand on, until `max` blocks are vacated.
    fn go_around<'s>(
        &self,
        max: usize,
        slots: &'s [Slot],
        reset: bool,
        sink: &mut impl FnMut(&'s Slot, Word),
    ) -> Round {
        let parents: HashSet<u64> = if self.leaf_first {
            slots
                .iter()
                .filter(|slot| slot.word().is_unheld())
                .filter_map(|slot| keys(slot).parent())
                .collect()
        } else {
            HashSet::new()
        };
        // Relaxed: a hint about where to begin.
        let hand = self.hand.load(Ordering::Relaxed) as usize % slots.len();
        let mut round = Round {
            evicted: 0,
            parents: 0,
        };
        for at in (hand..slots.len()).chain(0..hand) {
            if round.evicted == max {
                self.hand.store(at as u32, Ordering::Relaxed);
                break;
            }
            let slot = &slots[at];
            if !slot.word().is_unheld() {
                continue;
            }
            if self.leaf_first && parents.contains(&keys(slot).own) {
                round.parents += 1;
            } else if let Some(before) = slot.vacate_unheld(reset) {
                sink(slot, before);
                round.evicted += 1;
            }
        }
        round
    }
}

/// The result of looking at every slot once.
struct Round {
    evicted: usize,
    /// The number of blocks that were skipped because of their inactive children.
    parents: usize,
}

fn keys(slot: &Slot) -> Keys {
    Keys::of(slot.hash(), slot.id())
}
