//! The table of 4-bit counters, and which four of them belong to a key.
//!
//! Sixteen counters share a word, and seven words share a cache line, a [`Line`]. Any number of
//! threads read and write the words at once.
//!
//! # Which counters does a key select?
//!
//! Four. A key is hashed once, and each half of the hash selects a line and two of its counters: one
//! of those at even places in their words, and one of those at odd places. So a key has two lines
//! rather than four, which costs half the cache misses. Two keys that share a line are more likely
//! to share two counters than with four lines, which makes a few more estimates too high.
//!
//! The high bits of the half select the line, the bits after those the two words, and the low bits the
//! places. These choices must be independent: if the word determined the place, the other counters
//! of the word would never be used. A half has bits enough for tables of up to 2^20 lines; in larger
//! ones, the choices increasingly depend on each other.
//!
//! [`Layout::Reference`] hashes a key four times and selects the counter by the lowest four bits,
//! which also select the word. It exists for comparisons with the reference.
//!
//! # How are the counters halved?
//!
//! Not all at once. Every line has the number of halvings that it has been through. A line that is
//! behind is *caught up* by the thread that next raises a counter in it: that thread claims the
//! halvings by exchanging the line's number, and then shifts each of the line's words. A thread that
//! only reads a word of a line that is behind shifts what it has read. A halving therefore consists
//! of [counting](super::tally) it.
//!
//! * *Backlog*: lines may be behind by any number of halvings, at no cost to anybody. After four
//!   halvings, all counters are 0. (The number wraps around after 2^31 halvings. A line in which
//!   nothing was raised meanwhile is then taken for one that is not behind.)
//! * *Cost*: raising a key's counters catches up two lines, which have 14 words.
//!
//! # What may threads do to each other?
//!
//! Every change of a word is one exchange, so none is lost and none is made twice:
//!
//! | transition | by |
//! |---|---|
//! | a counter, below 15, is raised by one | any thread |
//! | a line's number grows; each such step is claimed by exactly one thread | any thread that would raise a counter in it |
//! | a line's word is shifted once, by as many bits as the step has halvings | the thread that claimed the step |
//!
//! All accesses are relaxed: they protect no memory, and a thread that is ordered after another, by
//! whatever means, sees all that the other did. From one thread at a time, estimates are therefore
//! exactly those of a table that is halved at once. With several, an exchange fails only if another
//! has succeeded. A word changes at most 240 times before all of its counters are full, so an
//! exchange can fail that often between two halvings.
//!
//! A thread that is suspended between claiming a step and shifting the last word blocks nobody.
//! Until it resumes, the words that it has not shifted count as not halved by this step; they can be
//! raised, and later halvings go on. One line per suspended thread is affected. A counter that is
//! raised after the claim and before its shift is halved with that raise.

use std::array;
use std::fmt;
use std::hint::black_box;

#[cfg(not(kvbm_loom))]
use std::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(kvbm_loom)]
use crate::sync::{AtomicU32, AtomicU64};
use std::sync::atomic::Ordering::Relaxed;

use xxhash_rust::const_xxh3::const_custom_default_secret;

use super::SketchKey;
use super::tally::Change;
use crate::sync::count_work;

/// The secrets of the four hashes in the reference's layout, of which the other layout uses the first.
static SECRETS: [[u8; 192]; 4] = [
    const_custom_default_secret(0),
    const_custom_default_secret(1),
    const_custom_default_secret(2),
    const_custom_default_secret(3),
];

/// The number of words in a line.
const WORDS: usize = if cfg!(kvbm_loom) { 1 } else { 7 };

/// The number of lines in a table of 2 MiB, roughly the size of a core's private caches.
const FAR: usize = 1 << 15;

/// The largest value of a counter.
const SATURATED: u64 = 0xF;
/// What remains of a word that is shifted by up to four bits, one per halving.
const KEPT: [u64; 5] = [
    0xFFFF_FFFF_FFFF_FFFF,
    0x7777_7777_7777_7777,
    0x3333_3333_3333_3333,
    0x1111_1111_1111_1111,
    0,
];

/// How a key selects its counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Layout {
    /// Two each by half of a hash.
    #[default]
    Spread,
    /// By a hash each, whose lowest bits select the word as well as the counter. Two hashes of a
    /// key may select the same counter, which is then raised twice.
    Reference,
}

/// Counters that are halved together.
#[repr(align(64))]
struct Line {
    /// The number of halvings that the words have been through.
    halvings: AtomicU32,
    words: [AtomicU64; WORDS],
}

/// Where in its line a counter is.
#[derive(Clone, Copy)]
struct Counter {
    word: usize,
    /// The lowest of the counter's bits.
    shift: u32,
}

