//! The table of 4-bit counters, and which four of them belong to a key.
//!
//! Sixteen counters share a word, and seven words share a cache line, a [`Line`]. Any number of
//! threads read and write the words at once.
//!
//! # Which counters does a key select?
//!
//! One in each of four rows. Every word has four counters of each row, so the rows are disjoint,
//! as in a count-min sketch. A key is hashed twice, and each half of a hash selects the counter of
//! one row: the high bits of the half select the line and the word, and the two lowest the counter
//! in the word. The choices must be independent: if the word determined the counter, the others in
//! the word would never be used.
//!
//! Disjoint rows also make up for the similarity of the secrets. Two keys that differ in the way
//! two secrets do have the same two hashes in a different order, but not the same counters.
//!
//! [`Layout::Reference`] hashes a key four times and selects the counter by the lowest four bits
//! instead. It exists for comparisons with the reference.
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
//!   halvings, all counters are 0. (The number wraps around after 2^32 halvings. A line in which
//!   nothing was raised meanwhile is then taken for one that is not behind.)
//! * *Cost*: raising a key's counters catches up at most four lines, which have 28 words.
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

/// The number of counters per key.
const DEPTH: usize = 4;

static SECRETS: [[u8; 192]; DEPTH] = [
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
    /// In each row, by half of a hash.
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

/// Where a counter is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    line: u32,
    word: u8,
    /// The lowest of the counter's bits.
    shift: u8,
}

/// The places of a key's counters.
pub(super) type Places = [Place; DEPTH];

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

    /// Returns where a key's counters are.
    #[inline(always)]
    pub(super) fn places<K: SketchKey>(&self, key: K) -> Places {
        match self.layout {
            Layout::Spread => {
                let first = key.hash_with_secret(&SECRETS[0]);
                let second = key.hash_with_secret(&SECRETS[1]);
                [
                    self.spread(0, first as u32),
                    self.spread(1, (first >> 32) as u32),
                    self.spread(2, second as u32),
                    self.spread(3, (second >> 32) as u32),
                ]
            }
            Layout::Reference => self.reference(key),
        }
    }

    /// Returns the place in a row that the half of a hash selects.
    #[inline(always)]
    fn spread(&self, row: u8, half: u32) -> Place {
        // The half as a fraction of one: its share of the lines, and what is left of that as a
        // share of the words.
        let line = u64::from(half) * self.lines.len() as u64;
        let word = u64::from(line as u32) * WORDS as u64;
        Place {
            line: (line >> 32) as u32,
            word: (word >> 32) as u8,
            shift: half as u8 % 4 * 4 + row * 16,
        }
    }

    #[cold]
    fn reference<K: SketchKey>(&self, key: K) -> Places {
        SECRETS.each_ref().map(|secret| {
            let hash = key.hash_with_secret(secret);
            self.nth(hash as usize % self.words, hash as u8 % 16)
        })
    }

    /// Returns the place of a word's counter.
    fn nth(&self, word: usize, counter: u8) -> Place {
        Place {
            line: (word / WORDS) as u32,
            word: (word % WORDS) as u8,
            shift: counter * 4,
        }
    }

    #[inline(always)]
    fn line(&self, place: Place) -> &Line {
        &self.lines[place.line as usize]
    }

    /// Raises each of the counters that is not full, in a table that has been halved `halvings`
    /// times. Returns what has changed.
    #[inline(always)]
    pub(super) fn raise(&self, places: Places, halvings: u32) -> Change {
        let lines = places.map(|place| self.line(place));
        // All loads come first, so that their cache misses overlap.
        let mut behind = 0;
        for line in lines {
            behind |= line.halvings.load(Relaxed) ^ halvings;
        }
        if behind != 0 {
            lines.into_iter().for_each(|line| line.catch_up(halvings));
        }
        let mut change = Change::default();
        for (line, place) in lines.into_iter().zip(places) {
            line.raise(place, &mut change);
        }
        change
    }

    /// Returns the smallest of the counters in a table that has been halved `halvings` times.
    #[inline(always)]
    pub(super) fn estimate(&self, places: Places, halvings: u32) -> u32 {
        let mut least = SATURATED;
        let mut behind = 0;
        for place in places {
            let line = self.line(place);
            behind |= line.halvings.load(Relaxed) ^ halvings;
            least =
                least.min(line.words[place.word as usize].load(Relaxed) >> place.shift & SATURATED);
        }
        if behind != 0 {
            return self.estimate_behind(places, halvings);
        }
        least as u32
    }

    /// The estimate if some of the lines are behind, or ahead of what the thread knows.
    #[cold]
    fn estimate_behind(&self, places: Places, halvings: u32) -> u32 {
        let counters = places.map(|place| {
            let line = self.line(place);
            let behind = behind(line.halvings.load(Relaxed), halvings);
            halved(line.words[place.word as usize].load(Relaxed), behind) >> place.shift & SATURATED
        });
        counters.into_iter().min().unwrap_or(0) as u32
    }

    /// Returns whether the table exceeds the caches close to a core, so that it pays to
    /// [`fetch`](Self::fetch) a batch before counting it.
    #[inline]
    pub(super) fn are_far(&self) -> bool {
        self.lines.len() >= FAR
    }

    /// Brings the four counters into the cache. Consecutive fetches overlap their misses.
    #[inline]
    pub(super) fn fetch(&self, places: Places) {
        for place in places {
            // The compiler would remove a load whose result is not used.
            black_box(self.line(place).halvings.load(Relaxed));
        }
    }
}

