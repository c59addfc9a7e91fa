//! Finds the half-life that suits the workload.
//!
//! The best half-life depends on the requests: with popular documents, it is a hundred times
//! as long as with conversations that barely fit the pool. So two
//! [miniatures](super::miniature) of the pool see a sample of the hashes, one with half the
//! half-life and one with twice as long. From time to time, the half-life moves toward the
//! one with more hits.
//!
//! This is hill climbing, as in other caches. But those compare a pool's hit rate with its
//! earlier one, whereas here both sides have seen the same requests, so a change of workload
//! does not mislead the comparison.
//!
//! The first half-life is five sixteenths of the pool's blocks, which is almost least
//! recently used first. The half-life slowly returns there while it makes no difference: if
//! it is far too long, both miniatures are full of hashes that were popular once, and neither
//! can show that another half-life would be better.

use super::miniature::Miniature;
use super::tag::Tag;

/// The pool's blocks per block of a miniature, and the fewest and the most blocks of a
/// miniature.
const SHARE: usize = 8;
const FEWEST: usize = 16;
const MOST: usize = 256;

/// The number of batches that fill a miniature. A batch stands for the blocks in use.
const BATCHES: usize = 4;

/// The number of batches after which the half-life may move.
const PERIOD: u32 = 2 * BATCHES as u32;

/// The share of all hits by which one miniature must lead. Anything less is chance.
const MARGIN: f64 = 0.002;

/// The factor by which the half-life moves, and how many times as many moves it takes to
/// return.
const STEP: f64 = std::f64::consts::SQRT_2;
const SLOWER: f64 = 4.0;

/// The shortest, the longest and the first half-life, per block of the pool.
const SHORTEST: f64 = 1.0 / 16.0;
const LONGEST: f64 = 128.0;
const FIRST: f64 = 0.3125;

/// See the module documentation.
pub(crate) struct Tuner {
    half_life: f64,
    /// The number of blocks of the pool.
    blocks: f64,
    /// A miniature's blocks per block of the pool, which is also the share of hashes it
    /// sees.
    scale: f64,
    shorter: Miniature,
    longer: Miniature,
    /// The sampled uses that are still to be served.
    batch: Vec<Tag>,
    /// Batches served, and hits in each miniature, since the half-life last could move.
    batches: u32,
    hits: [u32; 2],
}

impl Tuner {
    /// Creates a tuner for a pool of `blocks` blocks with a history of `hashes` hashes.
    pub(crate) fn new(blocks: usize, hashes: usize) -> Self {
        let small = (blocks / SHARE).clamp(FEWEST, MOST).min(blocks);
        let scale = small as f64 / blocks as f64;
        let miniature = || Miniature::new(small, (hashes as f64 * scale) as usize);
        Self {
            half_life: FIRST * blocks as f64,
            blocks: blocks as f64,
            scale,
            shorter: miniature(),
            longer: miniature(),
            batch: Vec::with_capacity((small / BATCHES).max(1)),
            batches: 0,
            hits: [0; 2],
        }
    }

    pub(crate) fn half_life(&self) -> f64 {
        self.half_life
    }

    /// Counts a use. Returns whether the half-life may have changed.
    pub(crate) fn count(&mut self, tag: Tag) -> bool {
        let sampled = f64::from(tag.low_half()) < self.scale * 2_f64.powi(32);
        if !sampled {
            return false;
        }
        self.batch.push(tag);
        self.batch.len() == self.batch.capacity() && self.serve()
    }

    #[cold]
    fn serve(&mut self) -> bool {
        let half_life = self.half_life * self.scale;
        self.hits[0] += self.shorter.serve(&self.batch, half_life / 2.0);
        self.hits[1] += self.longer.serve(&self.batch, half_life * 2.0);
        self.batch.clear();
        self.batches += 1;
        if self.batches < PERIOD {
            return false;
        }
        self.batches = 0;
        let [shorter, longer] = std::mem::take(&mut self.hits).map(f64::from);
        let margin = MARGIN * (shorter + longer);
        let [shortest, first, longest] =
            [SHORTEST, FIRST, LONGEST].map(|for_each| for_each * self.blocks);
        let back = STEP.powf(1.0 / SLOWER);
        self.half_life = if longer - shorter > margin {
            (self.half_life * STEP).min(longest)
        } else if shorter - longer > margin {
            (self.half_life / STEP).max(shortest)
        } else if self.half_life > first {
            (self.half_life / back).max(first)
        } else {
            (self.half_life * back).min(first)
        };
        true
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.shorter.check()?;
        self.longer.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SequenceHash;
    use crate::policy::testing::Random;

    const BLOCKS: usize = 400;

    /// Half of the uses are of one of `popular` hashes, and half of a hash that is used
    /// once.
    fn use_popular(tuner: &mut Tuner, random: &mut Random, popular: u64, uses: u64) {
        for n in 0..uses {
            let content = match n % 2 {
                0 => random.below(popular),
                _ => 1 << 40 | random.below(1 << 40),
            };
            tuner.count(Tag::of(SequenceHash::new(content, None, 0)));
        }
    }

    /// Every hash is used four times, with as many others in between as the pool has room
    /// for, and then never again.
    fn use_recent(tuner: &mut Tuner, uses: u64) {
        for n in 0..uses {
            let content = 1 << 50 | (n / 4).saturating_sub(n % 4 * 80);
            tuner.count(Tag::of(SequenceHash::new(content, None, 0)));
        }
    }

    #[test]
    fn goes_where_the_hits_are_and_back() {
        let mut random = Random::new(1);
        let mut tuner = Tuner::new(BLOCKS, 3 * BLOCKS);
        assert_eq!(tuner.half_life(), 125.0);
        for _ in 0..2 {
            // Half as many again as there is room for.
            use_popular(&mut tuner, &mut random, 600, 400_000);
            assert!(tuner.half_life() > 1_000.0, "{}", tuner.half_life());
            use_recent(&mut tuner, 400_000);
            assert!(tuner.half_life() < 200.0, "{}", tuner.half_life());
            tuner.check().unwrap();
        }
    }

    #[test]
    fn goes_back_where_it_makes_no_difference() {
        let mut random = Random::new(1);
        let mut tuner = Tuner::new(BLOCKS, 3 * BLOCKS);
        use_popular(&mut tuner, &mut random, 600, 400_000);
        for n in 0..400_000 {
            tuner.count(Tag::of(SequenceHash::new(1 << 60 | n, None, 0)));
        }
        assert_eq!(tuner.half_life(), 125.0);
    }

    #[test]
    fn pools_of_few_blocks_are_their_own_miniatures() {
        for blocks in 1..40 {
            let mut tuner = Tuner::new(blocks, 100);
            let mut random = Random::new(blocks as u64);
            use_popular(&mut tuner, &mut random, 30, 2_000);
            tuner.check().unwrap();
            let bounds = [SHORTEST, LONGEST].map(|bound| bound * blocks as f64);
            assert!((bounds[0]..=bounds[1]).contains(&tuner.half_life()));
        }
    }
}