/// The counters of a key in one line.
#[derive(Clone, Copy)]
pub(super) struct Selected<const N: usize> {
    line: usize,
    counters: [Counter; N],
}

/// A table of saturating 4-bit counters.
pub(super) struct Counters {
    lines: Box<[Line]>,
    /// The number of words in the reference's table.
    words: usize,
    layout: Layout,
}

impl Counters {
    /// Creates a table of zeros with at least one word per four keys of `capacity`, that is, four
    /// counters per key.
    pub(super) fn new(capacity: usize, layout: Layout) -> Self {
        let words = (capacity / 4).max(1);
        let lines = words.div_ceil(WORDS);
        assert!(lines <= 1 << 32, "the capacity is too large: {capacity}");
        let line = |_| Line {
            halvings: AtomicU32::new(0),
            words: array::from_fn(|_| AtomicU64::new(0)),
        };
        Self {
            lines: (0..lines).map(line).collect(),
            words,
            layout,
        }
    }

    #[inline]
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    #[inline(always)]
    pub(super) fn hash<K: SketchKey>(key: K) -> u64 {
        key.hash_with_secret(&SECRETS[0])
    }

    /// Returns the counters of a key that has this hash, in [`Layout::Spread`].
    #[inline(always)]
    pub(super) fn spread(&self, hash: u64) -> [Selected<2>; 2] {
        [hash as u32, (hash >> 32) as u32].map(|half| {
            // The half is a fraction of one. It is multiplied by the number of lines, and what is
            // behind the point, again a fraction, by the number of words, twice.
            let line = u64::from(half) * self.lines.len() as u64;
            let first = u64::from(line as u32) * WORDS as u64;
            let second = u64::from(first as u32) * WORDS as u64;
            let counter = |word: u64, shift: u32| Counter {
                word: (word >> 32) as usize,
                shift,
            };
            Selected {
                line: (line >> 32) as usize,
                counters: [
                    counter(first, half & 0x38),
                    counter(second, half >> 3 & 0x38 | 4),
                ],
            }
        })
    }

    /// Returns the counters of a key in [`Layout::Reference`].
    pub(super) fn reference<K: SketchKey>(&self, key: K) -> [Selected<1>; 4] {
        SECRETS.each_ref().map(|secret| {
            let hash = key.hash_with_secret(secret);
            self.nth(hash as usize % self.words, hash as u32 % 16)
        })
    }

    /// Returns a counter of a word.
    fn nth(&self, word: usize, counter: u32) -> Selected<1> {
        Selected {
            line: word / WORDS,
            counters: [Counter {
                word: word % WORDS,
                shift: counter * 4,
            }],
        }
    }

    /// Returns whether raising the counters would change nothing, in a table that has been halved
    /// `halvings` times.
    #[inline(always)]
    pub(super) fn are_full<const N: usize, const LINES: usize>(
        &self,
        selected: &[Selected<N>; LINES],
        halvings: u32,
    ) -> bool {
        // All loads come first, so that their cache misses overlap.
        let mut counters = SATURATED;
        let mut behind = 0;
        for selected in selected {
            let line = &self.lines[selected.line];
            behind |= line.halvings.load(Relaxed) ^ halvings;
            for &Counter { word, shift } in &selected.counters {
                counters &= line.words[word].load(Relaxed) >> shift;
            }
        }
        counters == SATURATED && behind == 0
    }

    /// Raises each of the counters that is not full, in a table that has been halved `halvings`
    /// times. Returns what has changed.
    #[inline(always)]
    pub(super) fn raise<const N: usize, const LINES: usize>(
        &self,
        selected: &[Selected<N>; LINES],
        halvings: u32,
    ) -> Change {
        let mut change = Change::default();
        for Selected { line, counters } in selected {
            let line = &self.lines[*line];
            if line.halvings.load(Relaxed) != halvings {
                line.catch_up(halvings);
            }
            for &counter in counters {
                line.raise(counter, &mut change);
            }
        }
        change
    }

    /// Returns the smallest of the counters in a table that has been halved `halvings` times.
    #[inline(always)]
    pub(super) fn estimate<const N: usize, const LINES: usize>(
        &self,
        selected: [Selected<N>; LINES],
        halvings: u32,
    ) -> u32 {
        let lines = selected.map(|it| &self.lines[it.line]);
        let mut behind = [0; LINES];
        if is_any_behind(lines, halvings) {
            behind = lines.map(|line| behind_by(line.halvings.load(Relaxed), halvings));
        }
        let mut least = SATURATED;
        for (at, Selected { counters, .. }) in selected.into_iter().enumerate() {
            for counter in counters {
                least = least.min(lines[at].read(counter) >> behind[at]);
            }
        }
        least as u32
    }

