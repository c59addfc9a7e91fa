//! How a sketch or tracker is configured.

use anyhow::Context;

use super::counters::Layout;
use super::{DecayPolicy, FixedDecayPolicy, SketchKey, TinyLFUSketch, TinyLFUTracker};

/// The settings of a [`TinyLFUSketch`] or [`TinyLFUTracker`].
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
    decay_policy: Box<dyn DecayPolicy>,
    layout: Layout,
}

impl TinyLFUSettings {
    /// Starts with nothing set.
    pub fn builder() -> TinyLFUSettingsBuilder {
        TinyLFUSettingsBuilder::default()
    }

    /// Makes a sketch for one owner.
    pub fn into_sketch<K: SketchKey>(self) -> TinyLFUSketch<K> {
        TinyLFUSketch::with_policy(self.capacity, self.decay_policy, self.layout)
    }

    /// Makes a tracker that threads share.
    pub fn into_tracker<K: SketchKey>(self) -> TinyLFUTracker<K> {
        TinyLFUTracker::from_sketch(self.into_sketch())
    }
}

/// Builds [`TinyLFUSettings`]; a setter called again replaces what it set.
#[derive(Default)]
pub struct TinyLFUSettingsBuilder {
    capacity: Option<usize>,
    decay_policy: Option<Box<dyn DecayPolicy>>,
    layout: Layout,
}

impl TinyLFUSettingsBuilder {
    /// About how many different keys are in use at a time. Required.
    pub fn capacity<VALUE: Into<usize>>(self, value: VALUE) -> Self {
        Self {
            capacity: Some(value.into()),
            ..self
        }
    }

    /// When the counters are halved. Without this,
    /// [`FixedDecayPolicy::from_capacity`] of the capacity.
    pub fn decay_policy(self, policy: impl DecayPolicy + 'static) -> Self {
        Self {
            decay_policy: Some(Box::new(policy)),
            ..self
        }
    }

    /// Places counters where `kvbm-logical` 1.6.1 does, so that every estimate is the
    /// same as that crate's. For comparisons only.
    ///
    /// That layout chooses a word and the counter in it by the same bits of a hash.
    /// Wherever the number of words, a quarter of the capacity, is a multiple of 16, only
    /// one of the sixteen counters of each word is ever used, and estimates are as wrong
    /// as those of a sketch for a sixteenth of the capacity: of a sketch for 65,536 keys
    /// that counted half as many, almost every key appears to have been used.
    pub fn reference_layout(self) -> Self {
        Self {
            layout: Layout::Reference,
            ..self
        }
    }

    /// Completes the settings.
    ///
    /// # Errors
    ///
    /// If no capacity was set.
    pub fn build(self) -> Result<TinyLFUSettings, anyhow::Error> {
        let capacity = self
            .capacity
            .context("the capacity of the frequency sketch is not set")?;
        let decay_policy = self
            .decay_policy
            .unwrap_or_else(|| Box::new(FixedDecayPolicy::from_capacity(capacity)));
        Ok(TinyLFUSettings {
            capacity,
            decay_policy,
            layout: self.layout,
        })
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
        assert!(!settings.decay_policy.should_decay(4));
        assert!(settings.decay_policy.should_decay(5));
    }

    #[test]
    fn the_default_policy_follows_the_capacity() {
        let settings = TinyLFUSettings::builder().capacity(6usize).build().unwrap();
        assert!(!settings.decay_policy.should_decay(59));
        assert!(settings.decay_policy.should_decay(60));
    }
}
