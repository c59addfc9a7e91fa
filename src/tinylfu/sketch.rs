//! The frequency sketch of a single owner.

use std::fmt;
use std::marker::PhantomData;

use super::counters::{Counters, Hashes, Layout};
use super::decay::Age;
use super::{DecayPolicy, FixedDecayPolicy, SketchKey};

/// A frequency sketch: approximate counts of recent uses, in two bytes per key.
///
/// ```
/// use kvbm_lockfree::tinylfu::TinyLFUSketch;
///
/// let mut sketch = TinyLFUSketch::<u64>::new(1024);
/// sketch.increment(7);
/// sketch.increment(7);
/// assert_eq!(sketch.estimate(7), 2);
/// assert_eq!(sketch.estimate(8), 0);
/// ```
///
/// # How accurate is an estimate?
///
/// Estimates are capped at 15. Up to 15, and until the counters are halved, an estimate is never
/// below the true count. It is too high if each of the key's four counters is shared with
/// another key in use. Once `n` different keys have been counted, the probability of that is
/// about `(1 - exp(-n / capacity))^4`: 2.4 % if `n` is half of the capacity, and 16 % if it
/// equals the capacity.
pub struct TinyLFUSketch<K: SketchKey> {
    counters: Counters,
    age: Age,
    key: PhantomData<K>,
}

impl<K: SketchKey> TinyLFUSketch<K> {
    /// Creates a sketch for about `capacity` keys that halves its counters once
    /// `capacity * 10` increments have been counted. With a capacity of 0, it has the smallest
    /// table and halves after every increment.
    ///
    /// Allocates the table of two bytes per key. Nothing is allocated afterwards.
    pub fn new(capacity: usize) -> Self {
        Self::with_policy(
            capacity,
            Box::new(FixedDecayPolicy::from_capacity(capacity)),
            Layout::default(),
        )
    }

    pub(super) fn with_policy(
        capacity: usize,
        policy: Box<dyn DecayPolicy>,
        layout: Layout,
    ) -> Self {
        Self {
            counters: Counters::new(capacity, layout),
            age: Age::new(policy),
            key: PhantomData,
        }
    }

    /// Counts one use of `key`, and halves every counter if the decay policy says so.
    ///
    /// Computes four hashes and updates four counters. A halving visits the whole table.
    #[inline]
    pub fn increment(&mut self, key: K) {
        if self.counters.increment(Hashes::of(key)) {
            self.age.advance(&self.counters);
        }
    }

    /// Returns how often `key` has been used recently: an estimate from 0 to 15.
    #[inline]
    pub fn estimate(&self, key: K) -> u32 {
        self.counters.estimate(Hashes::of(key))
    }

    pub(super) fn into_parts(self) -> (Counters, Age) {
        (self.counters, self.age)
    }
}

impl<K: SketchKey> fmt::Debug for TinyLFUSketch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TinyLFUSketch")
            .field("counters", &self.counters)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_counted_up_to_fifteen() {
        let mut sketch = TinyLFUSketch::<u64>::new(100);
        for uses in 1..=40u32 {
            sketch.increment(42);
            assert_eq!(sketch.estimate(42), uses.min(15));
        }
        assert_eq!(sketch.estimate(99), 0);
    }

    #[test]
    fn wide_keys_are_told_apart_by_either_half() {
        let mut sketch = TinyLFUSketch::<u128>::new(1000);
        sketch.increment((1 << 64) | 1);
        assert_eq!(sketch.estimate((1 << 64) | 1), 1);
        assert_eq!(sketch.estimate(1), 0);
        assert_eq!(sketch.estimate(1 << 64), 0);
    }

    #[test]
    fn a_halving_halves() {
        let policy = Box::new(FixedDecayPolicy::new(9));
        let mut sketch = TinyLFUSketch::<u64>::with_policy(100, policy, Layout::default());
        for _ in 0..8 {
            sketch.increment(42);
        }
        assert_eq!(sketch.estimate(42), 8);
        sketch.increment(43);
        assert_eq!(sketch.estimate(42), 4);
        assert_eq!(sketch.estimate(43), 0);
    }
}
