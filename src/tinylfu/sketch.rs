//! The sketch of one owner.

use std::marker::PhantomData;

use super::counters::{Counters, Hashes, Layout};
use super::decay::Age;
use super::{DecayPolicy, FixedDecayPolicy, SketchKey};

/// A frequency sketch: estimates, never exact counts, in two bytes a key.
///
/// An estimate is at most 15, and without halving never below the true count
/// up to there. It is too high if each of the key's four counters is shared with
/// a key in use: once `n` different keys have been counted, with a probability of
/// about `(1 - exp(-n / capacity))^4`. That is 2.4 % for half as many keys as the
/// capacity, and 16 % for as many.
pub struct TinyLFUSketch<K: SketchKey> {
    counters: Counters,
    age: Age,
    key: PhantomData<K>,
}

impl<K: SketchKey> TinyLFUSketch<K> {
    /// A sketch for about `capacity` keys that halves its counters once
    /// `capacity * 10` increments were counted. A capacity of 0 is served by
    /// the smallest table and halves after every increment.
    ///
    /// Allocates the table (two bytes a key), and nothing afterwards.
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

    /// Counts one use of `key`, and halves every counter if the decay policy
    /// says so: four hashes and four counters, or the whole table on a
    /// halving.
    #[inline]
    pub fn increment(&mut self, key: K) {
        if self.counters.increment(Hashes::of(key)) {
            self.age.advance(&self.counters);
        }
    }

    /// How often `key` was used lately, from 0 to 15.
    #[inline]
    pub fn estimate(&self, key: K) -> u32 {
        self.counters.estimate(Hashes::of(key))
    }

    pub(super) fn into_parts(self) -> (Counters, Age) {
        (self.counters, self.age)
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
