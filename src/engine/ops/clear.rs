//! Clearing: giving up the content of all inactive blocks at one instant.
//!
//! A clearing begins a new [era](crate::engine::parts::era), which is one addition, however
//! many blocks there are. An inactive block of an earlier era is *cleared*: it cannot be
//! matched, and counts as free.
//!
//! | a cleared block | |
//! |---|---|
//! | is matched, looked for, listed | as if it were not there |
//! | is in the way of a registration of its hash | discarded first, see [`Store::discard`] |
//! | is needed by an allocation | taken before any victim of the policy, see [`Store::take_cleared`] |
//! | is the last block of an attachment or an event | its registration ends when the block is taken or freed, or by [`Store::end_cleared`] |
//!
//! # How many are there?
//!
//! `cleared_until` minus the blocks that have been cleared and taken since the store was
//! built, plus those that were discarded without having been cleared. A clearing sets it to
//! make that the number of blocks that are then inactive, and the end of a round to make it
//! zero. Single-threaded, that is exact. Where a clearing met other operations it may be a
//! few blocks off until the next round ends.

use crate::engine::ops::victims::Victims;
use crate::engine::parts::era::{Hand, STRETCH};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::engine::store::Store;
use crate::registry::Leftovers;
use crate::sync::limits::CLEARINGS_PER_VISIT;
use crate::sync::step;

impl Store {
    /// Whether a block whose word is `seen` was inactive when the store was last
    /// cleared, and still is; or has been discarded.
    #[inline]
    pub(in crate::engine) fn is_cleared(&self, slot: &Slot, seen: Word) -> bool {
        seen.is_discarded() || seen.is_inactive() && self.is_of_earlier_era(slot)
    }

    /// Whether an inactive block was released before the store was last cleared.
    #[inline]
    pub(in crate::engine) fn is_of_earlier_era(&self, slot: &Slot) -> bool {
        slot.era() != self.clearing.era()
    }

    /// Gives up the content of all inactive blocks. Constant time, but for one
    /// clearing in [`CLEARINGS_PER_VISIT`], and but for those who observe registrations: these
    /// end by [`end_cleared`](Self::end_cleared), which is the observer's to have done.
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

    /// Takes up to `max` cleared blocks for an allocation that has reserved as many
    /// and found no more free ones. Returns how many it found.
    #[inline]
    pub(super) fn take_cleared<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        if self.clearing.hand().at() as usize == self.slots.len() {
            return 0;
        }
        self.go_round(max, victims)
    }

    #[cold]
    fn go_round<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
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
                    victims.push_cleared(slot);
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
                // Those in hand are still to be counted as taken.
                let counted = self.counts().cleared_taken;
                self.clearing.set_cleared(taken as u64, counted);
            }
        }
        if is_queued && self.plane.observes_resurrection() {
            // Their releases have not been applied, and are not to be taken for releases of
            // what the blocks hold next.
            self.try_drain();
        }
        taken
    }

    /// Vacates a block if it is cleared: it is the caller's then, who has a credit
    /// for it. Returns its word before.
    fn vacate_cleared(&self, slot: &Slot) -> Option<Word> {
        let mut seen = slot.word();
        while self.is_cleared(slot, seen) {
            match slot.vacate(seen, self.reset_on_release) {
                Ok(()) => {
                    if self.plane.observes_resurrection() && !slot.mark_queued().is_queued() {
                        // The policy is to take it out of the order.
                        self.release_logs[self.home()].push(slot);
                    }
                    return Some(seen);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Ends the registrations of all cleared blocks, and leaves the blocks where they are:
    /// no other operation meets this. O(block count).
    ///
    /// A hash that is registered anew meanwhile stays registered: it is looked for in every
    /// tier, where it is not found as long as it is cleared.
    #[cfg(feature = "events")]
    pub(crate) fn end_cleared(&self) -> Leftovers {
        let mut leftovers = Leftovers::new();
        for slot in &self.slots {
            if !self.is_in_service() {
                // Its end is the end of all registrations, and is not to be held up.
                break;
            }
            let seen = slot.word();
            if seen.is_inactive() && self.is_of_earlier_era(slot) {
                let key = slot.key();
                if slot.is_tenancy(seen) {
                    self.registry.forget(key, &mut leftovers);
                }
            }
        }
        leftovers
    }
}
