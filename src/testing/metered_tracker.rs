//! A frequency tracker that counts how it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::tinylfu::{FrequencyTracker, TinyLFUTracker};

/// Passes everything on to another tracker, and counts it.
pub struct MeteredFrequencyTracker {
    tracker: Arc<dyn FrequencyTracker<u128>>,
    touches: AtomicU64,
    count_calls: AtomicU64,
}

impl MeteredFrequencyTracker {
    /// A meter in front of a tracker.
    pub fn new(inner: Arc<dyn FrequencyTracker<u128>>) -> Arc<Self> {
        Arc::new(Self {
            tracker: inner,
            touches: AtomicU64::new(0),
            count_calls: AtomicU64::new(0),
        })
    }

    /// A meter in front of a new [`TinyLFUTracker`] for `capacity` hashes.
    pub fn with_tinylfu(capacity: usize) -> Arc<Self> {
        Self::new(Arc::new(TinyLFUTracker::new(capacity)))
    }

    /// How many accesses were counted, those of a batch each for itself.
    pub fn touches(&self) -> u64 {
        self.touches.load(Ordering::Relaxed)
    }

    /// How often a frequency was asked for.
    pub fn count_calls(&self) -> u64 {
        self.count_calls.load(Ordering::Relaxed)
    }

    /// Begins both counts anew.
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
