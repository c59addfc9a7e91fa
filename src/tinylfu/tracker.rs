//! Counting key uses from many threads.

use std::fmt;
use std::marker::PhantomData;

use super::table::Table;
use super::{SketchKey, TinyLFUSketch};
use crate::user_code::Panics;

/// Counts how often keys have been used recently.
///
/// A registry given a tracker touches a hash when it is used, and frequency-based eviction
/// policies ask for its count. [`TinyLFUTracker`] is the usual implementation; your own may
/// count in any way.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
///
/// use kvbm_lockfree::tinylfu::FrequencyTracker;
///
/// /// Counts exactly, and never forgets.
/// #[derive(Default)]
/// struct Exact(Mutex<HashMap<u128, u32>>);
///
/// impl FrequencyTracker<u128> for Exact {
///     fn touch(&self, key: u128) {
///         *self.0.lock().unwrap().entry(key).or_default() += 1;
///     }
///
///     fn count(&self, key: u128) -> u32 {
///         self.0.lock().unwrap().get(&key).copied().unwrap_or(0)
///     }
/// }
///
/// let tracker = Exact::default();
/// tracker.touch_all(&[7, 8, 7]);
/// assert_eq!(tracker.count(7), 2);
/// ```
pub trait FrequencyTracker<K: SketchKey>: Send + Sync {
    /// Counts one use of `key`.
    fn touch(&self, key: K);

    /// Counts one use of each of `keys`, in order.
    ///
    /// The default implementation calls [`touch`](Self::touch) for each key. Override it if
    /// counting several keys at once is cheaper.
    ///
    /// # Panics
    ///
    /// If `touch` panics, the default implementation touches the remaining keys and then
    /// resumes the first panic.
    fn touch_all(&self, keys: &[K]) {
        let mut panics = Panics::new();
        for &key in keys {
            panics.catch(|| self.touch(key));
        }
        panics.resume();
    }

    /// Returns how often `key` has been used recently.
    fn count(&self, key: K) -> u32;
}

/// A [frequency sketch](TinyLFUSketch) that threads share without waiting for each other.
///
/// ```
/// use std::sync::Arc;
///
/// use kvbm_lockfree::tinylfu::{FrequencyTracker, TinyLFUTracker};
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// let tracker = Arc::new(TinyLFUTracker::<u128>::new(4 * 512));
/// let registry = BlockRegistry::builder().frequency_tracker(tracker).build();
/// let manager = BlockManager::<()>::builder()
///     .block_count(512)
///     .block_size(16)
///     .registry(registry)
///     .with_multi_lru_backend()
///     .build()?;
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
///
/// # What does it cost?
///
/// * [`touch`](FrequencyTracker::touch) computes a hash and raises four counters, with an
///   exchange for each that is not full and up to three additions. There are no locks.
/// * [`touch_all`](FrequencyTracker::touch_all) shares the additions among up to 32 keys, and the
///   cache misses of a large table overlap.
/// * [`count`](FrequencyTracker::count) computes a hash and reads four counters.
/// * When the counters are halved, that is counted rather than carried out: a touch makes up for it
///   in the parts of the table in which it raises a counter, in at most 14 words per key, and a
///   count in what it has read.
/// * Memory is 2.3 bytes per key of the capacity. Nothing is allocated after construction.
///
/// # What do other threads see?
///
/// A touch counts as soon as it returns. No touch is lost, or counted twice, and no thread ever
/// waits for another. Driven by one thread at a time, the tracker returns exactly the counts of a
/// [`TinyLFUSketch`].
///
/// A touch, a count and a halving at the same time may come in any order, and in a different one for
/// each of the four counters: a count may be off by one touch or one halving. A thread that is
/// suspended during a touch may leave up to 7 words of the table (112 counters) that have not been
/// halved like the others; this ends when it resumes.
pub struct TinyLFUTracker<K: SketchKey> {
    table: Table,
    key: PhantomData<K>,
}

impl<K: SketchKey> TinyLFUTracker<K> {
    /// Creates a tracker for about `capacity` keys that halves its counters once
    /// `capacity * 10` increments have been counted.
    ///
    /// See [`TinyLFUSettings`](super::TinyLFUSettings) for other decay policies.
    pub fn new(capacity: usize) -> Self {
        Self::from_sketch(TinyLFUSketch::new(capacity))
    }

    pub(super) fn from_sketch(sketch: TinyLFUSketch<K>) -> Self {
        Self {
            table: sketch.into_table(),
            key: PhantomData,
        }
    }
}

impl<K: SketchKey> FrequencyTracker<K> for TinyLFUTracker<K> {
    #[inline]
    fn touch(&self, key: K) {
        self.table.touch(key);
    }

    fn touch_all(&self, keys: &[K]) {
        self.table.touch_all(keys);
    }

    #[inline]
    fn count(&self, key: K) -> u32 {
        self.table.estimate(key)
    }
}

impl<K: SketchKey> fmt::Debug for TinyLFUTracker<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TinyLFUTracker")
            .field("table", &self.table)
            .finish_non_exhaustive()
    }
}

/// A tracker that ignores touches and counts nothing.
#[derive(Debug)]
pub struct NoOpTracker<K: SketchKey> {
    key: PhantomData<K>,
}

impl<K: SketchKey> NoOpTracker<K> {
    /// Creates a tracker whose every count is 0.
    pub fn new() -> Self {
        Self { key: PhantomData }
    }
}

impl<K: SketchKey> Default for NoOpTracker<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: SketchKey> FrequencyTracker<K> for NoOpTracker<K> {
    /// Does nothing.
    fn touch(&self, _key: K) {}

    /// Returns 0.
    fn count(&self, _key: K) -> u32 {
        0
    }
}