    /// Returns whether the table exceeds the caches close to a core, so that it pays to
    /// [`fetch`](Self::fetch) a batch before counting it.
    #[inline]
    pub(super) fn are_far(&self) -> bool {
        self.lines.len() >= FAR
    }

    /// Brings a key's lines into the cache. Consecutive fetches overlap their misses.
    #[inline]
    pub(super) fn fetch(&self, hash: u64) {
        for selected in self.spread(hash) {
            // The compiler would remove a load whose result is not used.
            black_box(self.lines[selected.line].halvings.load(Relaxed));
        }
    }
}

/// Returns whether not all of the lines have been halved `halvings` times.
#[inline(always)]
fn is_any_behind<const LINES: usize>(lines: [&Line; LINES], halvings: u32) -> bool {
    let differences = lines.map(|line| line.halvings.load(Relaxed) ^ halvings);
    differences.into_iter().fold(0, |all, one| all | one) != 0
}

impl Line {
    #[inline(always)]
    fn read(&self, Counter { word, shift }: Counter) -> u64 {
        self.words[word].load(Relaxed) >> shift & SATURATED
    }

    /// Raises a counter, unless it is full.
    #[inline(always)]
    fn raise(&self, Counter { word, shift }: Counter, change: &mut Change) {
        let word = &self.words[word];
        let mut value = word.load(Relaxed);
        loop {
            let counter = value >> shift & SATURATED;
            if counter == SATURATED {
                return;
            }
            let raised = value + (1 << shift);
            match word.compare_exchange_weak(value, raised, Relaxed, Relaxed) {
                Ok(_) => return change.include(counter as usize),
                Err(now) => value = now,
            }
        }
    }

    /// Claims the halvings that the line is behind, and carries them out.
    #[cold]
    #[inline(never)]
    fn catch_up(&self, halvings: u32) {
        let mut before = self.halvings.load(Relaxed);
        while behind_by(before, halvings) > 0 {
            match (self.halvings).compare_exchange(before, halvings, Relaxed, Relaxed) {
                Ok(_) => return self.halve(behind_by(before, halvings)),
                Err(now) => before = now,
            }
        }
    }

    /// Shifts the words, as the thread that has claimed to do so.
    fn halve(&self, times: u32) {
        for word in &self.words {
            count_work!(1);
            let mut value = word.load(Relaxed);
            while value != 0 {
                match word.compare_exchange_weak(value, halved(value, times), Relaxed, Relaxed) {
                    Ok(_) => break,
                    Err(now) => value = now,
                }
            }
        }
    }
}

/// Returns how many halvings a line is behind, at most four of which make a difference. It is not
/// behind if another thread has caught it up further than the caller knows of.
#[inline]
fn behind_by(line: u32, halvings: u32) -> u32 {
    (halvings.wrapping_sub(line) as i32).clamp(0, 4) as u32
}

