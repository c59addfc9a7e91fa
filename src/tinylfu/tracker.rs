//! Counting key uses from many threads.

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Mutex, MutexGuard, TryLockError};

use crossbeam_utils::CachePadded;

use super::counters::{Counters, Hashes};
use super::decay::Age;
use super::stripe::Stripe;
use super::{SketchKey, TinyLFUSketch};
use crate::sync::thread;
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

/// The number of threads that have a stripe of their own: those whose thread number is less.
///
/// A server runs about one busy thread per core, and thread numbers are reused, so few
/// threads have to share stripe 0. (Threads that are exiting share it, too, since they have
/// given up their number.) A stripe takes a little more than a kilobyte.
const OWN_STRIPES: usize = 32;

/// The length at which a thread tries to apply its stripe: half of the stripe's capacity. If
/// another thread holds the table, there is room for that many more touches, with one try each,
/// before one is lost.
const BATCH: usize = super::stripe::CAPACITY / 2;

/// The number of simultaneous touches from which locking the table is cheaper than queueing
/// them.
const WORTH_A_LOCK: usize = 4;

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
/// * [`touch`](FrequencyTracker::touch) computes four hashes and stores them in a buffer of
///   the calling thread, its *stripe*. From the sixteenth buffered touch on, the thread
///   applies its stripe to the table if no other thread holds the table's lock.
/// * [`touch_all`](FrequencyTracker::touch_all) with four keys or more bypasses the stripe if
///   the lock is free, unless the thread is one of those that share a stripe (see below).
/// * [`count`](FrequencyTracker::count) computes four hashes and checks the stripes in use. If
///   any has buffered touches, they are applied first, provided that the lock is free.
/// * The table's lock is only ever *tried*; no thread waits for it. Halving the counters
///   happens under it, in time proportional to the capacity, once per many touches.
/// * Memory is two bytes per key of the capacity, plus about 40 kB of stripes. Nothing is
///   allocated after construction.
///
/// # In which order are touches applied, and can one be lost?
///
/// The touches of a thread are applied in the order in which they were made. Driven by one
/// thread at a time, the tracker returns exactly the counts of a [`TinyLFUSketch`] and loses
/// nothing.
///
/// A touch is lost only if *another* thread holds the table's lock and, at the same time, the
/// touching thread cannot append to its stripe. The stripe may be full; or, if 32 other
/// threads have stripes of their own, another thread may be appending to the stripe that the
/// remaining ones share.
///
/// A count that finds the lock held uses the table as it is, and misses at most 32 touches
/// per stripe. No touch is ever counted twice.
pub struct TinyLFUTracker<K: SketchKey> {
    counters: Counters,
    /// The thread that holds this is the only writer of `counters` and the only reader of the
    /// stripes.
    age: CachePadded<Mutex<Age>>,
    /// Stripe 0 is shared; stripe `i + 1` belongs to thread number `i`.
    stripes: Box<[CachePadded<Stripe>]>,
    /// The length of the prefix of `stripes` that has ever been written to. A count checks
    /// only these.
    used: CachePadded<AtomicUsize>,
    /// The thread that sets this is the only writer of stripe 0.
    sharing: CachePadded<AtomicBool>,
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
        let (counters, age) = sketch.into_parts();
        Self {
            counters,
            age: CachePadded::new(Mutex::new(age)),
            stripes: (0..=OWN_STRIPES)
                .map(|_| CachePadded::new(Stripe::new()))
                .collect(),
            used: CachePadded::new(AtomicUsize::new(1)),
            sharing: CachePadded::new(AtomicBool::new(false)),
            key: PhantomData,
        }
    }

    /// Locks the table unless another thread holds it.
    fn try_age(&self) -> Option<MutexGuard<'_, Age>> {
        match self.age.try_lock() {
            Ok(age) => Some(age),
            // A decay policy panicked. It is asked after the touch has been moved from the
            // stripe to the table, so no state is inconsistent.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Applies the touches that are in `stripe` now. Later ones are left, so that a busy
    /// writer cannot keep the caller here.
    #[inline(never)]
    fn apply(&self, stripe: &Stripe, age: &mut Age) {
        if self.counters.are_far() {
            stripe.peek(|hashes| self.counters.fetch(hashes));
        }
        stripe.drain(
            |hashes| self.counters.increment(hashes),
            |counted| {
                if counted {
                    age.advance(&self.counters);
                }
            },
        );
    }

    /// Applies touches that bypass the stripes, at most [`BATCH`] of them.
    fn apply_now(&self, keys: &[K], age: &mut Age) {
        let mut hashes = [Hashes::NONE; BATCH];
        let hashes = &mut hashes[..keys.len()];
        for (hashes, &key) in hashes.iter_mut().zip(keys) {
            *hashes = Hashes::of(key);
        }
        if self.counters.are_far() {
            hashes
                .iter()
                .for_each(|&hashes| self.counters.fetch(hashes));
        }
        for &mut hashes in hashes {
            if self.counters.increment(hashes) {
                age.advance(&self.counters);
            }
        }
    }

    /// Continues after an attempt to append a touch of `key` to `stripe`, which then had the
    /// length `len`, or was full.
    #[inline]
    fn appended(&self, stripe: &Stripe, len: Option<usize>, key: K) {
        match len {
            Some(len) if len < BATCH => {}
            Some(_) => self.apply_batch(stripe),
            None => self.apply_past(stripe, key),
        }
    }

    #[inline(never)]
    fn apply_batch(&self, stripe: &Stripe) {
        if let Some(mut age) = self.try_age() {
            self.apply(stripe, &mut age);
        }
    }

    /// Applies `stripe`, and then a touch that could not be appended to it. Loses the touch if
    /// the table is held.
    #[cold]
    fn apply_past(&self, stripe: &Stripe, key: K) {
        if let Some(mut age) = self.try_age() {
            self.apply(stripe, &mut age);
            if self.counters.increment(Hashes::of(key)) {
                age.advance(&self.counters);
            }
        }
    }

    /// Counts a touch by a thread without a stripe of its own.
    #[cold]
    fn touch_shared(&self, key: K) {
        let stripe = &self.stripes[0];
        let hashes = Hashes::of(key);
        // Acquire here and release below: the next writer sees the tail that this one stored.
        if self.sharing.swap(true, Acquire) {
            // This thread's earlier touches are in the stripe or in the table, so applying the
            // stripe first keeps their order.
            return self.apply_past(stripe, key);
        }
        let len = stripe.push(hashes);
        self.sharing.store(false, Release);
        self.appended(stripe, len, key);
    }

    /// Applies the touches buffered in any stripe.
    #[inline]
    fn settle(&self) {
        let used = &self.stripes[..self.used.load(Relaxed)];
        if used.iter().any(|stripe| stripe.is_pending()) {
            self.settle_pending(used);
        }
    }

    #[inline(never)]
    fn settle_pending(&self, used: &[CachePadded<Stripe>]) {
        if let Some(mut age) = self.try_age() {
            for stripe in used {
                self.apply(stripe, &mut age);
            }
        }
    }
}

