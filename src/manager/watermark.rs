//! The low watermark: a callback when blocks are running out.

use crate::blocks::BlockMetadata;
use crate::user_code::contain;

use super::BlockManager;

/// The argument of the low-watermark callback: how many blocks are left.
///
/// See [`with_low_watermark`](super::BlockManagerConfigBuilder::with_low_watermark) for an
/// example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowWatermark {
    /// The number of blocks that were available when the fall was noticed, less than `level`.
    pub available: usize,
    /// The watermark, in blocks.
    pub level: usize,
}

/// The callback.
pub(super) type OnLow = Box<dyn Fn(LowWatermark) + Send + Sync>;

/// The low watermark.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Returns whether the number of available blocks is currently below the
    /// [low watermark](super::BlockManagerConfigBuilder::with_low_watermark), or `false` if
    /// none is set.
    ///
    /// Costs as much as [`available_blocks`](Self::available_blocks) and, like that method,
    /// counts the blocks of expired [leases](crate::leases) as available.
    pub fn is_low(&self) -> bool {
        let level = self.store.low_watermark();
        level > 0 && self.available_blocks() < level
    }

    /// Calls the callback if the number of available blocks has fallen below the low watermark.
    /// Every operation that may take available blocks ends with this.
    #[inline]
    pub(super) fn notify_if_low(&self) {
        if self.store.fall_is_due() {
            self.notify();
        }
    }

    #[cold]
    fn notify(&self) {
        // Blocks of expired leases count as available, which releases some of them.
        let available = self.available_blocks();
        let level = self.store.low_watermark();
        if available >= level && self.store.available() < level {
            // The fall stays due until enough of them are released.
            return;
        }
        let (Some(on_low), Some(_)) = (&self.on_low, self.store.take_fall()) else {
            return;
        };
        contain("the callback of the low watermark panicked", || {
            tracing::debug!(available, level, "low watermark");
            on_low(LowWatermark { available, level });
        });
    }
}