/// Returns a word whose counters have been halved this often, at most four times.
#[inline]
fn halved(word: u64, times: u32) -> u64 {
    word >> times & KEPT[times as usize]
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters")
            .field("lines", &self.lines.len())
            .field("layout", &self.layout)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use crate::sync::work_of;

    #[test]
    fn the_table_has_a_word_for_four_keys_and_one_line_at_least() {
        for (capacity, lines) in [(0, 1), (3, 1), (28, 1), (31, 1), (32, 2), (1000, 36)] {
            let counters = Counters::new(capacity, Layout::default());
            assert_eq!(counters.lines.len(), lines, "{capacity}");
        }
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn halves_of_hashes_select_every_counter_evenly() {
        for lines in [1_usize, 2, 3, 64, 1000] {
            let counters = Counters::new(lines * WORDS * 4, Layout::Spread);
            let mut selected = vec![0; lines * WORDS * 16];
            for n in 0..(lines * WORDS * 8 * 64) as u32 {
                // Evenly spread over all halves.
                let half = n.wrapping_mul(0x9e37_79b9);
                let [Selected { line, counters }, _] = counters.spread(half.into());
                for Counter { word, shift } in counters {
                    selected[(line * WORDS + word) * 16 + shift as usize / 4] += 1;
                }
            }
            for (at, &count) in selected.iter().enumerate() {
                assert!((20..200).contains(&count), "{at} of {lines} lines: {count}");
            }
        }
    }

    /// In a table of nearly 2^19 lines, as the largest that is built in.
    #[test]
    fn choices_are_independent() {
        let counters = Counters::new(1 << 23, Layout::Spread);
        let mut choices = std::collections::BTreeMap::<_, u32>::new();
        for n in 0..1_000_000_u32 {
            let [selected, _] = counters.spread(n.wrapping_mul(0x9e37_79b9).into());
            let choice = selected.counters.map(|it| (it.word, it.shift));
            *choices.entry(choice).or_default() += 1;
        }
        assert_eq!(choices.len(), 56 * 56);
        assert!(choices.values().all(|count| (160..640).contains(count)));
    }

    #[test]
    fn a_counter_named_twice_counts_twice() {
        let counters = Counters::new(8, Layout::Reference);
        let (one, other) = (counters.nth(1, 3), counters.nth(0, 0));
        let change = counters.raise(&[one, one, other, other], 0);
        assert_eq!(change.raises(), 1);
        assert_eq!(counters.estimate([one, one, other, other], 0), 2);
        assert_eq!(counters.estimate([counters.nth(0, 3); 4], 0), 0);
    }

    #[test]
    fn a_full_counter_stays_and_is_not_counted() {
        let counters = Counters::new(4, Layout::Reference);
        let full = [0, 4, 8, 12].map(|counter| counters.nth(0, counter));
        while counters.raise(&full, 0).raises() > 0 {}
        assert_eq!(counters.estimate(full, 0), 15);
        let neighbours = [0, 5, 9, 13].map(|counter| counters.nth(0, counter));
        assert_eq!(counters.estimate(neighbours, 0), 0);
        let change = counters.raise(&neighbours, 0);
        assert_eq!(change.raises(), 1, "three of four had room");
        assert_eq!(counters.estimate(neighbours, 0), 1);
        assert_eq!(counters.raise(&full, 0).raises(), 0);
    }

    /// With one thread, a table that is caught up as needed cannot be told from one that is halved
    /// at once.
    #[test]
    fn agrees_with_a_table_that_is_halved_at_once() {
        let mut random = crate::policy::testing::Random::new(1);
        for words in [1, WORDS - 1, WORDS, 5 * WORDS + 3] {
            let counters = Counters::new(4 * words, Layout::Reference);
            let mut model = vec![[0_u8; 16]; words];
            let mut halvings = u32::MAX - 50;
            for line in &counters.lines {
                line.halvings.store(halvings, Relaxed);
            }
            for _ in 0..20_000 {
                let chosen = [(); 4].map(|()| {
                    (
                        random.below(words as u64) as usize,
                        random.below(16) as usize,
                    )
                });
                let selected = chosen.map(|(word, counter)| counters.nth(word, counter as u32));
                match random.below(100) {
                    // Often several in a row.
                    0 => {
                        let times = 1 + random.below(6) as u32;
                        halvings = halvings.wrapping_add(times);
                        let all = model.iter_mut().flatten();
                        all.for_each(|counter| *counter >>= times.min(4));
                    }
                    1..30 => {
                        assert_eq!(
                            counters.are_full(&selected, halvings),
                            counters.raise(&selected, halvings).raises() == 0
                        );
                        for (word, counter) in chosen {
                            let counter = &mut model[word][counter];
                            *counter = (*counter + 1).min(15);
                        }
                    }
                    _ => {
                        let counters_of = chosen.map(|(word, counter)| model[word][counter]);
                        let least = counters_of.into_iter().min().map(u32::from);
                        assert_eq!(Some(counters.estimate(selected, halvings)), least);
                    }
                }
            }
        }
    }

    #[test]
    fn a_raise_visits_at_most_two_lines_and_an_estimate_none() {
        for words in [1 << 10, 1 << 16] {
            let counters = Counters::new(4 * words, Layout::Spread);
            for halvings in 1..10_u64 {
                for n in 0..200 {
                    let selected = counters.spread(Counters::hash(n * halvings));
                    let halvings = halvings as u32;
                    let (_, work) = work_of(|| counters.estimate(selected, halvings));
                    assert_eq!(work, 0);
                    let (_, work) = work_of(|| counters.raise(&selected, halvings));
                    assert!(work <= 2 * WORDS as u64, "{work} of {words}");
                }
            }
        }
    }

    #[test]
    fn a_thread_that_knows_of_fewer_halvings_leaves_the_line_alone() {
        let counters = Counters::new(4, Layout::Spread);
        let selected = counters.spread(Counters::hash(1_u64));
        for _ in 0..8 {
            counters.raise(&selected, 0);
        }
        counters.raise(&selected, 2);
        assert_eq!(counters.estimate(selected, 2), 3);
        counters.raise(&selected, 1);
        assert_eq!(counters.estimate(selected, 1), 4);
        assert_eq!(counters.estimate(selected, 2), 4);
    }
}
