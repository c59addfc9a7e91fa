//! A frequency tracker that counts its calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tinylfu::{FrequencyTracker, TinyLFUTracker};

/// A frequency tracker that forwards every call to another tracker and counts it.
///
/// ```
/// use kvbm_lockfree::testing::MeteredFrequencyTracker;
/// use kvbm_lockfree::tinylfu::FrequencyTracker;
///
/// let tracker = MeteredFrequencyTracker::with_tinylfu(1024);
/// tracker.touch(1);
/// tracker.touch_all(&[1, 2]);
/// assert_eq!((tracker.touches(), tracker.count_calls()), (3, 0));
/// ```
pub struct MeteredFrequencyTracker {
    tracker: Arc<dyn FrequencyTracker<u128>>,
    touches: AtomicU64,
    count_calls: AtomicU64,
}

impl MeteredFrequencyTracker {
    /// Creates a meter in front of `inner`.
    pub fn new(inner: Arc<dyn FrequencyTracker<u128>>) -> Arc<Self> {
        Arc::new(Self {
            tracker: inner,
            touches: AtomicU64::new(0),
            count_calls: AtomicU64::new(0),
        })
    }

    /// Creates a meter in front of a new [`TinyLFUTracker`] for `capacity` hashes.
    pub fn with_tinylfu(capacity: usize) -> Arc<Self> {
        Self::new(Arc::new(TinyLFUTracker::new(capacity)))
    }

    /// Returns how many accesses were recorded. Each access of a batch counts.
    pub fn touches(&self) -> u64 {
        self.touches.load(Ordering::Relaxed)
    }

    /// Returns how often a frequency was queried.
    pub fn count_calls(&self) -> u64 {
        self.count_calls.load(Ordering::Relaxed)
    }

    /// Resets both counts to zero.
    pub fn reset(&self) {
        self.touches.store(0, Ordering::Relaxed);
        self.count_calls.store(0, Ordering::Relaxed);
    }
}

impl FrequencyTracker<u128> for MeteredFrequencyTracker {
    fn touch(&self, key: u128) {
        self.touches.fetch_add(1, Ordering::Relaxed);
        self.tracker.touch(key);
    }

    fn touch_all(&self, keys: &[u128]) {
        self.touches.fetch_add(keys.len() as u64, Ordering::Relaxed);
        self.tracker.touch_all(keys);
    }

    fn count(&self, key: u128) -> u32 {
        self.count_calls.fetch_add(1, Ordering::Relaxed);
        self.tracker.count(key)
    }
}

impl fmt::Debug for MeteredFrequencyTracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteredFrequencyTracker")
            .field("touches", &self.touches())
            .field("count_calls", &self.count_calls())
            .finish_non_exhaustive()
    }
}
