//! The low watermark of a store.

use crate::engine::store::Store;

impl Store {
    /// Sets the level of the low watermark. To be called before the store is shared.
    pub(crate) fn set_low_watermark(&self, level: u32) {
        self.credits.watermark().set_level(u64::from(level));
    }

    /// The level of the low watermark; zero if there is none.
    pub(crate) fn low_watermark(&self) -> usize {
        self.credits.watermark().level() as usize
    }

    /// Whether it may be that a fall below the low watermark is to be told of.
    #[inline]
    pub(crate) fn fall_is_due(&self) -> bool {
        self.credits.watermark().is_due()
    }

    /// How many blocks are available, if a fall below the low watermark is to be told
    /// of, by the caller.
    pub(crate) fn take_fall(&self) -> Option<usize> {
        let available = self.credits.watermark().take(&self.credits)?;
        Some(available as usize)
    }
}
