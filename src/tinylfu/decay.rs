//! When the counters of a sketch are halved.

use std::fmt;

use super::counters::Counters;

/// Decides when the counters of a sketch are halved, so that old popularity fades.
///
/// ```
/// use kvbm_lockfree::tinylfu::{DecayPolicy, TinyLFUSettings};
///
/// /// Remembers everything.
/// struct Never;
///
/// impl DecayPolicy for Never {
///     fn should_decay(&self, _: u32) -> bool {
///         false
///     }
/// }
///
/// let settings = TinyLFUSettings::builder()
///     .capacity(4096_usize)
///     .decay_policy(Never)
///     .build()?;
/// # drop(settings);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub trait DecayPolicy: Send + Sync {
    /// Returns whether to halve the counters now.
    ///
    /// The sketch calls this after every increment that raised at least one counter, with the
    /// number of such increments since the last halving. A halving does not reset that number
    /// to zero but to half of it, minus a quarter of the number of counters that were odd.
    ///
    /// # When does a tracker call it?
    ///
    /// While it holds the lock of its table, on the thread that applies a batch of touches.
    /// Since threads only ever try that lock, a policy may use the tracker that it belongs
    /// to: it then finds the lock held, as if by another thread.
    ///
    /// # Panics
    ///
    /// An implementation may panic. The panic propagates out of the `touch`, `touch_all` or
    /// `count` that applied the batch. The halving is then skipped, and a `touch_all` loses
    /// those of its touches that it has not applied yet.
    fn should_decay(&self, increments_since_last_reset: u32) -> bool;
}

/// Halves the counters after a fixed number of increments.
#[derive(Debug)]
pub struct FixedDecayPolicy {
    sample_size: u32,
}

impl FixedDecayPolicy {
    /// Creates a policy that halves once `sample_size` increments have been counted, or after
    /// every increment if it is 0.
    pub fn new(sample_size: u32) -> Self {
        Self { sample_size }
    }

    /// Creates a policy that halves once ten increments per key of `capacity` have been
    /// counted, or [`u32::MAX`] if that is less. It is the default policy of a sketch.
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

/// The age of a table: how much has been counted since it was last halved.
pub(super) struct Age {
    size: u32,
    policy: Box<dyn DecayPolicy>,
}

impl Age {
    pub(super) fn new(policy: Box<dyn DecayPolicy>) -> Self {
        Self { size: 0, policy }
    }

    /// Counts an increment that raised a counter, and halves `counters` if the policy says
    /// so. The caller must be their only writer.
    #[inline]
    pub(super) fn advance(&mut self, counters: &Counters) {
        self.size = self.size.wrapping_add(1);
        if self.policy.should_decay(self.size) {
            // Rounding down lost one from every odd counter, and an increment adds to four
            // counters.
            let odd = counters.halve();
            self.size = (self.size / 2).saturating_sub(odd / 4);
        }
    }
}

impl fmt::Debug for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Age")
            .field("size", &self.size)
            .finish_non_exhaustive()
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
