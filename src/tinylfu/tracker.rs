//! Frequency shared by threads.

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

/// Counts how often keys are used.
///
/// A [`TinyLFUTracker`] is one; a user's own may be anything.
pub trait FrequencyTracker<K: SketchKey>: Send + Sync {
    /// Takes note of one use of `key`.
    fn touch(&self, key: K);

    /// Takes note of one use of each of `keys`, in this order: as
    /// [`touch`](Self::touch) for each of them, which is what it does unless a
    /// tracker knows better.
    ///
    /// # Panics
    ///
    /// With the first panic of `touch`, when all keys have been touched.
    fn touch_all(&self, keys: &[K]) {
        let mut panics = Panics::new();
        for &key in keys {
            panics.catch(|| self.touch(key));
        }
        panics.resume();
    }

    /// How often `key` was used lately.
    fn count(&self, key: K) -> u32;
}

/// Threads that have a stripe of their own, by the number of the thread.
///
/// Servers run about one busy thread a core, and thread numbers are reused,
/// so that few threads of few servers are left to share stripe 0 (and threads
/// that are ending, whose number is gone). A stripe takes a little more than a
/// kilobyte.
const OWN_STRIPES: usize = 32;

/// The length from which a thread tries to apply its stripe. Half of what a
/// stripe holds: a thread that finds the table taken can try as many times
/// more before it loses a touch.
const BATCH: usize = super::stripe::CAPACITY / 2;

/// From so many touches at once on it is cheaper to have the table for them than
/// to note them.
const WORTH_A_LOCK: usize = 4;

/// A [frequency sketch](TinyLFUSketch) that threads share without waiting for
/// each other.
///
/// # Cost
///
/// A touch is four hashes and a store to a buffer of its thread; every
/// sixteenth applies them to the table. Several at once
/// ([`touch_all`](FrequencyTracker::touch_all)) go to the table without the buffer,
/// if nobody else is at it. A count is four hashes and a look at
/// the buffers of the threads that have touched so far; if anything waits
/// there, it is applied first. Nothing is allocated after construction: the
/// memory is two bytes a key and about 40 kB of buffers.
///
/// The table's one lock is only ever *tried*. Halving the counters happens
/// under it and takes time in proportion to the capacity, once in many
/// touches; other threads go on meanwhile.
///
/// # Order, and what can be lost
///
/// The touches of one thread are applied in the order they were made. Driven
/// by one thread at a time, every count is what a [`TinyLFUSketch`] would
/// give, and nothing is lost.
///
/// A touch is lost only if at that moment *another* thread holds the table
/// and, besides, the stripe of the touching thread is full, or is the stripe
/// shared by threads beyond the 32nd and another one is appending to it. A
/// count that finds the table held by another thread answers from the table
/// as it is, at most 32 touches a stripe behind. No touch is ever counted
/// twice.
pub struct TinyLFUTracker<K: SketchKey> {
    counters: Counters,
    /// Whoever holds this is the one writer of `counters` and the one reader
    /// of every stripe.
    age: CachePadded<Mutex<Age>>,
    /// Stripe 0 is shared, stripe `i + 1` belongs to thread number `i`.
    stripes: Box<[CachePadded<Stripe>]>,
    /// How many of the stripes were ever written to, counted from stripe 0.
    /// Spares a count the look at all others.
    used: CachePadded<AtomicUsize>,
    /// Makes its holder the one writer of stripe 0.
    sharing: CachePadded<AtomicBool>,
    key: PhantomData<K>,
}

impl<K: SketchKey> TinyLFUTracker<K> {
    /// A tracker for about `capacity` keys that halves its counters once
    /// `capacity * 10` increments were counted.
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

    /// The right to write to the table, if nobody has it.
    fn try_age(&self) -> Option<MutexGuard<'_, Age>> {
        match self.age.try_lock() {
            Ok(age) => Some(age),
            // A decay policy panicked. It is asked after the touch has left
            // its stripe and reached the table, so that nothing is half done.
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Applies the touches that wait in `stripe`, and no later ones, so that
    /// a busy writer cannot keep the caller here.
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

    /// Applies touches that have not been in a stripe, at most [`BATCH`].
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

    /// What follows on an attempt to append a touch of `key` to `stripe`.
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

    /// Applies `stripe` and then a touch more that was not appended to it, or
    /// loses that one.
    #[cold]
    fn apply_past(&self, stripe: &Stripe, key: K) {
        if let Some(mut age) = self.try_age() {
            self.apply(stripe, &mut age);
            if self.counters.increment(Hashes::of(key)) {
                age.advance(&self.counters);
            }
        }
    }

    /// A touch by a thread that has no stripe of its own.
    #[cold]
    fn touch_shared(&self, key: K) {
        let stripe = &self.stripes[0];
        let hashes = Hashes::of(key);
        // Acquire and Release: the next writer finds the tail of this one.
        if self.sharing.swap(true, Acquire) {
            // The touches this thread made before are in the stripe or in
            // the table, so the order is kept without appending.
            return self.apply_past(stripe, key);
        }
        let len = stripe.push(hashes);
        self.sharing.store(false, Release);
        self.appended(stripe, len, key);
    }

    /// Applies what waits in any stripe.
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
        // Relaxed, here and in `settle`: a thread that must see this touch is
        // ordered after it and so sees this too.
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
            // Few are noted sooner than the lock is taken.
            match (batch.len() >= WORTH_A_LOCK).then(|| self.try_age()) {
                Some(Some(mut age)) => {
                    // Those this thread made before come first.
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

/// A tracker that counts nothing.
pub struct NoOpTracker<K: SketchKey> {
    key: PhantomData<K>,
}

impl<K: SketchKey> NoOpTracker<K> {
    /// A tracker whose every count is 0.
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

    /// Always 0.
    fn count(&self, _key: K) -> u32 {
        0
    }
}
