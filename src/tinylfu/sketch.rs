//! The frequency sketch of a single owner.

use std::fmt;
use std::marker::PhantomData;

use super::counters::Layout;
use super::decay::Decay;
use super::table::Table;
use super::{FixedDecayPolicy, SketchKey};

/// A frequency sketch: approximate counts of recent uses, in 2.3 bytes per key.
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
/// about `(1 - exp(-n / capacity))^4`: less than 3 % if `n` is half of the capacity, and 17 % if it
/// equals the capacity.
pub struct TinyLFUSketch<K: SketchKey> {
    table: Table,
    key: PhantomData<K>,
}

impl<K: SketchKey> TinyLFUSketch<K> {
    /// Creates a sketch for about `capacity` keys that halves its counters once
    /// `capacity * 10` increments have been counted. With a capacity of 0, it has the smallest
    /// table and halves after every increment.
    ///
    /// Allocates the table of 2.3 bytes per key. Nothing is allocated afterwards.
    pub fn new(capacity: usize) -> Self {
        let decay = Decay::of(FixedDecayPolicy::from_capacity(capacity));
        Self::with_decay(capacity, decay, Layout::default())
    }

    pub(super) fn with_decay(capacity: usize, decay: Decay, layout: Layout) -> Self {
        Self {
            table: Table::new(capacity, decay, layout),
            key: PhantomData,
        }
    }

    /// Counts one use of `key`, and halves every counter if the decay policy says so.
    ///
    /// Computes a hash, and updates four counters. A halving is counted rather than carried out,
    /// and each of the next increments makes up for it in at most 14 words of the table.
    #[inline]
    pub fn increment(&mut self, key: K) {
        self.table.touch(key);
    }

    /// Returns how often `key` has been used recently: an estimate from 0 to 15.
    #[inline]
    pub fn estimate(&self, key: K) -> u32 {
        self.table.estimate(key)
    }

    pub(super) fn into_table(self) -> Table {
        self.table
    }
}

impl<K: SketchKey> fmt::Debug for TinyLFUSketch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TinyLFUSketch")
            .field("table", &self.table)
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
        let decay = Decay::of(FixedDecayPolicy::new(9));
        let mut sketch = TinyLFUSketch::<u64>::with_decay(100, decay, Layout::default());
        for _ in 0..8 {
            sketch.increment(42);
        }
        assert_eq!(sketch.estimate(42), 8);
        sketch.increment(43);
        assert_eq!(sketch.estimate(42), 4);
        assert_eq!(sketch.estimate(43), 0);
    }
}
