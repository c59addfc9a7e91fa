//! How often hashes were used, in a few bits each.
//!
//! This is a count-min sketch of four-bit counters, with four counters per hash, of which
//! the smallest is the estimate. After ten times as many uses as the pool has blocks, all
//! counters are halved, so that hashes that were popular once do not stay so. It is the sketch of
//! *TinyLFU: A Highly Efficient Cache Admission Policy* (Einziger, Friedman, Manes; ACM
//! Transactions on Storage 13, 2017).
//!
//! It is not the registry's [tracker](crate::tinylfu), which many threads write. This one
//! belongs to the policy alone, and is plain sequential code.

use super::tag::Tag;

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

/// See the module documentation.
pub(crate) struct Sketch {
    /// Words of sixteen counters each.
    words: Box<[u64]>,
    uses: u64,
    sample: u64,
}

impl Sketch {
    /// Creates a sketch for a pool of `blocks` blocks, with 8 to 16 bytes per block.
    pub(crate) fn new(blocks: usize) -> Self {
        Self {
            words: vec![0; blocks.next_power_of_two().max(8)].into_boxed_slice(),
            uses: 0,
            sample: SAMPLE * blocks as u64,
        }
    }

    /// Counts a use.
    pub(crate) fn count(&mut self, tag: Tag) {
        for seed in SEEDS {
            let (word, shift) = self.place(tag, seed);
            let counter = self.words[word] >> shift & 0xf;
            if counter < u64::from(MOST_FREQUENT) {
                self.words[word] += 1 << shift;
            }
        }
        self.uses += 1;
        if self.uses == self.sample {
            self.halve();
        }
    }

    /// Returns how often a hash was used; possibly too high an estimate.
    pub(crate) fn frequency(&self, tag: Tag) -> u8 {
        SEEDS
            .iter()
            .map(|&seed| {
                let (word, shift) = self.place(tag, seed);
                (self.words[word] >> shift & 0xf) as u8
            })
            .min()
            .unwrap_or(0)
    }

    fn halve(&mut self) {
        self.uses = 0;
        for word in &mut self.words {
            *word = *word >> 1 & 0x7777_7777_7777_7777;
        }
    }

    /// Returns the word of one of a hash's counters, and the counter's place in it.
    fn place(&self, tag: Tag, seed: u64) -> (usize, u32) {
        let mixed = (tag.bits() ^ tag.bits() >> 32).wrapping_mul(seed);
        let word = (mixed >> 32) as usize & (self.words.len() - 1);
        (word, (mixed >> 26 & 0x3c) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SequenceHash;
    use crate::policy::testing::Random;

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
}
