//! The table of 4-bit counters, and where a key's four counters are in it.
//!
//! Sixteen counters share a word. The table may be read by anybody at any
//! time, but has **one writer at a time**: the owner of a sketch, or whoever
//! holds the lock of a tracker. That is why an increment is a plain load and a
//! plain store. Words are read and written `Relaxed`: they publish nothing
//! but themselves, and the writers' lock orders one writer after the other.

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

/// The four hashes of a key. Each names one counter: its remainder by the
/// length of the table is the word, its low four bits are the counter within.
///
/// Two of them may name the same counter, which then goes up by two.
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
}

impl Counters {
    /// A table of zeros: one word for every four keys of `capacity`, that is
    /// four counters a key, and one word at least.
    pub(super) fn new(capacity: usize) -> Self {
        let words: Box<[AtomicU64]> = (0..(capacity / 4).max(1))
            .map(|_| AtomicU64::new(0))
            .collect();
        Self {
            power_of_two: words.len().is_power_of_two(),
            words,
        }
    }

    /// Adds one to each of the four counters that is not saturated; whether
    /// there was one.
    #[inline(always)]
    pub(super) fn increment(&self, hashes: Hashes) -> bool {
        let words = self.words_of(hashes);
        let mut counted = false;
        // One after the other, each on what the one before has left: the same
        // counter named twice counts twice.
        for (index, hash) in words.into_iter().zip(hashes.0) {
            let word = &self.words[index];
            let value = word.load(Relaxed);
            let shift = shift_of(hash);
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
        let words = self.words_of(hashes);
        let mut least = SATURATED;
        for (index, hash) in words.into_iter().zip(hashes.0) {
            let value = self.words[index].load(Relaxed);
            least = least.min((value >> shift_of(hash)) & SATURATED);
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

/// Where in its word the counter starts that `hash` names.
#[inline(always)]
fn shift_of(hash: u64) -> u32 {
    (hash as u32 & 15) * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names a counter of a table of two words: the lowest bit of a hash
    /// chooses the word, and also the counter.
    fn counter(word: u64, pair: u64) -> u64 {
        (pair << 1) | word
    }

    #[test]
    fn the_table_has_a_word_for_four_keys_and_one_at_least() {
        for (capacity, words) in [(0, 1), (3, 1), (4, 1), (7, 1), (8, 2), (1000, 250)] {
            assert_eq!(Counters::new(capacity).words.len(), words, "{capacity}");
        }
    }

    #[test]
    fn a_counter_named_twice_counts_twice() {
        let counters = Counters::new(8);
        let (one, other) = (counter(1, 7), counter(0, 0));
        assert!(counters.increment(Hashes([one, one, other, other])));
        assert_eq!(counters.estimate(Hashes([one, one, other, other])), 2);
        assert_eq!(counters.estimate(Hashes([counter(0, 7); DEPTH])), 0);
    }

    #[test]
    fn a_full_counter_stays_and_is_not_counted() {
        let counters = Counters::new(4);
        let full = Hashes([3; DEPTH]);
        while counters.increment(full) {}
        assert_eq!(counters.estimate(full), 15);
        let neighbours = Hashes([2, 4, 0, 3]);
        assert_eq!(counters.estimate(neighbours), 0);
        assert!(counters.increment(neighbours), "three of four had room");
        assert_eq!(counters.estimate(neighbours), 1);
        assert!(!counters.increment(full));
    }

    #[test]
    fn halving_rounds_down_and_reports_the_odd_ones() {
        let counters = Counters::new(8);
        let (three, one) = (counter(0, 0), counter(1, 7));
        counters.increment(Hashes([three, three, three, one]));
        assert_eq!(counters.halve(), 2);
        assert_eq!(counters.estimate(Hashes([three; DEPTH])), 1);
        assert_eq!(counters.estimate(Hashes([one; DEPTH])), 0);
    }

    #[test]
    fn words_are_remainders_at_any_length() {
        for words in [1usize, 2, 3, 7, 64, 1000] {
            let counters = Counters::new(words * 4);
            let hash = 0xFEDC_BA98_7654_3210_u64;
            counters.increment(Hashes([hash; DEPTH]));
            let word = &counters.words[hash as usize % words];
            assert_eq!(word.load(Relaxed), 4, "{words}");
        }
    }
}
