//! How often hashes were used, in a few bits each.
//!
//! This is a count-min sketch of four-bit counters, with four counters per hash, of which
//! the smallest is the estimate. After ten times as many uses as the pool has blocks, all
//! counters are halved, so that hashes that were popular once do not stay so. It is the sketch of
//! *TinyLFU: A Highly Efficient Cache Admission Policy* (Einziger, Friedman, Manes; ACM
//! Transactions on Storage 13, 2017).
//!
//! The counters are not halved at once. A halving is counted; the words are in segments, each of
//! which has the number of halvings that it has been through, and is caught up before one of its
//! counters is raised. Whoever reads a counter of a segment that is behind halves what it has read.
//! The estimates are those of a sketch that is halved at once. Counting a use visits at most
//! `4 * SEGMENT` words, and an estimate four.
//!
//! It is not the registry's [tracker](crate::tinylfu), which many threads write. This one
//! belongs to the policy alone, and is plain sequential code.

use super::tag::Tag;
use crate::sync::count_work;

/// The highest frequency.
pub(crate) const MOST_FREQUENT: u8 = 15;

/// The number of uses between two halvings, per block of the pool.
const SAMPLE: u64 = 10;

/// Odd numbers without a pattern, one for each counter of a hash.
const SEEDS: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0xd6e8_feb8_6659_fd93,
];

/// The number of words that are caught up together.
const SEGMENT: usize = 32;

/// What remains of a word that is shifted by up to four bits, one per halving.
const KEPT: [u64; 5] = [
    0xffff_ffff_ffff_ffff,
    0x7777_7777_7777_7777,
    0x3333_3333_3333_3333,
    0x1111_1111_1111_1111,
    0,
];

/// See the module documentation.
pub(crate) struct Sketch {
    /// Words of sixteen counters each.
    words: Box<[u64]>,
    /// The number of halvings that each segment has been through.
    segments: Box<[u32]>,
    /// The number of halvings.
    halvings: u32,
    uses: u64,
    sample: u64,
}

impl Sketch {
    /// Creates a sketch for a pool of `blocks` blocks, with 8 to 16 bytes per block.
    pub(crate) fn new(blocks: usize) -> Self {
        let words = blocks.next_power_of_two().max(8);
        Self {
            words: vec![0; words].into_boxed_slice(),
            segments: vec![0; words.div_ceil(SEGMENT)].into_boxed_slice(),
            halvings: 0,
            uses: 0,
            sample: SAMPLE * blocks as u64,
        }
    }

    /// Counts a use.
    pub(crate) fn count(&mut self, tag: Tag) {
        for seed in SEEDS {
            let (word, shift) = self.place(tag, seed);
            if self.behind(word) > 0 {
                self.catch_up(word / SEGMENT);
            }
            let counter = self.words[word] >> shift & 0xf;
            if counter < u64::from(MOST_FREQUENT) {
                self.words[word] += 1 << shift;
            }
        }
        self.uses += 1;
        if self.uses == self.sample {
            self.uses = 0;
            self.halvings = self.halvings.wrapping_add(1);
        }
    }

    /// Returns how often a hash was used; possibly too high an estimate.
    pub(crate) fn frequency(&self, tag: Tag) -> u8 {
        SEEDS
            .iter()
            .map(|&seed| {
                let (word, shift) = self.place(tag, seed);
                (self.words[word] >> shift & 0xf) as u8 >> self.behind(word)
            })
            .min()
            .unwrap_or(0)
    }

    /// Returns how many halvings a word is behind, at most four of which make a difference.
    #[inline]
    fn behind(&self, word: usize) -> u32 {
        let behind = self.halvings.wrapping_sub(self.segments[word / SEGMENT]);
        behind.min(4)
    }

    #[cold]
    fn catch_up(&mut self, segment: usize) {
        let from = segment * SEGMENT;
        let until = self.words.len().min(from + SEGMENT);
        let behind = self.behind(from);
        self.segments[segment] = self.halvings;
        for word in &mut self.words[from..until] {
            count_work!(1);
            *word = *word >> behind & KEPT[behind as usize];
        }
    }

