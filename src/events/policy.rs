//! Which hashes have events.

use crate::SequenceHash;

/// Decides which hashes have events.
///
/// Called once per registration, by the thread that registers: keep it short. The answer
/// holds until the registration ends. If it panics, the registration has no events; the
/// panic reaches the caller once everything else the operation does is done.
///
/// ```
/// use std::sync::Arc;
///
/// use kvbm_lockfree::SequenceHash;
/// use kvbm_lockfree::events::{EventEmissionPolicy, EventsManager};
///
/// /// The first block of every sequence.
/// struct Roots;
///
/// impl EventEmissionPolicy for Roots {
///     fn should_emit(&self, seq_hash: SequenceHash) -> bool {
///         seq_hash.position() == 0
///     }
/// }
///
/// let events = EventsManager::builder().policy(Arc::new(Roots)).build();
/// # drop(events);
/// ```
pub trait EventEmissionPolicy: Send + Sync {
    /// Whether registrations of this hash have events.
    fn should_emit(&self, seq_hash: SequenceHash) -> bool;
}

/// Events for every hash. The default.
#[derive(Debug, Clone, Default)]
pub struct AllEventsPolicy;

impl AllEventsPolicy {
    /// The policy.
    pub fn new() -> Self {
        Self
    }
}

impl EventEmissionPolicy for AllEventsPolicy {
    fn should_emit(&self, _seq_hash: SequenceHash) -> bool {
        true
    }
}

/// Events for the blocks whose position in their sequence is a power of two in a
/// range.
///
/// A consumer then finds how long a prefix an instance has with a logarithmic
/// number of samples, at a fraction of the events.
///
/// ```
/// use kvbm_lockfree::SequenceHash;
/// use kvbm_lockfree::events::{EventEmissionPolicy, PowerOfTwoPolicy};
///
/// let policy = PowerOfTwoPolicy::with_range(4, 8);
/// let emitting = (0..20).filter(|&position| {
///     policy.should_emit(SequenceHash::new(1, None, position))
/// });
/// assert_eq!(emitting.collect::<Vec<_>>(), [4, 8]);
/// ```
#[derive(Debug, Clone)]
pub struct PowerOfTwoPolicy {
    min_position: u64,
    max_position: u64,
}

impl PowerOfTwoPolicy {
    /// The powers of two from 2⁴ to 2¹⁶.
    pub fn new() -> Self {
        Self::with_range(1 << 4, 1 << 16)
    }

    /// The powers of two from `min_position` to `max_position`, both included, in
    /// blocks.
    pub fn with_range(min_position: u64, max_position: u64) -> Self {
        Self {
            min_position,
            max_position,
        }
    }
}

impl Default for PowerOfTwoPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl EventEmissionPolicy for PowerOfTwoPolicy {
    fn should_emit(&self, seq_hash: SequenceHash) -> bool {
        let position = seq_hash.position();
        position.is_power_of_two() && (self.min_position..=self.max_position).contains(&position)
    }
}
