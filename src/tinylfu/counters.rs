//! The table of 4-bit counters, and which four of them belong to a key.
//!
//! Sixteen counters share a word. Any thread may read the table at any time, but it has **one
//! writer at a time**: the owner of a sketch, or the thread that holds a tracker's lock. An
//! increment can therefore be a plain load and a plain store. Words are accessed with relaxed
//! ordering: they publish nothing but themselves, and the lock orders one writer after the
//! other.
//!
//! # Which counter does a hash select?
//!
//! A hash selects a word and a counter within it. The two choices must be independent: if the
//! word determines the counter, the other fifteen counters of each word are never used. The
//! word is the hash modulo the length of the table (its low bits if the length is a power of
//! two), so the two highest bits select the counter. Two bits suffice because each of a key's
//! four hashes has a quarter of every word to itself. The rows of the sketch are thus
//! disjoint, as in a count-min sketch.
//!
//! Disjoint rows also make up for the similarity of the four secrets. Two keys that differ in
//! the way two secrets do have the same four hashes in a different order, but not the same
//! counters.
//!
//! [`Layout::Reference`] selects the counter by the lowest four bits instead. It exists for
//! comparisons with the reference.

use std::array;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use xxhash_rust::const_xxh3::const_custom_default_secret;

use super::SketchKey;

/// The number of counters per key.
pub(super) const DEPTH: usize = 4;

const SECRETS: [[u8; 192]; DEPTH] = [
    const_custom_default_secret(0),
    const_custom_default_secret(1),
    const_custom_default_secret(2),
    const_custom_default_secret(3),
];

/// The number of words in a table of 2 MiB, roughly the size of a core's private caches.
const FAR: usize = 1 << 18;

/// The largest value of a counter.
const SATURATED: u64 = 0xF;
/// The lowest bit of each counter in a word.
const LOWEST_BITS: u64 = 0x1111_1111_1111_1111;
/// All but the highest bit of each counter in a word.
const ALL_BUT_HIGHEST_BITS: u64 = 0x7777_7777_7777_7777;

/// How a hash selects the counter within a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Layout {
    /// By its highest two bits, in the quarter of the word that belongs to the row.
    #[default]
    Spread,
    /// By its lowest four bits. Two hashes of a key may select the same counter, which is then
    /// incremented twice.
    Reference,
}

/// The four hashes of a key, one per row. Each selects one counter; see the module
/// documentation.
#[derive(Clone, Copy)]
pub(super) struct Hashes(pub(super) [u64; DEPTH]);

impl Hashes {
    /// A placeholder to be overwritten with the hashes of a key.
    pub(super) const NONE: Self = Self([0; DEPTH]);

    #[inline]
    pub(super) fn of<K: SketchKey>(key: K) -> Self {
        Self(array::from_fn(|row| key.hash_with_secret(&SECRETS[row])))
    }
}

/// A table of saturating 4-bit counters.
pub(super) struct Counters {
    words: Box<[AtomicU64]>,
    /// If set, a mask replaces the division that other table lengths need.
    power_of_two: bool,
    layout: Layout,
}

impl Counters {
    /// Creates a table of zeros with one word per four keys of `capacity`, that is, four
    /// counters per key, and at least one word.
    pub(super) fn new(capacity: usize, layout: Layout) -> Self {
        let words: Box<[AtomicU64]> = (0..(capacity / 4).max(1))
            .map(|_| AtomicU64::new(0))
            .collect();
        Self {
            power_of_two: words.len().is_power_of_two(),
            words,
            layout,
        }
    }

    /// Increments each of the four counters that is not saturated. Returns whether any counter
    /// was incremented.
    #[inline(always)]
    pub(super) fn increment(&self, hashes: Hashes) -> bool {
        let words = self.words_of(hashes);
        let shifts: [u32; DEPTH] = match self.layout {
            Layout::Spread => array::from_fn(|row| spread(row, hashes.0[row])),
            Layout::Reference => array::from_fn(|row| reference(row, hashes.0[row])),
        };
        let mut counted = false;
        // One at a time, because rows may share a word and, in the reference's layout, even a
        // counter: each step must see the result of the one before.
        for (index, shift) in words.into_iter().zip(shifts) {
            let word = &self.words[index];
            let value = word.load(Relaxed);
            if (value >> shift) & SATURATED != SATURATED {
                word.store(value + (1 << shift), Relaxed);
                counted = true;
            }
        }
        counted
    }

    /// Returns whether the table exceeds the caches close to a core, so that it pays to
    /// [`fetch`](Self::fetch) a batch before counting it.
    #[inline]
    pub(super) fn are_far(&self) -> bool {
        self.words.len() >= FAR
    }

    /// Brings the four counters into the cache. An increment stalls on each cache miss, since
    /// it must know whether the counter is saturated; consecutive fetches overlap their misses.
    #[inline]
    pub(super) fn fetch(&self, hashes: Hashes) {
        for word in self.words_of(hashes) {
            // The compiler would remove a load whose result is not used.
            black_box(self.words[word].load(Relaxed));
        }
    }

    /// Returns the smallest of the four counters.
    #[inline]
    pub(super) fn estimate(&self, hashes: Hashes) -> u32 {
        match self.layout {
            Layout::Spread => self.estimate_at(hashes, spread),
            Layout::Reference => self.estimate_at(hashes, reference),
        }
    }