impl<K: SketchKey> FrequencyTracker<K> for TinyLFUTracker<K> {
    #[inline]
    fn touch(&self, key: K) {
        let index = thread::index();
        if index >= OWN_STRIPES {
            return self.touch_shared(key);
        }
        let stripe = index + 1;
        // Relaxed, here and in `settle`: a thread that must see this touch is ordered after
        // it, and therefore sees this store as well.
        if self.used.load(Relaxed) <= stripe {
            self.used.fetch_max(stripe + 1, Relaxed);
        }
        let stripe = &self.stripes[stripe];
        let len = stripe.push(Hashes::of(key));
        self.appended(stripe, len, key);
    }

    fn touch_all(&self, keys: &[K]) {
        let stripe = match thread::index() {
            index if index < OWN_STRIPES => &self.stripes[index + 1],
            _ => return keys.iter().for_each(|&key| self.touch(key)),
        };
        for batch in keys.chunks(BATCH) {
            // Queueing a few touches is cheaper than taking the lock.
            match (batch.len() >= WORTH_A_LOCK).then(|| self.try_age()) {
                Some(Some(mut age)) => {
                    // The thread's earlier touches come first.
                    self.apply(stripe, &mut age);
                    self.apply_now(batch, &mut age);
                }
                _ => batch.iter().for_each(|&key| self.touch(key)),
            }
        }
    }

    #[inline]
    fn count(&self, key: K) -> u32 {
        let hashes = Hashes::of(key);
        self.settle();
        self.counters.estimate(hashes)
    }
}

impl<K: SketchKey> fmt::Debug for TinyLFUTracker<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TinyLFUTracker")
            .field("counters", &self.counters)
            .field("stripes", &self.stripes.len())
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
