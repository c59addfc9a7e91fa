//! The low watermark: detects that the available blocks have dropped below a level, without
//! polling, and without a word that every reservation would write.
//!
//! The number of available blocks is the sum of the [balances](super) of the credits. A
//! reservation that leaves at least the level in its own shard cannot have made the sum drop
//! below it, and need not look further: that is one comparison, which it makes anyway. The
//! other reservations, on their cold path,
//!
//! 1. *re-arm* before they reserve: if the last fall has been reported, and the sum is at the
//!    level (again), they clear the record of that report;
//! 2. reserve;
//! 3. *mark* a fall as due, if none has been reported and the sum is below the level.
//!
//! Every operation ends with a look at the mark (`Store::fall_is_due`). A thread that finds it
//! set clears it and adds up once more, since an operation may return credits that it turned
//! out not to need. If the sum is still below the level, and no other thread was faster, the
//! thread reports the fall (`Store::take_fall`).
//!
//! A release does nothing. The next reservation that could make the number drop again
//! discovers that it has risen.
//!
//! | field | set by | cleared by |
//! |---|---|---|
//! | `level` | the builder, before the store is shared | never |
//! | `is_reported` | the thread that reports a fall | a reservation that re-arms |
//! | `due` | a reservation that finds the sum below the level | a thread that checks whether to report |
//!
//! # Is every fall reported?
//!
//! At least once: if the number was at the level at an instant at which no operation was in
//! progress, and is below it at a later such instant, then a fall has been reported in
//! between. Take the reservation that first makes the sum cross the level: before it the sum
//! was at the level, so it has re-armed. Take the last reservation of all: when it reaches
//! step 3, only releases follow. After those the sum is below the level, so it is below the
//! level already. Either a fall has been reported since the re-arming, or the mark is set. The
//! thread that clears that mark adds up afterwards, finds the same, and reports.
//!
//! Two threads that each reserve from a shard of their own must not both miss what the other
//! has taken. Therefore sequentially consistent fences stand between a reservation and the sum,
//! and between clearing the mark and the sum.
//!
//! # Can a fall be reported twice?
//!
//! Yes: a late re-arming, after another thread has reported the same fall, causes it to be
//! reported again. Besides, the sum is that of one instant only if the balances do not keep
//! changing while it is computed, see [`Credits::available`].

use std::sync::atomic::AtomicU64;

use crate::sync::limits::IS_MODEL;
use crate::sync::{AtomicBool, Ordering, fence};

use crate::engine::parts::credits::Credits;

/// The level, and what is known about falls below it.
pub(crate) struct Watermark {
    /// Set before the store is shared, and therefore not one of the model's atomics.
    level: AtomicU64,
    /// Whether a fall has been reported, and no reservation has seen the number at the level
    /// since.
    is_reported: AtomicBool,
    /// Whether some operation has to check for a fall to report.
    due: AtomicBool,
}

impl Watermark {
    /// Creates a watermark of level zero, below which the number cannot drop.
    pub(crate) fn none() -> Self {
        Self {
            level: AtomicU64::new(0),
            is_reported: AtomicBool::new(false),
            due: AtomicBool::new(false),
        }
    }

    /// Returns the level in blocks; zero if there is no watermark.
    #[inline]
    pub(crate) fn level(&self) -> u64 {
        // Relaxed: the level does not change once the store is shared.
        self.level.load(Ordering::Relaxed)
    }

    /// Sets the level, in blocks. Call before the store is shared.
    pub(crate) fn set_level(&self, level: u64) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// Re-arms the watermark if the number is at the level. Call before a reservation that may
    /// make the number drop below it.
    pub(crate) fn rearm(&self, credits: &Credits) {
        // Relaxed: the reservation that follows publishes it.
        if self.is_reported.load(Ordering::Relaxed) && self.below(credits).is_none() {
            self.is_reported.store(false, Ordering::Relaxed);
        }
    }

    /// Marks a fall as due if the number is below the level. Call after the reservation.
    pub(crate) fn mark(&self, credits: &Credits) {
        // SeqCst: pairs with this fence in another thread that has reserved, and with the fence
        // in `take`.
        fence(Ordering::SeqCst);
        if !self.is_reported.load(Ordering::Relaxed) && self.below(credits).is_some() {
            self.due.store(true, Ordering::Relaxed);
        }
    }

    /// Returns whether a fall may have to be reported. One relaxed load.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        // Models without a watermark should not explore loads of its mark.
        if IS_MODEL && self.level() == 0 {
            return false;
        }
        // Relaxed: an operation sees the mark that it has set itself, unless the mark has been
        // cleared.
        self.due.load(Ordering::Relaxed)
    }

    /// Clears the mark. Returns the number of credits if the caller has to report a fall.
    pub(crate) fn take(&self, credits: &Credits) -> Option<u64> {
        self.due.store(false, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `mark`: if a mark was cleared here, the reservation
        // that set it is seen here.
        fence(Ordering::SeqCst);
        let available = self.below(credits)?;
        (!self.is_reported.swap(true, Ordering::Relaxed)).then_some(available)
    }

    /// Returns the number of credits, if it is below the level.
    fn below(&self, credits: &Credits) -> Option<u64> {
        // Usually the central balance alone is enough, and its word is written less often than
        // those of the shards.
        if credits.in_central() >= self.level() {
            return None;
        }
        let available = u64::from(credits.available());
        (available < self.level()).then_some(available)
    }
}
