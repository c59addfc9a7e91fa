//! Sweeps: victims without the policy plane.
//!
//! The holder of the plane may be suspended, which puts the order of all inactive blocks out
//! of reach. Allocation does not wait for it, but sweeps the slots themselves, where every
//! inactive block is visible. A sweep follows no policy's order. Under a leaf-first policy, it
//! takes the deepest of the blocks that it has before it: those furthest from the beginning of
//! their sequences. A block's children are deeper than the block.
//!
//! # What does it cost?
//!
//! Slots are visited from a *hand* on, which each sweep leaves where it ended, in stretches of up
//! to [`SWEEP_STRETCH`]. A sweep ends as soon as it has its blocks: at most one stretch after the slot
//! of the last one it needs, and in any case after one round. So it visits few slots if many
//! blocks are inactive, and all slots only if it finds too few. It takes no lock and allocates
//! nothing.
//!
//! # Can it be bounded when few blocks are inactive?
//!
//! No: while the plane is held, only the slots say which blocks these are, and the allocation has
//! credits for them, so it may not give up. It passes all blocks in use that are between the hand and
//! the blocks that it takes. A round finds them all, so if *k* of *n* blocks are inactive, finding
//! *m* of them takes *n·m/k* slots on average, at some eleven instructions each. What would bound it
//! is a second list of the inactive blocks outside the plane, which every release and every match
//! would have to write. (A summary that only releases write, of where blocks may be inactive, helps
//! the second sweep only: the first finds it full.)
//!
//! # Is a block ever taken before its inactive children?
//!
//! Not if they are in the same stretch: so never in a store that is no larger than one. In a
//! larger store, a child that is further away is not seen.

use crate::policy::Keys;
use crate::sync::limits::SWEEP_STRETCH;

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
    /// If that is fewer than `max`, it has visited every slot. Blocks released behind the hand
    /// are missed.
    pub(crate) fn evict<'s>(
        &self,
        max: usize,
        slots: &'s [Slot],
        reset: bool,
        mut sink: impl FnMut(&'s Slot, Word),
    ) -> usize {
        // Relaxed: a hint about where to begin.
        let hand = self.hand.load(Ordering::Relaxed) as usize % slots.len();
        let (before, after) = slots.split_at(hand);
        let mut evicted = 0;
        let mut take = |slot: &'s Slot| {
            let vacated = slot.vacate_unheld(reset);
            if let Some(before) = vacated {
                sink(slot, before);
                evicted += 1;
            }
            vacated.is_some()
        };
        let mut missing = max;
        for stretch in after
            .chunks(SWEEP_STRETCH)
            .chain(before.chunks(SWEEP_STRETCH))
        {
            if missing == 0 {
                break;
            }
            let next = if self.leaf_first {
                take_deepest(stretch, &mut missing, &mut take)
            } else {
                take_each(stretch, &mut missing, &mut take)
            };
            self.hand.store(next, Ordering::Relaxed);
        }
        evicted
    }
}

/// Takes blocks in the order of their slots until none is `missing`. Returns the slot where the
/// next sweep begins.
fn take_each<'s>(
    stretch: &'s [Slot],
    missing: &mut usize,
    take: &mut impl FnMut(&'s Slot) -> bool,
) -> u32 {
    for slot in stretch {
        *missing -= usize::from(take(slot));
        if *missing == 0 {
            return slot.id() + 1;
        }
    }
    end_of(stretch)
}

/// Takes blocks, the deepest first, until none is `missing`. Returns the slot where the next
/// sweep begins: the same stretch, unless it has been used up.
fn take_deepest<'s>(
    stretch: &'s [Slot],
    missing: &mut usize,
    take: &mut impl FnMut(&'s Slot) -> bool,
) -> u32 {
    let mut unheld = [(0_u64, 0_u32); SWEEP_STRETCH];
    let mut count = 0;
    for (at, slot) in (0..).zip(stretch) {
        if slot.word().is_unheld() {
            // Keys are ordered by position.
            unheld[count] = (Keys::of(slot.hash(), slot.id()).own, at);
            count += 1;
        }
    }
    let mut unheld = &mut unheld[..count];
    // In parts, since usually a small one is enough: another follows if blocks of the first
    // have become active meanwhile.
    while !unheld.is_empty() {
        let part = (*missing).min(unheld.len());
        if part < unheld.len() {
            unheld.select_nth_unstable_by(part, |a, b| b.cmp(a));
        }
        let (deepest, others) = unheld.split_at_mut(part);
        deepest.sort_unstable_by(|a, b| b.cmp(a));
        for &(_, at) in &*deepest {
            *missing -= usize::from(take(&stretch[at as usize]));
        }
        if *missing == 0 {
            return stretch[0].id();
        }
        unheld = others;
    }
    end_of(stretch)
}

