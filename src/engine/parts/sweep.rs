//! Victims without the policy plane.
//!
//! Whoever holds the plane may be suspended, with the order of all inactive
//! blocks in its hand. Allocation does not wait for it: it sweeps the slots
//! themselves, where every inactive block can be seen. The order is then no
//! policy's, with one exception that is not a matter of taste: under a
//! leaf-first policy no block is taken before its inactive children.

use std::collections::HashSet;

use crate::policy::Keys;

use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::sync::{AtomicU32, Ordering};

/// See the module documentation.
pub(crate) struct Sweep {
    /// Where the next sweep begins, so that sweeps take turns around the slots.
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

    /// Vacates up to `max` inactive blocks and calls `sink` with each, and its
    /// word before. Returns how many. O(block count); allocates under a leaf-first policy.
    ///
    /// Fewer than `max` means that the slots were gone around once without
    /// passing over an inactive block. One that is released behind the hand is
    /// missed.
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
            // Taking leaves, whoever did, makes leaves of their parents.
            if evicted == max || round.parents == 0 {
                return evicted;
            }
        }
    }

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
        // Relaxed: a hint where to begin.
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

/// What going around the slots once came to.
struct Round {
    evicted: usize,
    /// Inactive blocks passed over for the sake of their children.
    parents: usize,
}

fn keys(slot: &Slot) -> Keys {
    Keys::of(slot.hash(), slot.id())
}
