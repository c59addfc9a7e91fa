//! The low watermark of a store, as its manager uses it.
//!
//! Reservations detect that the available blocks have dropped below the level, and leave a
//! mark; see [`credits::watermark`](crate::engine::parts::credits::watermark). The manager
//! checks the mark at the end of each operation ([`Store::fall_is_due`]), and the thread that
//! finds it asks whether it is the one to report the drop ([`Store::take_fall`]).
//!
//! The check is one load. Nothing here takes a lock, allocates or waits.

use crate::engine::store::Store;

impl Store {
    /// Sets the level of the low watermark, in blocks. Call before the store is shared.
    pub(crate) fn set_low_watermark(&self, level: u32) {
        self.credits.watermark().set_level(u64::from(level));
    }

    /// Returns the level of the low watermark, in blocks; zero if there is none.
    pub(crate) fn low_watermark(&self) -> usize {
        self.credits.watermark().level() as usize
    }

    /// Returns whether a drop below the low watermark may have to be reported: one load.
    #[inline]
    pub(crate) fn fall_is_due(&self) -> bool {
        self.credits.watermark().is_due()
    }

    /// Returns the number of available blocks if the caller must report a drop below the low
    /// watermark; `None` if there is nothing to report or another thread reports it.
    pub(crate) fn take_fall(&self) -> Option<usize> {
        let available = self.credits.watermark().take(&self.credits)?;
        Some(available as usize)
    }
}
