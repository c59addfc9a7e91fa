//! When the counters are halved.

use super::counters::Counters;

/// Decides when the counters of a sketch are halved.
pub trait DecayPolicy: Send + Sync {
    /// Called after every increment that found a counter to raise, with the
    /// number of such increments since the last halving (less a correction:
    /// a halving sets the number to half of it, less a quarter of the
    /// counters that were odd). Returning `true` halves now.
    ///
    /// A [`TinyLFUTracker`](super::TinyLFUTracker) calls this while it holds
    /// the lock of its table, from whichever thread applies the batch. The
    /// lock is only ever tried, so a policy may use the tracker it belongs
    /// to, which is then held as by another thread. It may panic: the panic
    /// leaves the `touch` or `count` that applied the batch, and all that is
    /// missing afterwards is the halving; and, if it leaves a `touch_all`, those of
    /// its touches that were still to come.
    fn should_decay(&self, increments_since_last_reset: u32) -> bool;
}

/// Halves whenever a fixed number of increments was counted.
pub struct FixedDecayPolicy {
    sample_size: u32,
}

impl FixedDecayPolicy {
    /// Halves once `sample_size` increments were counted; 0 halves after
    /// every one.
    pub fn new(sample_size: u32) -> Self {
        Self { sample_size }
    }

    /// Halves once ten increments a key of `capacity` were counted, at most
    /// `u32::MAX`. This is what a sketch does that was given no policy.
    pub fn from_capacity(capacity: usize) -> Self {
        let sample_size = u32::try_from(capacity.saturating_mul(10)).unwrap_or(u32::MAX);
        Self { sample_size }
    }
}

impl DecayPolicy for FixedDecayPolicy {
    #[inline]
    fn should_decay(&self, increments_since_last_reset: u32) -> bool {
        increments_since_last_reset >= self.sample_size
    }
}

/// The age of a table: what was counted since it was last halved.
pub(super) struct Age {
    size: u32,
    policy: Box<dyn DecayPolicy>,
}

impl Age {
    pub(super) fn new(policy: Box<dyn DecayPolicy>) -> Self {
        Self { size: 0, policy }
    }

    /// Takes note of an increment that raised a counter, and halves
    /// `counters` if the policy says so. The caller is their only writer.
    #[inline]
    pub(super) fn advance(&mut self, counters: &Counters) {
        self.size = self.size.wrapping_add(1);
        if self.policy.should_decay(self.size) {
            // Rounding took something from every odd counter, and one
            // increment is four counters.
            let odd = counters.halve();
            self.size = (self.size / 2).saturating_sub(odd / 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_policy_fires_from_its_sample_size_on() {
        let policy = FixedDecayPolicy::new(100);
        assert!(!policy.should_decay(99));
        assert!(policy.should_decay(100));
        assert!(policy.should_decay(101));
        assert!(FixedDecayPolicy::new(0).should_decay(1));
    }

    #[test]
    fn the_default_sample_is_ten_a_key_and_saturates() {
        let policy = FixedDecayPolicy::from_capacity(10);
        assert!(!policy.should_decay(99));
        assert!(policy.should_decay(100));
        let policy = FixedDecayPolicy::from_capacity(usize::MAX);
        assert!(!policy.should_decay(u32::MAX - 1));
        assert!(policy.should_decay(u32::MAX));
    }
}
