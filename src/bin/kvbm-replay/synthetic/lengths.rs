//! Random lengths of texts and durations.

use rand::Rng;
use rand_distr::{Distribution, LogNormal};

/// A log-normal distribution of lengths or durations.
pub struct Lengths(LogNormal<f64>);

impl Lengths {
    /// Creates a distribution in which about two thirds of the samples are within a factor of
    /// e^`spread` of the median.
    pub fn around(median: f64, spread: f64) -> Self {
        Self(LogNormal::new(median.ln(), spread).expect("the spread is finite and positive"))
    }

    /// Samples a number of tokens from 1 to `limit`.
    pub fn tokens(&self, limit: u64, rng: &mut impl Rng) -> u64 {
        (self.0.sample(rng) as u64).clamp(1, limit)
    }

    /// Samples a duration, in the unit of the median.
    pub fn time(&self, rng: &mut impl Rng) -> f64 {
        self.0.sample(rng)
    }
}