    /// Returns the word of one of a hash's counters, and the counter's place in it.
    fn place(&self, tag: Tag, seed: u64) -> (usize, u32) {
        let mixed = (tag.bits() ^ tag.bits() >> 32).wrapping_mul(seed);
        let word = (mixed >> 32) as usize & (self.words.len() - 1);
        (word, (mixed >> 26 & 0x3c) as u32)
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use crate::SequenceHash;
    use crate::policy::testing::Random;
    use crate::sync::work_of;

    fn tag(n: u64) -> Tag {
        Tag::of(SequenceHash::new(n, None, 0))
    }

    #[test]
    fn counts_are_never_too_low_and_rarely_too_high() {
        const BLOCKS: usize = 1_000;
        let mut random = Random::new(1);
        let mut sketch = Sketch::new(BLOCKS);
        let mut counts = vec![0_u32; 4 * BLOCKS];
        for _ in 0..4 * BLOCKS {
            let n = random.below(counts.len() as u64).min(random.below(4_000));
            counts[n as usize] += 1;
            sketch.count(tag(n));
        }
        let mut high = 0;
        for (n, &count) in counts.iter().enumerate() {
            let frequency = u32::from(sketch.frequency(tag(n as u64)));
            assert!(frequency >= count.min(15), "{n}");
            high += usize::from(frequency > count.min(15));
        }
        assert!(high < counts.len() / 20, "{high} too high");
    }

    #[test]
    fn counters_end_at_their_most_and_are_halved() {
        let mut sketch = Sketch::new(10);
        for _ in 0..99 {
            sketch.count(tag(1));
        }
        assert_eq!(sketch.frequency(tag(1)), MOST_FREQUENT);
        sketch.count(tag(1));
        assert_eq!(sketch.frequency(tag(1)), MOST_FREQUENT / 2);
        for _ in 0..50 {
            sketch.count(tag(1));
        }
        assert_eq!(sketch.frequency(tag(1)), MOST_FREQUENT);
        for _ in 0..50 {
            sketch.count(tag(2));
        }
        assert_eq!(sketch.frequency(tag(1)), MOST_FREQUENT / 2);
        assert_eq!(sketch.frequency(tag(2)), MOST_FREQUENT / 2);
    }

    /// A sketch whose words are all halved at once.
    struct Plain {
        words: Vec<u64>,
        uses: u64,
    }

    #[test]
    fn agrees_with_a_sketch_that_is_halved_at_once() {
        for blocks in [1, 8, 100, 3_000] {
            let mut random = Random::new(blocks);
            let mut sketch = Sketch::new(blocks as usize);
            let mut plain = Plain {
                words: vec![0; sketch.words.len()],
                uses: 0,
            };
            for _ in 0..10 * blocks * 12 {
                // Few enough that some segments stay behind by several halvings.
                let used = tag(random.below(blocks / 40 + 3));
                sketch.count(used);
                for seed in SEEDS {
                    let (word, shift) = sketch.place(used, seed);
                    if plain.words[word] >> shift & 0xf < 0xf {
                        plain.words[word] += 1 << shift;
                    }
                }
                plain.uses += 1;
                if plain.uses.is_multiple_of(10 * blocks) {
                    let halved = |word: &mut u64| *word = *word >> 1 & KEPT[1];
                    plain.words.iter_mut().for_each(halved);
                }
                let asked = tag(random.below(4 * blocks));
                let counters = SEEDS.map(|seed| {
                    let (word, shift) = sketch.place(asked, seed);
                    plain.words[word] >> shift & 0xf
                });
                let least = counters.into_iter().min();
                assert_eq!(Some(u64::from(sketch.frequency(asked))), least);
            }
        }
    }

    #[test]
    fn a_use_costs_the_same_in_every_sketch() {
        for blocks in [1_000, 64_000] {
            let mut sketch = Sketch::new(blocks);
            for n in 0..12 * blocks as u64 {
                let ((), work) = work_of(|| sketch.count(tag(n)));
                assert!(work <= (SEEDS.len() * SEGMENT) as u64, "{work} of {blocks}");
            }
            assert_eq!(sketch.halvings, 1);
        }
    }
}
