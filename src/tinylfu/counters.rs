//! The table of 4-bit counters, and where a key's four counters are in it.
//!
//! Sixteen counters share a word. The table may be read by anybody at any
//! time, but has **one writer at a time**: the owner of a sketch, or whoever
//! holds the lock of a tracker. That is why an increment is a plain load and a
//! plain store. Words are read and written `Relaxed`: they publish nothing
//! but themselves, and the writers' lock orders one writer after the other.
//!
//! # Which counter
//!
//! A hash names a word and a counter in it, and the two choices must be
//! independent: if the counter follows from the word, the other fifteen of each
//! word are never used. The word is the hash's remainder by the length of the
//! table, which for a power of two is its low bits, so the counter is chosen by
//! the two highest bits. Two are enough because each of a key's four hashes has
//! a quarter of every word to itself. Hence the rows of the sketch are disjoint,
//! as in a count-min sketch, and the secrets may be as similar as they are: keys
//! that differ as two secrets do have the same four hashes in another order, but
//! not the same counters.
//!
//! [`Layout::Reference`] takes the counter from the low four bits instead. It
//! exists to be compared with the reference.

use std::array;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use xxhash_rust::const_xxh3::const_custom_default_secret;

use super::SketchKey;

/// How many counters a key has.
pub(super) const DEPTH: usize = 4;

const SECRETS: [[u8; 192]; DEPTH] = [
    const_custom_default_secret(0),
    const_custom_default_secret(1),
    const_custom_default_secret(2),
    const_custom_default_secret(3),
];

/// The words of a table of 2 MiB, about as much as the cache of a core holds.
const FAR: usize = 1 << 18;

/// The value at which a counter stays.
const SATURATED: u64 = 0xF;
/// The lowest bit of every counter of a word.
const LOWEST_BITS: u64 = 0x1111_1111_1111_1111;
/// All bits of every counter of a word but the highest.
const ALL_BUT_HIGHEST_BITS: u64 = 0x7777_7777_7777_7777;

/// How the counter within a word is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Layout {
    /// By the highest two bits, in the quarter of the word that the row has.
    #[default]
    Spread,
    /// By the lowest four bits. Two hashes of a key may then name the same
    /// counter, which goes up by two.
    Reference,
}

/// The four hashes of a key, one a row. Each names one counter: see the
/// documentation of the module.
#[derive(Clone, Copy)]
pub(super) struct Hashes(pub(super) [u64; DEPTH]);

impl Hashes {
    /// Room for the hashes of a key.
    pub(super) const NONE: Self = Self([0; DEPTH]);

    #[inline]
    pub(super) fn of<K: SketchKey>(key: K) -> Self {
        Self(array::from_fn(|row| key.hash_with_secret(&SECRETS[row])))
    }
}

/// A table of saturating 4-bit counters.
pub(super) struct Counters {
    words: Box<[AtomicU64]>,
    /// Spares the division that a table of any other length needs.
    power_of_two: bool,
    layout: Layout,
}

impl Counters {
    /// A table of zeros: one word for every four keys of `capacity`, that is
    /// four counters a key, and one word at least.
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

    /// Adds one to each of the four counters that is not saturated; whether
    /// there was one.
    #[inline(always)]
    pub(super) fn increment(&self, hashes: Hashes) -> bool {
        let words = self.words_of(hashes);
        let shifts: [u32; DEPTH] = match self.layout {
            Layout::Spread => array::from_fn(|row| spread(row, hashes.0[row])),
            Layout::Reference => array::from_fn(|row| reference(row, hashes.0[row])),
        };
        let mut counted = false;
        // One after the other, each on what the one before has left: rows may
        // meet in a word, and in the reference's layout in a counter.
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

    /// Whether the table is too large for the caches near a core, so that it
    /// pays to [`fetch`](Self::fetch) a batch before it is counted.
    #[inline]
    pub(super) fn are_far(&self) -> bool {
        self.words.len() >= FAR
    }

    /// Brings the four counters near. An increment stops for each word that
    /// is far, as it has to know whether the counter is saturated; a row of
    /// fetches waits for all words at once.
    #[inline]
    pub(super) fn fetch(&self, hashes: Hashes) {
        for word in self.words_of(hashes) {
            // A load of which nothing is used might be left out.
            black_box(self.words[word].load(Relaxed));
        }
    }

    /// The smallest of the four counters.
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

    /// Halves every counter, rounding down; returns how many were odd.
    pub(super) fn halve(&self) -> u32 {
        let mut odd = 0u32;
        for word in &self.words {
            let value = word.load(Relaxed);
            odd = odd.wrapping_add((value & LOWEST_BITS).count_ones());
            word.store((value >> 1) & ALL_BUT_HIGHEST_BITS, Relaxed);
        }
        odd
    }

    /// The indices of the words of the four counters.
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

/// Where in its word the counter of a row starts: [`Layout::Spread`].
#[inline(always)]
fn spread(row: usize, hash: u64) -> u32 {
    (hash >> 62) as u32 * 4 + row as u32 * 16
}

/// Where in its word the counter of a row starts: [`Layout::Reference`].
#[inline(always)]
fn reference(_row: usize, hash: u64) -> u32 {
    (hash as u32 & 15) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUTS: [Layout; 2] = [Layout::Spread, Layout::Reference];

    /// Names a counter of a table of two words in either layout.
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