    #[inline(always)]
    fn estimate_at(&self, hashes: Hashes, shift: impl Fn(usize, u64) -> u32) -> u32 {
        let words = self.words_of(hashes);
        let mut least = SATURATED;
        for (row, index) in words.into_iter().enumerate() {
            let value = self.words[index].load(Relaxed);
            least = least.min((value >> shift(row, hashes.0[row])) & SATURATED);
        }
        least as u32
    }

    /// Halves every counter, rounding down. Returns how many were odd.
    pub(super) fn halve(&self) -> u32 {
        let mut odd = 0u32;
        for word in &self.words {
            let value = word.load(Relaxed);
            odd = odd.wrapping_add((value & LOWEST_BITS).count_ones());
            word.store((value >> 1) & ALL_BUT_HIGHEST_BITS, Relaxed);
        }
        odd
    }

    /// Returns the indices of the words that hold the four counters.
    #[inline(always)]
    fn words_of(&self, hashes: Hashes) -> [usize; DEPTH] {
        let len = self.words.len();
        if self.power_of_two {
            array::from_fn(|row| hashes.0[row] as usize & (len - 1))
        } else {
            array::from_fn(|row| hashes.0[row] as usize % len)
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters")
            .field("words", &self.words.len())
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

/// Returns the bit at which a row's counter starts in its word, for [`Layout::Spread`].
#[inline(always)]
fn spread(row: usize, hash: u64) -> u32 {
    (hash >> 62) as u32 * 4 + row as u32 * 16
}

/// Returns the bit at which the counter starts in its word, for [`Layout::Reference`].
#[inline(always)]
fn reference(_row: usize, hash: u64) -> u32 {
    (hash as u32 & 15) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUTS: [Layout; 2] = [Layout::Spread, Layout::Reference];

    /// Returns a hash that selects this counter of a two-word table in either layout.
    fn counter(word: u64, counter: u64) -> u64 {
        counter << 62 | counter << 1 | word
    }

    #[test]
    fn the_table_has_a_word_for_four_keys_and_one_at_least() {
        for (capacity, words) in [(0, 1), (3, 1), (4, 1), (7, 1), (8, 2), (1000, 250)] {
            let counters = Counters::new(capacity, Layout::default());
            assert_eq!(counters.words.len(), words, "{capacity}");
        }
    }

    #[test]
    fn rows_have_counters_of_their_own() {
        let counters = Counters::new(4, Layout::Spread);
        let mut named = 0;
        for (row, highest) in (0..DEPTH).flat_map(|row| (0..4).map(move |bits| (row, bits))) {
            named |= SATURATED << spread(row, highest << 62);
        }
        assert_eq!(named, u64::MAX, "sixteen counters, each named once");
        let one = counter(0, 1);
        assert!(counters.increment(Hashes([one; DEPTH])));
        assert_eq!(counters.estimate(Hashes([one; DEPTH])), 1);
    }

    #[test]
    fn a_counter_named_twice_counts_twice_in_the_layout_of_the_reference() {
        let counters = Counters::new(8, Layout::Reference);
        let (one, other) = (counter(1, 3), counter(0, 0));
        assert!(counters.increment(Hashes([one, one, other, other])));
        assert_eq!(counters.estimate(Hashes([one, one, other, other])), 2);
        assert_eq!(counters.estimate(Hashes([counter(0, 3); DEPTH])), 0);
    }

    #[test]
    fn a_full_counter_stays_and_is_not_counted() {
        for layout in LAYOUTS {
            let counters = Counters::new(4, layout);
            let full = Hashes([counter(0, 3); DEPTH]);
            while counters.increment(full) {}
            assert_eq!(counters.estimate(full), 15);
            let neighbours = Hashes([2, 1, 0, 3].map(|at| counter(0, at)));
            assert_eq!(counters.estimate(neighbours), 0);
            assert!(counters.increment(neighbours), "three of four had room");
            assert_eq!(counters.estimate(neighbours), 1);
            assert!(!counters.increment(full));
        }
    }

    #[test]
    fn halving_rounds_down_and_reports_the_odd_ones() {
        let counters = Counters::new(8, Layout::Reference);
        let (three, one) = (counter(0, 0), counter(1, 3));
        counters.increment(Hashes([three, three, three, one]));
        assert_eq!(counters.halve(), 2);
        assert_eq!(counters.estimate(Hashes([three; DEPTH])), 1);
        assert_eq!(counters.estimate(Hashes([one; DEPTH])), 0);

        let counters = Counters::new(8, Layout::Spread);
        let (three, one) = (Hashes([three; DEPTH]), Hashes([one; DEPTH]));
        for hashes in [three, three, three, one] {
            counters.increment(hashes);
        }
        assert_eq!(counters.halve(), 8);
        assert_eq!(counters.estimate(three), 1);
        assert_eq!(counters.estimate(one), 0);
    }

    #[test]
    fn words_are_remainders_at_any_length() {
        for words in [1usize, 2, 3, 7, 64, 1000] {
            let counters = Counters::new(words * 4, Layout::Reference);
            let hash = 0xFEDC_BA98_7654_3210_u64;
            counters.increment(Hashes([hash; DEPTH]));
            let word = &counters.words[hash as usize % words];
            assert_eq!(word.load(Relaxed), 4, "{words}");
            let counters = Counters::new(words * 4, Layout::Spread);
            counters.increment(Hashes([hash; DEPTH]));
            let word = &counters.words[hash as usize % words];
            assert_eq!(word.load(Relaxed), 0x1000_1000_1000_1000, "{words}");
        }
    }
}
