//! Eras: which inactive blocks a clearing has given up.
//!
//! A store counts its clearings. Each slot remembers the *era* of its last release: the
//! number of clearings there had been. An inactive block of an earlier era is *cleared*;
//! `ops/clear` says what happens to it.
//!
//! # Is a release before or after a clearing?
//!
//! A thread that releases a block writes the era just before the exchange that takes the last
//! pin off, while it still has that pin. So the era is never that of an earlier tenancy, and a
//! thread that sees the word after the exchange sees the era too. A release that runs during a
//! clearing may fall on either side of it. If it reads the era before the clearing, and takes
//! the pin off after the hand has passed, it leaves a cleared block behind the hand, where the
//! policy finds it in due course.
//!
//! Slots keep 16 bits of the era. Long before the count wraps around to where one era could be
//! mistaken for another, a clearing visits all slots itself and discards the cleared ones.
//!
//! # How are cleared blocks found?
//!
//! Allocations that have run out of free blocks go around the slots once after each clearing;
//! the *hand* says how far they have come. A thread looks at some slots from the hand on, and
//! then moves the hand, if it is still where it was. So every slot before the hand has been
//! looked at, perhaps by two threads, and a thread that is suspended on its round leaves no
//! slot unvisited.
//!
//! # Layout and orderings
//!
//! | word | bits | access |
//! |---|---|---|
//! | `era` | all 32: the number of clearings, wrapping around | release when a clearing increments it, acquire by readers |
//! | `hand` | `0..32` the next slot to look at, `32..64` the era of this round | relaxed: a hint; what is found is decided by the slots' words |

use crossbeam_utils::CachePadded;

use crate::sync::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The number of slots a thread looks at before it moves the hand.
pub(crate) const STRETCH: u32 = 64;

/// The era of a store, and how far allocations have come in search of cleared blocks.
pub(crate) struct Clearing {
    /// The number of clearings.
    era: AtomicU32,
    /// The hand. Not on the cache line of the era, which every match of an inactive block
    /// reads.
    hand: CachePadded<AtomicU64>,
    /// The number from which the number of cleared blocks is counted down: see "How many are
    /// there?" in `ops/clear`. Only gauges read it, so it is not one of the model's atomics.
    cleared_until: std::sync::atomic::AtomicI64,
}

/// A position in the round of an era: `0..32` the slot, `32..64` the era.
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

    /// Returns whether there has been a clearing.
    pub(crate) fn is_used(&self) -> bool {
        self.era.load(Ordering::Acquire) != 0
    }

    /// Returns the number of cleared blocks. `taken` is the number of blocks that were ever
    /// taken after having been cleared, minus those that were discarded without having been
    /// cleared.
    pub(crate) fn cleared(&self, taken: i64) -> u64 {
        let until = self.cleared_until.load(Ordering::Relaxed);
        until.saturating_sub(taken).max(0) as u64
    }

    /// Sets the number of cleared blocks, given the current value of `taken`.
    pub(crate) fn set_cleared(&self, count: u64, taken: i64) {
        self.cleared_until
            .store(taken.saturating_add_unsigned(count), Ordering::Relaxed);
    }

    /// Returns the current era, as slots remember it.
    ///
    /// Acquire: a thread that sees the era of a clearing also sees that the registry has been
    /// told of that clearing.
    #[inline]
    pub(crate) fn era(&self) -> u16 {
        self.era.load(Ordering::Acquire) as u16
    }

    /// Returns where the next thread should look for cleared blocks.
    pub(crate) fn hand(&self) -> Hand {
        Hand(self.hand.load(Ordering::Relaxed))
    }

    /// Moves the hand if it is still at `seen`; otherwise returns where it is.
    pub(crate) fn move_hand(&self, seen: Hand, new: Hand) -> Result<(), Hand> {
        self.hand
            .compare_exchange(seen.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
            .map_err(Hand)
    }

    /// Begins a new era and returns it.
    pub(crate) fn begin(&self) -> u32 {
        // Release: pairs with the acquire in `era`.
        let era = self.era.fetch_add(1, Ordering::Release).wrapping_add(1);
        step!(EraBegun);
        let mut hand = self.hand();
        // A later clearing may have moved the hand already.
        while era.wrapping_sub(hand.era()) as i32 > 0 {
            match self.move_hand(hand, Hand::new(era, 0)) {
                Ok(()) => break,
                Err(now) => hand = now,
            }
        }
        era
    }
}
