//! The low watermark: noticing that the available blocks have fallen below a level,
//! without polling, and without a word that all reservations would write.
//!
//! The number of available blocks is the sum of the [credits](crate::engine::parts::credits)' balances.
//! A reservation that leaves at least the level in its own shard has not made the sum
//! fall below it, so it need not look further, and that is one comparison which it makes
//! anyway. The others, on their cold path,
//!
//! 1. *re-arm*, before they reserve: where a fall has been told of, and the sum is at the
//!    level (again), it is forgotten that it was told of;
//! 2. reserve;
//! 3. *mark* a fall as due, if none has been told of and the sum is below the level.
//!
//! An operation ends with a look at the mark (`Store::fall_is_due`). Whoever finds it
//! takes it off, adds up once more, since an operation may return credits that it
//! turned out not to need, and if the sum is still below the level, and nobody was
//! faster, tells of the fall (`Store::take_fall`).
//!
//! A release does nothing: that the number has risen is found out by the next reservation
//! that could make it fall again.
//!
//! # At least once
//!
//! If the number was at the level at an instant at which no operation was under way, and
//! is below it at a later one, then a fall has been told of in between. Take the
//! reservation that makes the sum cross the level for the first time: before it the sum
//! was at the level, so it has re-armed. Take the last reservation of all: when it comes
//! to mark, what follows are releases only, and the sum is below the level after them, so
//! it is below now. Either a fall has been told of since the re-arming, or the mark is
//! put. Whoever takes that off adds up afterwards, finds the same, and tells.
//!
//! Two threads that each reserve from a shard of their own must not both miss what the
//! other has taken: between a reservation and the sum, and between the mark and the sum,
//! there are sequentially consistent fences.
//!
//! A sum is of one instant unless the balances change on and on while it is made, see
//! [`Credits::available`]. A re-arming that comes late, when another thread has told of
//! the same fall, has it told of again.

use std::sync::atomic::AtomicU64;

use crate::sync::limits::IS_MODEL;
use crate::sync::{AtomicBool, Ordering, fence};

use crate::engine::parts::credits::Credits;

/// The level, and what is known of falls below it.
pub(crate) struct Watermark {
    /// Set before the store is shared, and so none of the model's atomics.
    level: AtomicU64,
    /// A fall has been told of, and nobody has seen the number at the level since.
    told: AtomicBool,
    /// Somebody has to look.
    due: AtomicBool,
}

impl Watermark {
    /// None: nothing is below zero.
    pub(crate) fn none() -> Self {
        Self {
            level: AtomicU64::new(0),
            told: AtomicBool::new(false),
            due: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn level(&self) -> u64 {
        // Relaxed: it does not change once there are threads.
        self.level.load(Ordering::Relaxed)
    }

    /// To be called before there are threads.
    pub(crate) fn set_level(&self, level: u64) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// Before a reservation that may make the number fall.
    pub(crate) fn rearm(&self, credits: &Credits) {
        // Relaxed: the reservation that follows publishes it.
        if self.told.load(Ordering::Relaxed) && self.below(credits).is_none() {
            self.told.store(false, Ordering::Relaxed);
        }
    }

    /// After it.
    pub(crate) fn mark(&self, credits: &Credits) {
        // SeqCst: pairs with itself, in another thread that has reserved, and with the
        // fence in `take`.
        fence(Ordering::SeqCst);
        if !self.told.load(Ordering::Relaxed) && self.below(credits).is_some() {
            self.due.store(true, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        // A model without a watermark is not to explore looks at it.
        if IS_MODEL && self.level() == 0 {
            return false;
        }
        // Relaxed: an operation sees its own mark, or that it was taken off.
        self.due.load(Ordering::Relaxed)
    }

    /// Takes the mark off. Returns the number of credits if a fall is to be told of, by
    /// the caller.
    pub(crate) fn take(&self, credits: &Credits) -> Option<u64> {
        self.due.store(false, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `mark`: a mark that was taken off here belongs
        // to a reservation that is seen here.
        fence(Ordering::SeqCst);
        let available = self.below(credits)?;
        (!self.told.swap(true, Ordering::Relaxed)).then_some(available)
    }

    /// The number of credits, if it is below the level.
    fn below(&self, credits: &Credits) -> Option<u64> {
        // Mostly the central alone has enough, and is written more rarely than the shards.
        if credits.in_central() >= self.level() {
            return None;
        }
        let available = u64::from(credits.available());
        (available < self.level()).then_some(available)
    }
}
