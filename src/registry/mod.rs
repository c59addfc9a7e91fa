//! The registry: which sequence hashes are registered, shared by all tiers.
//!
//! A [`BlockRegistry`] maps sequence hashes to entries. An entry lives as long as
//! something refers to it: a block in some manager, active or inactive, a
//! [`BlockRegistrationHandle`], or a [`WeakBlock`](crate::WeakBlock). It counts
//! the blocks of each metadata type, so that one look-up tells in which tiers a
//! hash can be found, and carries typed attachments and touch callbacks.
//!
//! Which *block* holds a hash is not the registry's business: every manager has
//! an index of its own for that, and matching does not come here at all.
//!
//! # How it is built
//!
//! | file | idea |
//! |---|---|
//! | `table` | the hash table: a split-ordered list that grows and shrinks without stopping anyone |
//! | `entry` | what is known of one hash, in one cache line |
//! | `recycle` | entries are used again after their grace period |
//! | `extras` | what few entries have, allocated on first use |
//! | `core` | the three together: registering, looking up, and the end of an entry |
//!
//! Look-ups, registrations and removals are lock-free. Look-ups and
//! registrations of a batch pin the epoch once. Hashing is keyed per registry,
//! because sequence hashes are made from user input.

mod attachments;
mod core;
mod entry;
mod extras;
mod handle;
mod recycle;
mod table;
mod tally;

use std::any::TypeId;
use std::sync::Arc;

use crossbeam_epoch as epoch;

use crate::SequenceHash;
use crate::blocks::BlockMetadata;
use crate::tinylfu::FrequencyTracker;

pub use attachments::{AttachmentError, TypedAttachments};
pub use handle::BlockRegistrationHandle;

pub(crate) use self::core::{Core, MAX_TIERS};
pub(crate) use entry::Entry;

/// Builds a [`BlockRegistry`].
///
/// ```
/// use kvbm_lockfree::BlockRegistry;
/// use kvbm_lockfree::manager::FrequencyTrackingCapacity;
///
/// let registry = BlockRegistry::builder()
///     .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
///     .build();
/// assert!(registry.has_frequency_tracking());
/// ```
#[derive(Default)]
pub struct BlockRegistryBuilder {
    frequency_tracker: Option<Arc<dyn FrequencyTracker<u128>>>,
}

impl BlockRegistryBuilder {
    /// No frequency tracking.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every hit and every new registration counted by `tracker`.
    pub fn frequency_tracker(mut self, tracker: Arc<dyn FrequencyTracker<u128>>) -> Self {
        self.frequency_tracker = Some(tracker);
        self
    }

    /// The registry, empty.
    pub fn build(self) -> BlockRegistry {
        BlockRegistry { core: Arc::new(Core::new(self.frequency_tracker)) }
    }
}

/// Which sequence hashes are registered: see the [module](self).
///
/// Cloning gives another handle to the same registry.
#[derive(Clone)]
pub struct BlockRegistry {
    core: Arc<Core>,
}

impl BlockRegistry {
    /// A builder.
    pub fn builder() -> BlockRegistryBuilder {
        BlockRegistryBuilder::new()
    }

    /// An empty registry without frequency tracking.
    pub fn new() -> Self {
        Self::builder().build()
    }

    #[inline]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Whether the registry has a frequency tracker.
    pub fn has_frequency_tracking(&self) -> bool {
        self.core.tracker().is_some()
    }

    /// Counts an access of a hash, registered or not. Does nothing without a
    /// frequency tracker.
    pub fn touch(&self, seq_hash: SequenceHash) {
        self.core.touch(seq_hash);
    }

    /// How often a hash was accessed, as the frequency tracker estimates it;
    /// 0 without one.
    pub fn count(&self, seq_hash: SequenceHash) -> u32 {
        self.core.tracker().map_or(0, |tracker| tracker.count(seq_hash.as_u128()))
    }

    /// Whether each hash has a block of metadata type `T`, active or inactive,
    /// in some manager of this registry; in the order of the input.
    ///
    /// Lock-free, under one epoch pin. Allocates the result. Does not count as
    /// an access. See [`BlockRegistrationHandle::has_block`] for what it means
    /// while blocks come and go; to get hold of a block, match it.
    pub fn check_presence<T: BlockMetadata>(
        &self,
        seq_hashes: &[SequenceHash],
    ) -> Vec<(SequenceHash, bool)> {
        self.check_presence_any(seq_hashes, &[TypeId::of::<T>()])
    }

    /// As [`check_presence`](Self::check_presence), for any of several metadata
    /// types.
    pub fn check_presence_any(
        &self,
        seq_hashes: &[SequenceHash],
        type_ids: &[TypeId],
    ) -> Vec<(SequenceHash, bool)> {
        let tiers: Vec<usize> = type_ids
            .iter()
            .filter_map(|&type_id| self.core.known_tier(type_id))
            .collect();
        let guard = &epoch::pin();
        seq_hashes
            .iter()
            .map(|&hash| {
                (hash, self.core.is_present(self.core.key(hash), &tiers, guard))
            })
            .collect()
    }

    /// A handle to a hash, which is registered if it was not.
    ///
    /// Counts an access if the hash was not registered. Lock-free; allocates
    /// only if no removed entry can be used again.
    pub fn register_sequence_hash(&self, seq_hash: SequenceHash) -> BlockRegistrationHandle {
        let guard = &epoch::pin();
        let (entry, is_new) = self.core.register(self.core.key(seq_hash), guard);
        let handle = BlockRegistrationHandle::from_acquired(entry, Arc::clone(&self.core));
        if is_new {
            self.core.touch(seq_hash);
        }
        handle
    }

    /// Handles to all hashes, in the order of the input; as
    /// [`register_sequence_hash`](Self::register_sequence_hash) for each.
    pub fn register_sequence_hashes(
        &self,
        seq_hashes: impl IntoIterator<Item = SequenceHash>,
    ) -> Vec<BlockRegistrationHandle> {
        seq_hashes
            .into_iter()
            .map(|hash| self.register_sequence_hash(hash))
            .collect()
    }

    /// A handle to a hash, if it is registered. If it is and `touch` is set,
    /// counts an access. Lock-free.
    pub fn match_sequence_hash(
        &self,
        seq_hash: SequenceHash,
        touch: bool,
    ) -> Option<BlockRegistrationHandle> {
        let handle = {
            let guard = &epoch::pin();
            let entry = self.core.acquire(self.core.key(seq_hash), guard)?;
            BlockRegistrationHandle::from_acquired(entry, Arc::clone(&self.core))
        };
        if touch {
            self.core.touch(seq_hash);
        }
        Some(handle)
    }

    /// Whether a hash is registered. Lock-free.
    pub fn is_registered(&self, seq_hash: SequenceHash) -> bool {
        let guard = &epoch::pin();
        self.core.find(self.core.key(seq_hash), guard).is_some()
    }

    /// How many hashes are registered: exact while none is registered or
    /// removed. Reads a row of counters for every thread.
    pub fn registered_count(&self) -> usize {
        self.core.len()
    }

    /// Entries that have been removed and whose memory waits for readers that may
    /// still be looking at it: a gauge. Stays below a few hundred for each thread
    /// that removes, unless a thread is suspended inside a look-up.
    pub fn pending_garbage(&self) -> u64 {
        self.core.pending_garbage()
    }

    /// The frequency tracker, if there is one.
    pub fn frequency_tracker(&self) -> Option<Arc<dyn FrequencyTracker<u128>>> {
        self.core.tracker().cloned()
    }
}

impl Default for BlockRegistry {
    fn default() -> Self {
        Self::new()
    }
}
