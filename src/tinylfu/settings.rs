//! The settings of a sketch or tracker, and their builder.

use std::fmt;

use anyhow::Context;

use super::counters::Layout;
use super::decay::Decay;
use super::{DecayPolicy, FixedDecayPolicy, SketchKey, TinyLFUSketch, TinyLFUTracker};

/// The settings of a [`TinyLFUSketch`] or [`TinyLFUTracker`]: a capacity and a decay policy.
///
/// ```
/// use kvbm_lockfree::tinylfu::{FixedDecayPolicy, TinyLFUSettings};
///
/// # fn main() -> anyhow::Result<()> {
/// let mut sketch = TinyLFUSettings::builder()
///     .capacity(100usize)
///     .decay_policy(FixedDecayPolicy::new(500))
///     .build()?
///     .into_sketch::<u64>();
/// sketch.increment(42);
/// assert_eq!(sketch.estimate(42), 1);
/// # Ok(())
/// # }
/// ```
pub struct TinyLFUSettings {
    capacity: usize,
    decay_policy: Decay,
    layout: Layout,
}

impl TinyLFUSettings {
    /// Returns a builder with nothing set.
    pub fn builder() -> TinyLFUSettingsBuilder {
        TinyLFUSettingsBuilder::default()
    }

    /// Creates a sketch for a single owner.
    pub fn into_sketch<K: SketchKey>(self) -> TinyLFUSketch<K> {
        TinyLFUSketch::with_decay(self.capacity, self.decay_policy, self.layout)
    }

    /// Creates a tracker that threads share.
    pub fn into_tracker<K: SketchKey>(self) -> TinyLFUTracker<K> {
        TinyLFUTracker::from_sketch(self.into_sketch())
    }
}

/// A builder of [`TinyLFUSettings`]. Calling a setter again replaces the earlier value.
///
/// ```
/// use kvbm_lockfree::tinylfu::{FixedDecayPolicy, FrequencyTracker, TinyLFUSettings};
///
/// let settings = TinyLFUSettings::builder()
///     .capacity(100_usize)
///     .decay_policy(FixedDecayPolicy::new(500))
///     .build()?;
/// let tracker = settings.into_tracker::<u64>();
/// tracker.touch(42);
/// assert_eq!(tracker.count(42), 1);
///
/// assert!(TinyLFUSettings::builder().build().is_err(), "the capacity is required");
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Default)]
#[must_use]
pub struct TinyLFUSettingsBuilder {
    capacity: Option<usize>,
    decay_policy: Option<Decay>,
    layout: Layout,
}

impl TinyLFUSettingsBuilder {
    /// Sets the number of different keys expected to be in use at a time. Required.
    ///
    /// The sketch takes 2.3 bytes per key; see [`TinyLFUSketch`] for how wrong estimates are
    /// at a given number of keys.
    pub fn capacity<VALUE: Into<usize>>(self, value: VALUE) -> Self {
        Self {
            capacity: Some(value.into()),
            ..self
        }
    }

    /// Sets the policy that decides when the counters are halved. Default:
    /// [`FixedDecayPolicy::from_capacity`].
    pub fn decay_policy(self, policy: impl DecayPolicy + 'static) -> Self {
        Self {
            decay_policy: Some(Decay::of(policy)),
            ..self
        }
    }

    /// Places the counters as `kvbm-logical` 1.6.1 does, so that every estimate equals that
    /// crate's. For comparisons only.
    ///
    /// That layout selects a word and the counter in it by the same bits of a hash. If the
    /// number of words, a quarter of the capacity, is a multiple of 16, only one of the
    /// sixteen counters in each word is ever used, and estimates are as inaccurate as those
    /// of a sketch for a sixteenth of the capacity. In a sketch for 65,536 keys that has
    /// counted half as many, almost every key appears to have been used.
    pub fn reference_layout(self) -> Self {
        Self {
            layout: Layout::Reference,
            ..self
        }
    }

    /// Builds the settings.
    ///
    /// # Errors
    ///
    /// Returns an error if no capacity was set.
    pub fn build(self) -> Result<TinyLFUSettings, anyhow::Error> {
        let capacity = self
            .capacity
            .context("the capacity of the frequency sketch has not been set")?;
        let decay_policy = self
            .decay_policy
            .unwrap_or_else(|| Decay::of(FixedDecayPolicy::from_capacity(capacity)));
        Ok(TinyLFUSettings {
            capacity,
            decay_policy,
            layout: self.layout,
        })
    }
}

impl fmt::Debug for TinyLFUSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TinyLFUSettings")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TinyLFUSettingsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TinyLFUSettingsBuilder")
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_capacity_is_required() {
        assert!(TinyLFUSettings::builder().build().is_err());
        let policy_only = TinyLFUSettings::builder().decay_policy(FixedDecayPolicy::new(1));
        assert!(policy_only.build().is_err());
    }

    #[test]
    fn the_last_value_set_is_used() {
        let settings = TinyLFUSettings::builder()
            .decay_policy(FixedDecayPolicy::new(3))
            .capacity(7u16)
            .capacity(100usize)
            .decay_policy(FixedDecayPolicy::new(5))
            .build()
            .unwrap();
        assert_eq!(settings.capacity, 100);
        assert!(!settings.decay_policy.is_due(4));
        assert!(settings.decay_policy.is_due(5));
    }

    #[test]
    fn the_default_policy_follows_the_capacity() {
        let settings = TinyLFUSettings::builder().capacity(6usize).build().unwrap();
        assert!(!settings.decay_policy.is_due(59));
        assert!(settings.decay_policy.is_due(60));
    }
}