/// Returns the number of the slot after a stretch.
fn end_of(stretch: &[Slot]) -> u32 {
    stretch.last().map_or(0, |slot| slot.id() + 1)
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use crate::SequenceHash;
    use crate::engine::parts::word::State;
    use crate::key::Key;

    /// Returns inactive blocks with these hashes.
    fn inactive(hashes: impl IntoIterator<Item = SequenceHash>) -> Vec<Slot> {
        let slot = |(id, hash)| {
            let slot = Slot::new(id, false);
            slot.set_key(Key { hash, keyed: 0 });
            let word = slot.begin();
            slot.promote(word);
            slot.unpin_last(slot.word())
                .expect("no other thread uses it");
            slot
        };
        (0..).zip(hashes).map(slot).collect()
    }

    /// Returns the hashes of chains, each of `depth` blocks, one block of each chain after
    /// another.
    fn chains(depth: u64, chains: u64) -> impl Iterator<Item = SequenceHash> {
        (0..depth).flat_map(move |position| {
            (0..chains).map(move |chain| {
                let content = |position: u64| 1 << 30 | position << 10 | chain;
                let parent = position.checked_sub(1).map(content);
                SequenceHash::new(content(position), parent, position)
            })
        })
    }

    fn swept(sweep: &Sweep, max: usize, slots: &[Slot]) -> Vec<u32> {
        let mut ids = Vec::new();
        let count = sweep.evict(max, slots, false, |slot, _| ids.push(slot.id()));
        assert_eq!(count, ids.len());
        ids
    }

    #[test]
    fn a_sweep_goes_on_where_the_last_one_ended() {
        let slots = inactive(chains(1, 5));
        let sweep = Sweep::new(false);
        assert_eq!(swept(&sweep, 2, &slots), [0, 1]);
        assert_eq!(swept(&sweep, 2, &slots), [2, 3]);
        assert_eq!(swept(&sweep, 2, &slots), [4]);
        assert!(swept(&sweep, 2, &slots).is_empty());
    }

    #[test]
    fn a_leaf_first_sweep_takes_the_deepest_blocks() {
        let slots = inactive(chains(4, 2));
        let sweep = Sweep::new(true);
        assert_eq!(swept(&sweep, 1, &slots).len(), 1);
        let held = slots[4].pin(slots[4].word(), false);
        held.expect("no other thread uses it");
        let mut taken = swept(&sweep, 3, &slots);
        assert!(taken[0] >= 6, "{taken:?}");
        taken.extend(swept(&sweep, 8, &slots));
        assert_eq!(
            taken.len(),
            6,
            "all but the one taken before and the one that is held"
        );
        let depths: Vec<u32> = taken.iter().map(|id| id / 2).collect();
        assert!(depths.is_sorted_by(|a, b| a >= b), "{depths:?}");
    }

    #[test]
    fn no_block_goes_before_a_child_in_its_stretch() {
        // In reverse: a child comes before its parent.
        let mut hashes: Vec<_> = chains(SWEEP_STRETCH as u64 / 4, 4).collect();
        hashes.reverse();
        let slots = inactive(hashes);
        let sweep = Sweep::new(true);
        let mut taken = Vec::new();
        while taken.len() < slots.len() {
            taken.extend(swept(&sweep, 7, &slots));
        }
        let position = |id: &u32| slots[*id as usize].hash().position();
        assert!(taken.iter().map(position).is_sorted_by(|a, b| a >= b));
    }

    /// However many slots there are, a sweep ends with the stretch in which it found its blocks.
    #[test]
    fn a_sweep_visits_no_more_than_it_needs() {
        for leaf_first in [false, true] {
            let slots = inactive(chains(SWEEP_STRETCH as u64, 4));
            let sweep = Sweep::new(leaf_first);
            for _ in 0..3 {
                assert_eq!(swept(&sweep, 5, &slots).len(), 5);
            }
            let is_taken = |slot: &&Slot| slot.word().state() == State::Exclusive;
            let last = slots.iter().rfind(is_taken).map(Slot::id);
            assert!(last.is_some_and(|last| (last as usize) < SWEEP_STRETCH));
            // A block that is inactive is found in the end, wherever it is.
            let rest = swept(&sweep, slots.len(), &slots);
            assert_eq!(rest.len(), slots.len() - 15);
        }
    }
}
