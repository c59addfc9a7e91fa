//! The share of a pool that is best ordered by recency, found by climbing the hit rate.
//!
//! After every sample of uses, the window's share moves by a step: in the same direction as
//! before if the hit rate has risen, and back if it has fallen. The steps become smaller while
//! they change little. While there are no hits at all, there is nothing to learn, and the share
//! stays. This is the adaptation of *Adaptive Software Cache Management* (Einziger, Eytan,
//! Friedman, Manes; Middleware 2018).

/// The number of uses in a sample, per block of the pool, and the fewest in any sample.
const SAMPLE: u64 = 1;
const FEWEST_USES: u64 = 256;

/// The first share, which is close to pure recency, and the limits.
const FIRST: f64 = 0.8;
const SMALLEST: f64 = 0.01;
const LARGEST: f64 = 0.99;

/// The size of the first step; the change of the hit rate from which a step has that size
/// again; and the factor by which a step shrinks otherwise.
const STEP: f64 = 0.0625;
const RESTART: f64 = 0.05;
const DECAY: f64 = 0.98;

/// See the module documentation.
pub(crate) struct Climber {
    share: f64,
    step: f64,
    sample: u64,
    uses: u64,
    hits: u64,
    /// The hit rate of the sample before, if there was one.
    hit_rate: Option<f64>,
}

impl Climber {
    pub(crate) fn new(blocks: usize) -> Self {
        Self {
            share: FIRST,
            step: STEP,
            sample: (SAMPLE * blocks as u64).max(FEWEST_USES),
            uses: 0,
            hits: 0,
            hit_rate: None,
        }
    }

    /// Returns the share of the window, from 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.share
    }

    /// Counts a use.
    pub(crate) fn count(&mut self, is_hit: bool) {
        self.uses += 1;
        self.hits += u64::from(is_hit);
        if self.uses == self.sample {
            self.climb();
        }
    }

    #[cold]
    fn climb(&mut self) {
        let hit_rate = self.hits as f64 / self.uses as f64;
        (self.uses, self.hits) = (0, 0);
        let Some(before) = self.hit_rate.replace(hit_rate) else {
            return;
        };
        if before == 0.0 && hit_rate == 0.0 {
            return;
        }
        let change = hit_rate - before;
        if change < 0.0 {
            self.step = -self.step;
        }
        self.share = (self.share + self.step).clamp(SMALLEST, LARGEST);
        self.step = if change.abs() >= RESTART {
            STEP.copysign(self.step)
        } else {
            self.step * DECAY
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the share after some samples, if the hit rate is highest at `best`.
    fn climbed(climber: &mut Climber, best: f64, samples: u64) -> f64 {
        for _ in 0..samples {
            let rate = 0.8 - (climber.share() - best).abs();
            let sample = climber.sample;
            for use_ in 0..sample {
                climber.count((use_ as f64) < rate * sample as f64);
            }
        }
        climber.share()
    }

    #[test]
    fn climbs_to_the_best_share_and_follows_it() {
        let mut climber = Climber::new(1_000);
        for best in [0.7, 0.1, 0.5] {
            let share = climbed(&mut climber, best, 60);
            assert!((share - best).abs() < 0.1, "{share}, not {best}");
        }
    }

    #[test]
    fn stays_within_the_limits() {
        let mut climber = Climber::new(100);
        for best in [2.0, -1.0] {
            let share = climbed(&mut climber, best, 100);
            assert!((SMALLEST..=LARGEST).contains(&share), "{share}");
        }
    }
}
