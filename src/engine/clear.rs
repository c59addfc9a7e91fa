//! Clearing: the content of all inactive blocks is forgotten at one instant.
//!
//! The store counts its clearings, and a slot remembers in which *era*, between
//! which two of them, it last was released. So a clearing is one addition,
//! however many blocks there are: an inactive block of an earlier era is
//! *forgotten*. It cannot be matched, and counts as free.
//!
//! | a forgotten block | |
//! |---|---|
//! | is matched, looked for, listed | as if it were not there |
//! | is in the way of a registration of its hash | freed first, with a credit reserved for it |
//! | is needed by an allocation | taken before any victim of the policy, see [`Store::take_forgotten`] |
//! | is an attachment's or an event's last block | its registration ends when it is taken or freed |
//!
//! # Finding them
//!
//! Allocations that have run out of free blocks go round the slots once after each
//! clearing: *hand* says how far they are. Whoever goes on from the hand looks at some
//! slots first and then moves it, if it is still where it was. So every slot
//! before the hand has been looked at, though two may have looked at some of them,
//! and a thread that is suspended on its round takes nothing with it.
//!
//! # What the era may say wrongly
//!
//! The era is a note of whoever releases the block, made just before the exchange
//! that takes the last pin off, and relaxed: whoever sees the word after that
//! exchange sees the era too. A wrong one would cost a cached block, or keep one, and
//! nothing else: whether a block is to be had is between the word and the credits.
//! Two cases are left to chance:
//!
//! * A release under way during a clearing may be on either side of it. One that
//!   read the era before and takes the pin off after the hand has passed leaves a
//!   forgotten block behind the hand, where the policy finds it in its time.
//! * Of two last pins that come off at once the later one finds itself the last
//!   only afterwards, so that a block that was in use during the clearing has
//!   the era of an earlier release for a moment.
//!
//! Eras are counted in 16 bits. Before the count comes round to where it could be
//! mistaken, a clearing goes round all slots by itself.

use crossbeam_utils::CachePadded;

use crate::suspension::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

use super::allocate::Victims;
use super::release::Free;
use super::slot::Slot;
use super::store::Store;
use super::word::Word;

/// Clearings between two that go round all slots: half the eras a slot can tell
/// apart.
const CLEARINGS: u32 = if cfg!(kvbm_loom) { 2 } else { 1 << 15 };

/// Slots looked at before the hand is moved.
const STRETCH: u32 = 64;

/// See the module documentation.
pub(super) struct Clearing {
    /// Counts the clearings.
    era: AtomicU32,
    /// Away from the era, which everybody reads.
    hand: CachePadded<AtomicU64>,
}

/// Where the round of an era is: `0..32` the slot, `32..64` the era.
#[derive(Clone, Copy)]
struct Hand(u64);

impl Hand {
    fn new(era: u32, at: u32) -> Self {
        Self(u64::from(era) << 32 | u64::from(at))
    }

    fn at(self) -> u32 {
        self.0 as u32
    }

    fn era(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Clearing {
    pub(super) fn new(block_count: u32) -> Self {
        Self {
            era: AtomicU32::new(0),
            hand: CachePadded::new(AtomicU64::new(Hand::new(0, block_count).0)),
        }
    }

    /// The era there is, as slots remember it.
    #[inline]
    pub(super) fn era(&self) -> u16 {
        self.era.load(Ordering::Relaxed) as u16
    }

    fn hand(&self) -> Hand {
        Hand(self.hand.load(Ordering::Relaxed))
    }

    fn move_hand(&self, seen: Hand, new: Hand) -> Result<(), Hand> {
        self.hand
            .compare_exchange(seen.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
            .map_err(Hand)
    }

    /// Begins an era. Returns it.
    fn begin(&self) -> u32 {
        let era = self.era.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        step!(EraBegun);
        let mut hand = self.hand();
        // Another clearing may have been faster.
        while era.wrapping_sub(hand.era()) as i32 > 0 {
            match self.move_hand(hand, Hand::new(era, 0)) {
                Ok(()) => break,
                Err(now) => hand = now,
            }
        }
        era
    }
}

impl Store {
    /// Whether a block whose word is `seen` was inactive when the store was last
    /// cleared, and still is.
    #[inline]
    pub(super) fn is_forgotten(&self, slot: &Slot, seen: Word) -> bool {
        seen.is_inactive() && self.is_of_earlier_era(slot)
    }

    /// Whether an inactive block was released before the store was last cleared.
    #[inline]
    pub(super) fn is_of_earlier_era(&self, slot: &Slot) -> bool {
        slot.era() != self.clearing.era()
    }

    /// Forgets the content of all inactive blocks. Constant time, but for one
    /// clearing in [`CLEARINGS`], and but for those who observe registrations: these
    /// end when the blocks are freed, which is the observer's to have done.
    pub(crate) fn clear(&self) {
        let era = self.clearing.begin();
        if era.is_multiple_of(CLEARINGS) {
            self.free_forgotten();
        }
    }

    /// Takes up to `max` forgotten blocks for an allocation that has reserved as many
    /// and found no more free ones. Returns how many it found.
    #[inline]
    pub(super) fn take_forgotten<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        if self.clearing.hand().at() as usize == self.slots.len() {
            return 0;
        }
        self.go_round(max, victims)
    }

    #[cold]
    fn go_round<'a>(&'a self, max: usize, victims: &mut Victims<'a>) -> usize {
        let mut taken = 0;
        let mut hand = self.clearing.hand();
        while taken < max && (hand.at() as usize) < self.slots.len() {
            let mut at = hand.at();
            let end = (at + STRETCH).min(self.slots.len() as u32);
            while at < end && taken < max {
                let slot = &self.slots[at as usize];
                if self.vacate_forgotten(slot) {
                    victims.push(slot);
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
        }
        taken
    }

    /// Vacates a block if it is forgotten: it is the caller's then, who has a credit
    /// for it.
    fn vacate_forgotten(&self, slot: &Slot) -> bool {
        let mut seen = slot.word();
        while self.is_forgotten(slot, seen) {
            match slot.vacate(seen, self.reset_on_release) {
                Ok(()) => {
                    if self.plane.observes_resurrection() && !slot.note().is_noted() {
                        // The policy is to take it out of the order.
                        self.released[self.home()].push(slot);
                    }
                    return true;
                }
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Frees all forgotten blocks, except where every available block is promised
    /// to operations under way. O(block count).
    ///
    /// One at a time, and reserved as allocations are: a block on its way to be free is
    /// nobody else's.
    pub(crate) fn free_forgotten(&self) {
        let is_forgotten = |slot: &&Slot| self.is_forgotten(slot, slot.word());
        for slot in self.slots.iter().filter(is_forgotten) {
            if !self.free_if_forgotten(slot) {
                return;
            }
        }
    }

    /// Frees a block if it is forgotten. Returns whether there was a credit to do it
    /// with.
    pub(super) fn free_if_forgotten(&self, slot: &Slot) -> bool {
        let home = self.home();
        if !self.reserve_credits(home, 1) {
            return false;
        }
        if self.vacate_forgotten(slot) {
            step!(ForgottenVacated);
            // Frees it, with its credit, even if an attachment panics when it is dropped.
            let _free = Free::new(self, slot);
            self.end_tenancy(slot, self.registry.has_entries());
        } else {
            self.return_credits(home, 1);
        }
        true
    }
}
