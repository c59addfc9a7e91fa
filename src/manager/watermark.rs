//! The low watermark: being told that blocks are running out.

use std::time::Instant;

use crate::blocks::BlockMetadata;
use crate::user_code::contain;

use super::BlockManager;

/// The available blocks have fallen below the low watermark: see
/// [`with_low_watermark`](super::BlockManagerConfigBuilder::with_low_watermark).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LowWatermark {
    /// Blocks that were available when it was noticed: fewer than `level`.
    pub available: usize,
    /// The watermark.
    pub level: usize,
}

/// Who is to be told.
pub(super) type OnLow = Box<dyn Fn(LowWatermark) + Send + Sync>;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Whether fewer blocks are available now than the
    /// [low watermark](super::BlockManagerConfigBuilder::with_low_watermark) says; `false`
    /// if there is none. Costs what [`available_blocks`](Self::available_blocks) does, and
    /// as that one ends [leases](crate::leases) that have expired.
    pub fn is_low(&self) -> bool {
        let level = self.store.low_watermark();
        level > 0 && self.available_blocks() < level
    }

    /// Has a fall below the low watermark told of, if there was one. For the end of every
    /// operation that may make the number of available blocks fall.
    #[inline]
    pub(super) fn tell_if_low(&self) {
        if self.store.fall_is_due() {
            self.tell();
        }
    }

    #[cold]
    fn tell(&self) {
        // What nobody is entitled to any more is available.
        self.leases.try_expire(Instant::now);
        let (Some(on_low), Some(available)) = (&self.on_low, self.store.take_fall()) else {
            return;
        };
        let level = self.store.low_watermark();
        contain("the callback of the low watermark panicked", || {
            tracing::debug!(available, level, "low watermark");
            on_low(LowWatermark { available, level });
        });
    }
}
