//! A small seeded generator, so that a run's operations can be repeated.

// Each test binary uses its part of this.
#![allow(dead_code)]

use std::sync::OnceLock;

/// Returns the seed of this run: `KVBM_SEED`, or else one drawn from the clock. Prints it, and
/// the harness shows that output for each test that fails.
pub fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    let seed = *SEED.get_or_init(|| {
        number("KVBM_SEED").unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |now| now.as_nanos() as u64 % 1_000_000_000)
        })
    });
    println!("KVBM_SEED={seed}");
    seed
}

/// Returns the number in an environment variable, if that is set.
///
/// # Panics
///
/// Panics if it is set to anything else: a run must not ignore its settings.
pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Xorshift64*.
pub struct Rng(u64);

impl Rng {
    /// Creates a generator. Different seeds, however close, give unrelated sequences.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        rng.next();
        rng
    }

    /// Returns the generator of one part of a run, such as a thread or a round.
    pub fn of(seed: u64, part: u64) -> Self {
        Rng::new(seed ^ Rng::new(part).next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Returns a number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize) % bound
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Removes a random element, if there is one.
    pub fn pick<G>(&mut self, from: &mut Vec<G>) -> Option<G> {
        if from.is_empty() {
            return None;
        }
        let at = self.below(from.len());
        Some(from.swap_remove(at))
    }
}
