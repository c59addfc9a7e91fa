//! Eras: which inactive blocks a clearing has given up.
//!
//! A store counts its clearings, and each slot remembers the *era*, the number of clearings
//! there had been, of its last release. An inactive block of an earlier era is *cleared*; see
//! [`ops::clear`](crate::engine::ops) for what becomes of it.
//!
//! # When is a release on which side of a clearing?
//!
//! Whoever releases a block writes the era just before the exchange that takes the last pin
//! off, while it still has that pin. So the era is never that of an earlier tenancy, and
//! whoever sees the word after the exchange sees the era too. A release under way during a
//! clearing may be on either side of it. One that read the era before the clearing and takes
//! the pin off after the hand has passed leaves a cleared block behind the hand, where the
//! policy finds it in due course.
//!
//! Eras are counted in 16 bits. Long before the count comes round to where it could be
//! mistaken, a clearing visits all slots itself and discards what is cleared.
//!
//! # How are cleared blocks found?
//!
//! Allocations that have run out of free blocks go round the slots once after each clearing:
//! the *hand* says how far they are. Whoever goes on from the hand looks at some slots first
//! and then moves it, if it is still where it was. So every slot before the hand has been
//! looked at, though two threads may have looked at some of them, and a thread that is
//! suspended on its round takes nothing with it.

use crossbeam_utils::CachePadded;

use crate::sync::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Slots looked at before the hand is moved.
pub(crate) const STRETCH: u32 = 64;

/// See the module documentation.
pub(crate) struct Clearing {
    /// Counts the clearings.
    era: AtomicU32,
    /// Away from the era, which everybody reads.
    hand: CachePadded<AtomicU64>,
    /// See "How many there are". For gauges alone, and so none of the model's atomics.
    cleared_until: std::sync::atomic::AtomicI64,
}

/// Where the round of an era is: `0..32` the slot, `32..64` the era.
#[derive(Clone, Copy)]
pub(crate) struct Hand(u64);

impl Hand {
    pub(crate) fn new(era: u32, at: u32) -> Self {
        Self(u64::from(era) << 32 | u64::from(at))
    }

    pub(crate) fn at(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn era(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Clearing {
    pub(crate) fn new(block_count: u32) -> Self {
        Self {
            era: AtomicU32::new(0),
            hand: CachePadded::new(AtomicU64::new(Hand::new(0, block_count).0)),
            cleared_until: std::sync::atomic::AtomicI64::new(0),
        }
    }

    /// Whether there has been a clearing.
    pub(crate) fn is_used(&self) -> bool {
        self.era.load(Ordering::Acquire) != 0
    }

    /// How many blocks are cleared, when `taken` were cleared and have been taken, less those
    /// that were discarded only.
    pub(crate) fn cleared(&self, taken: i64) -> u64 {
        let until = self.cleared_until.load(Ordering::Relaxed);
        until.saturating_sub(taken).max(0) as u64
    }

    pub(crate) fn set_cleared(&self, count: u64, taken: i64) {
        self.cleared_until
            .store(taken.saturating_add_unsigned(count), Ordering::Relaxed);
    }

    /// The era there is, as slots remember it.
    ///
    /// Acquire: whoever knows of a clearing knows that the registry has been told of it.
    #[inline]
    pub(crate) fn era(&self) -> u16 {
        self.era.load(Ordering::Acquire) as u16
    }

    pub(crate) fn hand(&self) -> Hand {
        Hand(self.hand.load(Ordering::Relaxed))
    }

    pub(crate) fn move_hand(&self, seen: Hand, new: Hand) -> Result<(), Hand> {
        self.hand
            .compare_exchange(seen.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
            .map_err(Hand)
    }

    /// Begins an era. Returns it.
    pub(crate) fn begin(&self) -> u32 {
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
