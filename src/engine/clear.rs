//! Clearing: the content of all inactive blocks is given up at one instant.
//!
//! The store counts its clearings, and a slot remembers in which *era*, between
//! which two of them, it last was released. So a clearing is one addition,
//! however many blocks there are: an inactive block of an earlier era is
//! *cleared*. It cannot be matched, and counts as free.
//!
//! | a cleared block | |
//! |---|---|
//! | is matched, looked for, listed | as if it were not there |
//! | is in the way of a registration of its hash | discarded first, see [`Store::discard`] |
//! | is needed by an allocation | taken before any victim of the policy, see [`Store::take_cleared`] |
//! | is an attachment's or an event's last block | its registration ends when it is taken or freed, or by [`Store::end_cleared`] |
//!
//! # Finding them
//!
//! Allocations that have run out of free blocks go round the slots once after each
//! clearing: *hand* says how far they are. Whoever goes on from the hand looks at some
//! slots first and then moves it, if it is still where it was. So every slot
//! before the hand has been looked at, though two may have looked at some of them,
//! and a thread that is suspended on its round takes nothing with it.
//!
//! # What the era says
//!
//! Whoever releases a block writes the era just before the exchange that takes the last
//! pin off, while it still has that pin: so the era is never that of an earlier tenancy,
//! and whoever sees the word after the exchange sees the era too. A release under way
//! during a clearing may be on either side of it. One that read the era before and takes
//! the pin off after the hand has passed leaves a cleared block behind the hand, where
//! the policy finds it in its time.
//!
//! Eras are counted in 16 bits. Long before the count comes round to where it could be
//! mistaken, a clearing goes round all slots by itself, and discards what is cleared.
//!
//! # How many there are
//!
//! `cleared_until` minus the blocks that have been cleared and taken since the store was
//! built, and plus those that were discarded without having been cleared. A clearing sets it
//! to make that the number of blocks that are then inactive, and the end of a round to make
//! it none. From one thread that is exact. Where a clearing met other operations it may be a
//! few blocks off, until the next round ends.

use crossbeam_utils::CachePadded;

use crate::registry::Leftovers;
use crate::suspension::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

use super::allocate::Victims;
use super::slot::Slot;
use super::store::Store;
use super::word::Word;

/// Clearings between two that go round all slots: a quarter of the eras that a slot can tell
/// apart, so that several rounds pass before one could be mistaken for another.
const CLEARINGS: u32 = if cfg!(kvbm_loom) { 2 } else { 1 << 14 };

/// Slots looked at before the hand is moved.
const STRETCH: u32 = 64;

/// See the module documentation.
pub(super) struct Clearing {
    /// Counts the clearings.
    era: AtomicU32,
    /// Away from the era, which everybody reads.
    hand: CachePadded<AtomicU64>,
    /// See "How many there are". For gauges alone, and so none of the model's atomics.
    cleared_until: std::sync::atomic::AtomicI64,
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
            cleared_until: std::sync::atomic::AtomicI64::new(0),
        }
    }

    /// Whether there has been a clearing.
    pub(super) fn is_used(&self) -> bool {
        self.era.load(Ordering::Acquire) != 0
    }

    /// How many blocks are cleared, when `taken` were cleared and have been taken, less those
    /// that were discarded only.
    pub(super) fn cleared(&self, taken: i64) -> u64 {
        let until = self.cleared_until.load(Ordering::Relaxed);
        until.saturating_sub(taken).max(0) as u64
    }

    fn set_cleared(&self, count: u64, taken: i64) {
        self.cleared_until
            .store(taken.saturating_add_unsigned(count), Ordering::Relaxed);
    }

    /// The era there is, as slots remember it.
    ///
    /// Acquire: whoever knows of a clearing knows that the registry has been told of it.
    #[inline]
    pub(super) fn era(&self) -> u16 {
        self.era.load(Ordering::Acquire) as u16
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
        // Release: pairs with the acquire in `era`.
        let era = self.era.fetch_add(1, Ordering::Release).wrapping_add(1);
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
    /// cleared, and still is; or has been discarded.
    #[inline]
    pub(super) fn is_cleared(&self, slot: &Slot, seen: Word) -> bool {
        seen.is_discarded() || seen.is_inactive() && self.is_of_earlier_era(slot)
    }

    /// Whether an inactive block was released before the store was last cleared.
    #[inline]
    pub(super) fn is_of_earlier_era(&self, slot: &Slot) -> bool {
        slot.era() != self.clearing.era()
    }

    /// Gives up the content of all inactive blocks. Constant time, but for one
    /// clearing in [`CLEARINGS`], and but for those who observe registrations: these
    /// end by [`end_cleared`](Self::end_cleared), which is the observer's to have done.
    pub(crate) fn clear(&self) -> Leftovers {
        let era = self.clearing.begin();
        let counts = self.counts();
        self.clearing
            .set_cleared(counts.inactive + counts.cleared, counts.cleared_taken);
        let mut leftovers = Leftovers::new();
        if era.is_multiple_of(CLEARINGS) {
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
        let mut is_noted = false;
        let mut hand = self.clearing.hand();
        while taken < max && (hand.at() as usize) < self.slots.len() {
            let mut at = hand.at();
            let end = (at + STRETCH).min(self.slots.len() as u32);
            while at < end && taken < max {
                let slot = &self.slots[at as usize];
                if let Some(before) = self.vacate_cleared(slot) {
                    is_noted |= before.is_noted();
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
        if is_noted && self.plane.observes_resurrection() {
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
                    if self.plane.observes_resurrection() && !slot.note().is_noted() {
                        // The policy is to take it out of the order.
                        self.released[self.home()].push(slot);
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
                    self.registry.end(key, &mut leftovers);
                }
            }
        }
        leftovers
    }
}
