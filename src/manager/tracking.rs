//! How many hashes a frequency tracker is sized for.

use std::sync::Arc;

use crate::tinylfu::TinyLFUTracker;

/// The number of hashes that a frequency tracker is sized for.
///
/// ```
/// use kvbm_lockfree::manager::FrequencyTrackingCapacity;
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// #[derive(Clone)]
/// struct Gpu;
///
/// let registry = BlockRegistry::builder()
///     .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
///     .build();
/// let manager = BlockManager::<Gpu>::builder()
///     .block_count(1024)
///     .registry(registry)
///     .with_multi_lru_backend() // needs the tracker
///     .build()?;
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrequencyTrackingCapacity {
    /// 2^18 hashes.
    Small,
    /// 2^21 hashes.
    #[default]
    Medium,
    /// 2^24 hashes.
    Large,
}

impl FrequencyTrackingCapacity {
    /// Returns the number of hashes.
    pub fn size(&self) -> usize {
        match self {
            Self::Small => 1 << 18,
            Self::Medium => 1 << 21,
            Self::Large => 1 << 24,
        }
    }

    /// Creates a tracker for that many hashes, to be passed to
    /// [`BlockRegistry::builder`](crate::BlockRegistry::builder).
    #[must_use]
    pub fn create_tracker(&self) -> Arc<TinyLFUTracker<u128>> {
        Arc::new(TinyLFUTracker::new(self.size()))
    }
}
