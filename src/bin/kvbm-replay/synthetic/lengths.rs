//! Lengths of texts, and times.

use rand::Rng;
use rand_distr::{Distribution, LogNormal};

/// Lengths or times around a median.
pub struct Lengths(LogNormal<f64>);

impl Lengths {
    /// About two thirds are within a factor of e^`spread` of the median.
    pub fn around(median: f64, spread: f64) -> Self {
        Self(LogNormal::new(median.ln(), spread).expect("the spread is finite and positive"))
    }

    /// A number of tokens, at least one and at most `limit`.
    pub fn tokens(&self, limit: u64, rng: &mut impl Rng) -> u64 {
        (self.0.sample(rng) as u64).clamp(1, limit)
    }

    /// A time of the median's unit.
    pub fn time(&self, rng: &mut impl Rng) -> f64 {
        self.0.sample(rng)
    }
}
