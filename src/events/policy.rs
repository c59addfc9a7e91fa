//! Which hashes emit events?
//!
//! An [`EventEmissionPolicy`] decides. [`AllEventsPolicy`] emits events for all of them;
//! [`PowerOfTwoPolicy`] samples positions, which cuts traffic; and you can write your own.

use crate::SequenceHash;

/// Decides which hashes emit events.
///
/// The policy is called once per registration, on the registering thread, so it should be
/// fast. Its answer holds until the registration ends. If it panics, the registration emits
/// no events, and the panic reaches the caller after the rest of the operation is complete.
///
/// ```
/// use std::sync::Arc;
///
/// use kvbm_lockfree::SequenceHash;
/// use kvbm_lockfree::events::{EventEmissionPolicy, EventsManager};
///
/// /// Emits events for the first block of every sequence.
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
    /// Returns whether registrations of this hash emit events.
    fn should_emit(&self, seq_hash: SequenceHash) -> bool;
}

/// Emits events for every hash. This is the default.
///
/// ```
/// use kvbm_lockfree::SequenceHash;
/// use kvbm_lockfree::events::{AllEventsPolicy, EventEmissionPolicy};
///
/// assert!(AllEventsPolicy::new().should_emit(SequenceHash::new(7, None, 0)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct AllEventsPolicy;

impl AllEventsPolicy {
    /// Creates the policy.
    pub fn new() -> Self {
        Self
    }
}

impl EventEmissionPolicy for AllEventsPolicy {
    fn should_emit(&self, _seq_hash: SequenceHash) -> bool {
        true
    }
}

/// Emits events for blocks whose position in their sequence is a power of two within a
/// range.
///
/// A consumer can still estimate how long a prefix an instance holds, from a logarithmic
/// number of samples and a fraction of the events.
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
    /// Creates a policy for the powers of two from 2⁴ to 2¹⁶.
    pub fn new() -> Self {
        Self::with_range(1 << 4, 1 << 16)
    }

    /// Creates a policy for the powers of two from `min_position` to `max_position`, both
    /// inclusive and counted in blocks.
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