impl Line {
    /// Raises a counter, unless it is full.
    #[inline(always)]
    fn raise(&self, place: Place, change: &mut Change) {
        let word = &self.words[place.word as usize];
        let mut value = word.load(Relaxed);
        loop {
            let counter = value >> place.shift & SATURATED;
            if counter == SATURATED {
                return;
            }
            let raised = value + (1 << place.shift);
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
        while behind(before, halvings) > 0 {
            match (self.halvings).compare_exchange(before, halvings, Relaxed, Relaxed) {
                Ok(_) => return self.halve(behind(before, halvings)),
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
fn behind(line: u32, halvings: u32) -> u32 {
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

    /// Returns the place in a row of each of these counters.
    fn spread(counters: &Counters, halves: [u32; DEPTH]) -> Places {
        array::from_fn(|row| counters.spread(row as u8, halves[row]))
    }

    #[test]
    fn the_table_has_a_word_for_four_keys_and_one_line_at_least() {
        for (capacity, lines) in [(0, 1), (3, 1), (28, 1), (31, 1), (32, 2), (1000, 36)] {
            let counters = Counters::new(capacity, Layout::default());
            assert_eq!(counters.lines.len(), lines, "{capacity}");
        }
        assert_eq!(size_of::<Line>(), 64);
    }

    #[test]
    fn halves_of_hashes_select_every_counter_of_every_word_evenly() {
        for lines in [1_usize, 2, 3, 64, 1000] {
            let words = lines * WORDS;
            let counters = Counters::new(words * 4, Layout::Spread);
            for row in 0..DEPTH {
                let mut selected = vec![0; words * 16];
                for n in 0..(words * 4 * 64) as u32 {
                    let half = n.wrapping_mul(0x9e37_79b9);
                    let place = counters.spread(row as u8, half);
                    let word = place.line as usize * WORDS + place.word as usize;
                    selected[word * 16 + place.shift as usize / 4] += 1;
                }
                for (at, &count) in selected.iter().enumerate() {
                    let own = at % 16 / 4 == row;
                    assert!(
                        if own { count > 20 } else { count == 0 },
                        "{at} of {words}: {count}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_counter_named_twice_counts_twice() {
        let counters = Counters::new(8, Layout::Reference);
        let (one, other) = (counters.nth(1, 3), counters.nth(0, 0));
        let change = counters.raise([one, one, other, other], 0);
        assert_eq!(change.raises(), 1);
        assert_eq!(counters.estimate([one, one, other, other], 0), 2);
        assert_eq!(counters.estimate([counters.nth(0, 3); DEPTH], 0), 0);
    }

    #[test]
    fn a_full_counter_stays_and_is_not_counted() {
        let counters = Counters::new(4, Layout::Spread);
        let full = spread(&counters, [3; DEPTH]);
        while counters.raise(full, 0).raises() > 0 {}
        assert_eq!(counters.estimate(full, 0), 15);
        let neighbours = spread(&counters, [3, 2, 1, 0]);
        assert_eq!(counters.estimate(neighbours, 0), 0);
        assert_eq!(
            counters.raise(neighbours, 0).raises(),
            1,
            "three of four had room"
        );
        assert_eq!(counters.estimate(neighbours, 0), 1);
        assert_eq!(counters.raise(full, 0).raises(), 0);
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
                let chosen = [(); DEPTH].map(|()| {
                    (
                        random.below(words as u64) as usize,
                        random.below(16) as usize,
                    )
                });
                let places = chosen.map(|(word, counter)| counters.nth(word, counter as u8));
                match random.below(100) {
                    // Often several in a row.
                    0 => {
                        let times = 1 + random.below(6) as u32;
                        halvings = halvings.wrapping_add(times);
                        let all = model.iter_mut().flatten();
                        all.for_each(|counter| *counter = *counter >> times.min(4));
                    }
                    1..30 => {
                        counters.raise(places, halvings);
                        for (word, counter) in chosen {
                            let counter = &mut model[word][counter];
                            *counter = (*counter + 1).min(15);
                        }
                    }
                    _ => {
                        let counters_of = chosen.map(|(word, counter)| model[word][counter]);
                        let least = counters_of.into_iter().min().map(u32::from);
                        assert_eq!(Some(counters.estimate(places, halvings)), least);
                    }
                }
            }
        }
    }

    #[test]
    fn a_raise_visits_at_most_four_lines_and_an_estimate_none() {
        for words in [1 << 10, 1 << 16] {
            let counters = Counters::new(4 * words, Layout::Spread);
            for halvings in 1..10_u64 {
                for n in 0..200 {
                    let places = counters.places(n * halvings);
                    let (_, work) = work_of(|| counters.estimate(places, halvings as u32));
                    assert_eq!(work, 0);
                    let (_, work) = work_of(|| counters.raise(places, halvings as u32));
                    assert!(work <= (DEPTH * WORDS) as u64, "{work} of {words}");
                }
            }
        }
    }

    #[test]
    fn a_thread_that_knows_of_fewer_halvings_leaves_the_line_alone() {
        let counters = Counters::new(4, Layout::Spread);
        let places = counters.places(1_u64);
        for _ in 0..8 {
            counters.raise(places, 0);
        }
        counters.raise(places, 2);
        assert_eq!(counters.estimate(places, 2), 3);
        counters.raise(places, 1);
        assert_eq!(counters.estimate(places, 1), 4);
        assert_eq!(counters.estimate(places, 2), 4);
    }
}
