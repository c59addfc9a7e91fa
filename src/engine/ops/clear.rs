//! Clearing: giving up the content of all inactive blocks at one instant.
//!
//! A clearing begins a new [era](crate::engine::parts::era): one addition, however many blocks
//! there are. An inactive block of an earlier era is *cleared*. It cannot be matched, and
//! counts as free.
//!
//! | if a cleared block | then |
//! |---|---|
//! | is matched, looked up or listed by its hash | it is not found |
//! | stands in the way of a registration of its hash | it is discarded first, see [`Store::discard`] |
//! | is needed by an allocation | it is taken before any victim of the policy, see [`Store::take_cleared`] |
//! | is the last block of a hash with attachments or events | that registration ends when the block is taken or freed, or by `Store::end_cleared` |
//!
//! Allocations find cleared blocks by a *hand* that goes around the slots once per clearing:
//!
//! 1. Vacate the cleared blocks among the next slots from the hand on (64, or as many as are
//!    needed).
//! 2. Move the hand past these slots, if it is still where it was.
//!
//! # How many are there?
//!
//! `cleared_until`, minus the cleared blocks that have ever been taken, plus the blocks that
//! have been discarded without having been cleared. A clearing sets `cleared_until` so that
//! the result is the number of blocks that are then inactive; the end of a round sets it so
//! that the result is zero. Single-threaded, the number is exact. If a clearing overlaps with
//! other operations, the number may be slightly off until the next round ends.
//!
//! # What does it cost?
//!
//! A clearing: one addition and a reading of the gauges. Taking cleared blocks: one visit to
//! each slot per clearing, shared by all allocations, and one exchange per block. Nothing
//! takes a lock, except that blocks with queued releases may cause a try-lock of the plane.
//!
//! # What can a suspended thread delay?
//!
//! In a clearing, nothing: its era has begun or it has not. On a round, only the blocks it has
//! vacated: the next thread to come by moves the hand.

use crate::engine::ops::victims::Victims;
use crate::engine::parts::era::{Hand, STRETCH};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::engine::store::Store;
use crate::registry::Leftovers;
use crate::sync::limits::CLEARINGS_PER_VISIT;
use crate::sync::step;

impl Store {
    /// Returns whether a block whose word is `seen` is cleared or discarded: its content is
    /// given up, and no thread has taken it since.
    #[inline]
    pub(in crate::engine) fn is_cleared(&self, slot: &Slot, seen: Word) -> bool {
        seen.is_discarded() || seen.is_inactive() && self.is_of_earlier_era(slot)
    }

    /// Returns whether an inactive block was released before the store was last cleared.
    #[inline]
    pub(in crate::engine) fn is_of_earlier_era(&self, slot: &Slot) -> bool {
        slot.era() != self.clearing.era()
    }

    /// Gives up the content of all inactive blocks.
    ///
    /// Constant time, except that one clearing in [`CLEARINGS_PER_VISIT`] visits every slot,
    /// so that the 16 bits of an era never become ambiguous. If registrations are observed,
    /// the observer arranges for a call of `Store::end_cleared`, which ends those of the
    /// cleared blocks.
    pub(crate) fn clear(&self) -> Leftovers {
        let era = self.clearing.begin();
        let counts = self.counts();
        self.clearing
            .set_cleared(counts.inactive + counts.cleared, counts.cleared_taken);
        let mut leftovers = Leftovers::new();
        if era.is_multiple_of(CLEARINGS_PER_VISIT) {
            for slot in &self.slots {
                let seen = slot.word();
                if seen.is_inactive() && self.is_of_earlier_era(slot) {
                    self.discard(slot, seen, &mut leftovers);
                }
            }
        }
        leftovers
    }

    /// Vacates up to `max` cleared blocks for an allocation that has reserved that many blocks
    /// and found no more free ones. Returns how many there were.
    #[inline]
    pub(super) fn take_cleared<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        if self.clearing.hand().at() as usize == self.slots.len() {
            return 0;
        }
        self.take_from_hand(max, victims)
    }

    /// Moves the hand on until `max` cleared blocks are vacated or it has passed all slots.
    /// Returns how many were vacated.
    #[cold]
    fn take_from_hand<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        let mut taken = 0;
        let mut is_queued = false;
        let mut hand = self.clearing.hand();
        while taken < max && (hand.at() as usize) < self.slots.len() {
            let mut at = hand.at();
            let end = (at + STRETCH).min(self.slots.len() as u32);
            while at < end && taken < max {
                let slot = &self.slots[at as usize];
                if let Some(before) = self.vacate_cleared(slot) {
                    is_queued |= before.is_queued();
                    // SAFETY: vacated just now, and the caller has reserved `max` credits.
                    unsafe { victims.push_cleared(slot) };
                    taken += 1;
                }
                at += 1;
            }
            step!(StretchTaken);
            let next = Hand::new(hand.era(), at);
            hand = match self.clearing.move_hand(hand, next) {
                Ok(()) => next,
                Err(now) => now,
            };
            if hand.at() as usize == self.slots.len() {
                // The round is over, so the only cleared blocks left are those that this
                // thread has vacated but not yet counted as taken.
                let counted = self.counts().cleared_taken;
                self.clearing.set_cleared(taken as u64, counted);
            }
        }
        if is_queued && self.plane.observes_resurrection() {
            // The queued releases of these blocks must not be mistaken for releases of their
            // next content.
            self.try_drain();
        }
        taken
    }

    /// Vacates a block if it is cleared, and returns its word as it was before. The block then
    /// belongs to the caller, which has a credit for it.
    fn vacate_cleared(&self, slot: &Slot) -> Option<Word> {
        let mut seen = slot.word();
        while self.is_cleared(slot, seen) {
            match slot.vacate(seen, self.reset_on_release) {
                Ok(()) => {
                    if self.plane.observes_resurrection() && !slot.mark_queued().is_queued() {
                        // Makes the policy remove the block from its order.
                        // SAFETY: the mark has been set just now.
                        unsafe { self.queue(self.home(), slot) };
                    }
                    return Some(seen);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Ends the registrations of all cleared blocks, and leaves the blocks where they are, so
    /// that no other operation is affected. O(block count).
    ///
    /// A hash that is registered again meanwhile stays registered: the registry looks for it
    /// in all tiers, which do not find cleared blocks but do find the new one.
    #[cfg(feature = "events")]
    pub(crate) fn end_cleared(&self) -> Leftovers {
        let mut leftovers = Leftovers::new();
        for slot in &self.slots {
            if !self.is_in_service() {
                // The end of the store ends all registrations, and must not be delayed.
                break;
            }
            let seen = slot.word();
            if seen.is_inactive() && self.is_of_earlier_era(slot) {
                let key = slot.key();
                if slot.is_tenancy(seen) {
                    self.registry.end(key, &mut leftovers);
                }
            }
        }
        leftovers
    }
}
