//! When the counters of a sketch are halved.

use std::any::Any;
use std::cell::Cell;

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
    /// On the thread that touches, after the touch has been counted, and while it holds nothing. A
    /// policy may use the tracker that it belongs to: its own touches count, but it is not called
    /// for them. Several threads may call it at once. If more than one of them is told to halve
    /// the same counters, one does.
    ///
    /// # Panics
    ///
    /// An implementation may panic. The panic propagates out of the `touch` or, once all keys have
    /// been touched, out of the `touch_all` that called it. Only the halving is skipped.
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

/// The decay policy of a sketch.
pub(super) enum Decay {
    /// That of a [`FixedDecayPolicy`], which need not be called to be known.
    Fixed {
        sample_size: u32,
    },
    Custom(Box<dyn DecayPolicy>),
}

thread_local! {
    /// Whether the thread is calling a policy.
    static IS_CALLING: Cell<bool> = const { Cell::new(false) };
}

impl Decay {
    pub(super) fn of(policy: impl DecayPolicy + 'static) -> Self {
        match (&policy as &dyn Any).downcast_ref() {
            Some(&FixedDecayPolicy { sample_size }) => Self::Fixed { sample_size },
            None => Self::Custom(Box::new(policy)),
        }
    }

    /// Returns whether to halve at this size.
    #[inline(always)]
    pub(super) fn is_due(&self, size: u32) -> bool {
        match self {
            Self::Fixed { sample_size } => size >= *sample_size,
            Self::Custom(policy) => call(&**policy, size),
        }
    }
}

/// Calls a policy, unless it is a policy that has made the call necessary.
#[inline(never)]
fn call(policy: &dyn DecayPolicy, size: u32) -> bool {
    /// Also when the policy panics.
    struct Called;
    impl Drop for Called {
        fn drop(&mut self) {
            IS_CALLING.set(false);
        }
    }
    if IS_CALLING.replace(true) {
        return false;
    }
    let _called = Called;
    policy.should_decay(size)
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
