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
//! | is needed by an allocation | it is taken before a victim of the policy, if it is found within a bound, see [`Store::take_cleared`] |
//! | is the last block of a hash with attachments or events | that registration ends when the block is taken or freed, or by `Store::end_cleared` |
//!
//! Allocations find cleared blocks by a *hand* that goes around the slots once per clearing:
//!
//! 1. Vacate the cleared blocks among the next slots from the hand on (64, or as many as are
//!    needed).
//! 2. Move the hand past these slots, if it is still where it was.
//! 3. Repeat this until there are enough blocks, the round is over, or the thread has looked at
//!    one slot for each block that it needs and at [`CLEARED_LOOKS`] more.
//!
//! The rest comes from the policy's order, and the rest of the round is left to later
//! allocations.
//!
//! # Is a cleared block always used before one that is not?
//!
//! On one thread, whatever the policy, the exception is an allocation that neither finds enough
//! cleared blocks in its part of the round nor meets one as the policy's next victim. In a store
//! of up to [`CLEARED_LOOKS`] blocks a round is always complete. In a larger one, no more than
//! `block_count / CLEARED_LOOKS` allocations after a clearing can evict a block while a cleared
//! one is left.
//!
//! * In order of release (LRU, the hash map), without retention directives, there is no
//!   exception: whatever is cleared was released before the clearing, and so before every block
//!   that is not cleared.
//! * In the other orders a cleared block may rank behind others: because it was used often,
//!   because of a directive, or because it has an inactive child that is not cleared.
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
//! A clearing: one addition, a reading of the gauges, and the renewal of `block_count / 2^14 + 1`
//! slots (see [`era`](crate::engine::parts::era)). Taking cleared blocks: one visit to each slot
//! per clearing, shared by all allocations within the bound above, and one exchange per block.
//! Nothing takes a lock, except that blocks with queued releases may cause a try-lock of the
//! plane.
//!
//! # What can a suspended thread delay?
//!
//! In a clearing, nothing: its era has begun or it has not, and the next clearing renews the
//! slots that it has not passed. On a round, only the blocks it has vacated: the next thread to
//! come by moves the hand.

use crate::engine::ops::victims::Victims;
use crate::engine::parts::era::{Hand, STRETCH};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::engine::store::Store;
#[cfg(feature = "events")]
use crate::registry::Leftovers;
use crate::sync::limits::CLEARED_LOOKS;
use crate::sync::step;

impl Store {
    /// Returns whether a block whose word is `seen` is cleared or discarded: its content is
    /// given up, and no thread has taken it since. Final only for a block that no other thread
    /// uses; otherwise see [`was_cleared`](Self::was_cleared).
    #[inline]
    pub(in crate::engine) fn is_cleared(&self, slot: &Slot, seen: Word) -> bool {
        seen.is_discarded() || seen.is_inactive() && self.is_of_earlier_era(slot)
    }

    /// Returns whether the content of a block that another thread may use was given up when its
    /// word was `seen`, or `None` if that cannot be said because the block has been used since: the
    /// caller looks at the word again.
    ///
    /// The word and the eras are read one after another. A block that looks as if it were of an
    /// earlier era may have been matched before the clearing, and is not cleared then.
    #[inline]
    pub(in crate::engine) fn was_cleared(&self, slot: &Slot, seen: Word) -> Option<bool> {
        if !seen.is_inactive() {
            return Some(seen.is_discarded());
        }
        step!(EraUnread);
        let era = slot.era();
        if era == self.clearing.era() {
            return Some(false);
        }
        let now = slot.word();
        let is_same = now.is_inactive() && now.generation() == seen.generation();
        (is_same && slot.era() == era).then_some(true)
    }

    /// Returns whether an inactive block was released before the store was last cleared.
    #[inline]
    pub(in crate::engine) fn is_of_earlier_era(&self, slot: &Slot) -> bool {
        slot.era() != self.clearing.era()
    }

    /// Gives up the content of all inactive blocks. Looks at a share of the slots only, see
    /// [`Clearing::renew`].
    ///
    /// If registrations are observed, the observer arranges for a call of `Store::end_cleared`,
    /// which ends those of the cleared blocks.
    ///
    /// [`Clearing::renew`]: crate::engine::parts::era::Clearing::renew
    pub(crate) fn clear(&self) {
        self.clearing.begin();
        let counts = self.counts();
        self.clearing
            .set_cleared(counts.inactive + counts.cleared, counts.cleared_taken);
        self.clearing.renew(&self.slots);
    }

    /// Vacates up to `max` cleared blocks for an allocation that has reserved that many blocks
    /// and found no more free ones. Returns how many it has found in its part of the round: at
    /// most `max` + [`CLEARED_LOOKS`] slots.
    #[inline]
    pub(super) fn take_cleared<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        if self.clearing.hand().at() as usize == self.slots.len() {
            return 0;
        }
        self.take_from_hand(max, victims)
    }

    /// Moves the hand on until `max` cleared blocks are vacated, or this thread has looked at as
    /// many slots as it may, or all slots are passed. Returns how many were vacated.
    #[cold]
    fn take_from_hand<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        let mut taken = 0;
        let mut is_queued = false;
        let mut looks = max as u32 + CLEARED_LOOKS;
        let mut hand = self.clearing.hand();
        while taken < max && looks > 0 && (hand.at() as usize) < self.slots.len() {
            let mut at = hand.at();
            let end = (at + STRETCH.min(looks)).min(self.slots.len() as u32);
            while at < end && taken < max {
                let slot = &self.slots[at as usize];
                if let Some(before) = self.vacate_cleared(slot) {
                    is_queued |= before.is_queued();
                    // It may have been used between the look at its era and the exchange, so it is
                    // judged again.
                    // SAFETY: vacated just now, and the caller has reserved `max` credits.
                    unsafe { victims.push(slot, before) };
                    taken += 1;
                }
                at += 1;
            }
            looks -= at - hand.at();
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
        if is_queued {
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
                    self.queue_removal(slot);
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
