//! A table of counters with its age: what a sketch and a tracker have in common.

use std::fmt;

use crossbeam_utils::CachePadded;

use super::SketchKey;
use super::counters::{Counters, Layout, Selected};
use super::decay::Decay;
use super::tally::{Age, Change, Tally};
use crate::user_code::Panics;

/// The number of keys that are counted together.
const BATCH: usize = 32;

/// Any number of threads count uses here, and read the counts.
pub(super) struct Table {
    counters: Counters,
    decay: Decay,
    tally: CachePadded<Tally>,
}

impl Table {
    pub(super) fn new(capacity: usize, decay: Decay, layout: Layout) -> Self {
        Self {
            counters: Counters::new(capacity, layout),
            decay,
            tally: CachePadded::new(Tally::new()),
        }
    }

    /// Counts one use of `key`, and a halving if it is due.
    #[inline]
    pub(super) fn touch<K: SketchKey>(&self, key: K) {
        match self.counters.layout() {
            Layout::Spread => {
                let hash = Counters::hash(key);
                let halvings = self.tally.age().halvings;
                if !self
                    .counters
                    .are_full(&self.counters.spread(hash), halvings)
                {
                    self.raise_and_add(hash, halvings);
                }
            }
            Layout::Reference => self.touch_as_reference(key),
        }
    }

    #[cold]
    fn touch_as_reference<K: SketchKey>(&self, key: K) {
        let selected = self.counters.reference(key);
        let halvings = self.tally.age().halvings;
        if !self.counters.are_full(&selected, halvings) {
            self.add(self.counters.raise(&selected, halvings));
        }
    }

    /// Out of line, because most uses are of content whose counters are full. Takes the hash, so that
    /// the places of its counters need not be kept in memory for this.
    #[inline(never)]
    fn raise(&self, hash: u64, halvings: u32) -> Change {
        (self.counters).raise(&self.counters.spread(hash), halvings)
    }

    #[inline(never)]
    fn raise_and_add(&self, hash: u64, halvings: u32) {
        let selected = self.counters.spread(hash);
        self.add(self.counters.raise(&selected, halvings));
    }

    #[inline]
    fn add(&self, change: Change) {
        if change.raises() == 0 {
            return;
        }
        let Age { size, halvings } = self.tally.add(change);
        if self.decay.is_due(size) {
            self.tally.halve(halvings);
        }
    }

    /// Counts one use of each of `keys`, in order.
    pub(super) fn touch_all<K: SketchKey>(&self, keys: &[K]) {
        match &self.decay {
            Decay::Fixed { sample_size } if self.counters.layout() == Layout::Spread => {
                for keys in keys.chunks(BATCH) {
                    self.touch_batch(keys, *sample_size);
                }
            }
            _ => {
                let mut panics = Panics::new();
                for &key in keys {
                    panics.catch(|| self.touch(key));
                }
                panics.resume();
            }
        }
    }

    /// Counts one use of each of `keys`, and a halving whenever there have been `sample_size`
    /// raises.
    fn touch_batch<K: SketchKey>(&self, keys: &[K], sample_size: u32) {
        let mut hashes = [0; BATCH];
        let hashes = &mut hashes[..keys.len()];
        for (hash, &key) in hashes.iter_mut().zip(keys) {
            *hash = Counters::hash(key);
        }
        if self.counters.are_far() {
            hashes.iter().for_each(|&hash| self.counters.fetch(hash));
        }
        let mut age = self.tally.age();
        let mut changes = Change::default();
        for &mut hash in hashes {
            let selected = self.counters.spread(hash);
            if self.counters.are_full(&selected, age.halvings) {
                continue;
            }
            changes.add(self.raise(hash, age.halvings));
            if changes.raises() >= sample_size.saturating_sub(age.size).max(1) {
                self.add(changes);
                changes = Change::default();
                age = self.tally.age();
            }
        }
        self.add(changes);
    }

    #[cfg(all(test, kvbm_loom))]
    pub(super) fn age(&self) -> Age {
        self.tally.age()
    }

    /// Returns how often `key` has been used recently.
    #[inline]
    pub(super) fn estimate<K: SketchKey>(&self, key: K) -> u32 {
        match self.counters.layout() {
            Layout::Spread => self.estimate_selected(self.counters.spread(Counters::hash(key))),
            Layout::Reference => self.estimate_as_reference(key),
        }
    }

    #[cold]
    fn estimate_as_reference<K: SketchKey>(&self, key: K) -> u32 {
        self.estimate_selected(self.counters.reference(key))
    }

    #[inline(always)]
    fn estimate_selected<const N: usize, const LINES: usize>(
        &self,
        selected: [Selected<N>; LINES],
    ) -> u32 {
        self.counters.estimate(selected, self.tally.age().halvings)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("counters", &self.counters)
            .field("age", &self.tally.age())
            .finish_non_exhaustive()
    }
}
