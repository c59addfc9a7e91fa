//! The registry: which sequence hashes are registered, shared by all tiers.
//!
//! A hash is registered while some manager of the [`BlockRegistry`] has a block of
//! it, active or inactive, or somebody has a handle to it: a
//! [`BlockRegistrationHandle`] or a [`WeakBlock`](crate::WeakBlock). The registry
//! tells in which tiers a hash can be found, and carries typed attachments and
//! touch callbacks for as long as it is registered.
//!
//! # How it is built
//!
//! Blocks are found through the managers' own indexes, so that the hot path
//! never comes here. What is kept here is an *entry* for every hash that somebody
//! has asked for a handle to.
//!
//! | file | idea |
//! |---|---|
//! | `attachments` | the store of a hash's typed attachments |
//! | `extras` | attachments and touch callbacks, allocated on first use |
//! | `leftovers` | what an operation leaves to user code, until it is complete |
//! | `tier` | what the registry asks of a tier |
//! | `tiers` | the list of tiers, and which of them have a block of a hash |
//! | `observer` | who is told when registrations begin and end |
//! | `entries` | the entries: their hash table, and how they are freed; a folder |
//! | `core` | what all handles of a registry share |
//! | `registration` | the protocol: when a hash is registered, and when its entry ends |
//! | `typed` | access to the attachments of one type |
//! | `handle` | handles, as users have them |
//!
//! Look-ups, registrations and removals are lock-free; entries are reclaimed by
//! epochs. Hashing is keyed per registry, because sequence hashes are made from
//! user input.

mod attachments;
mod core;
mod entries;
mod extras;
mod handle;
mod leftovers;
mod observer;
mod registration;
#[cfg(all(test, not(kvbm_loom)))]
mod tests;
mod tier;
mod tiers;
mod typed;

use std::any::TypeId;
use std::sync::Arc;

use crate::ids::{BlockMetadata, SequenceHash};
use crate::tinylfu::FrequencyTracker;
use crate::user_code::{Contained, Panics};

pub use attachments::AttachmentError;
pub use handle::BlockRegistrationHandle;
pub use typed::TypedAttachments;

pub(crate) use self::core::Core;
pub(crate) use leftovers::Leftovers;
pub(crate) use observer::Observer;
pub(crate) use tier::Tier;

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
    frequency_tracker: Option<Contained<Arc<dyn FrequencyTracker<u128>>>>,
    observer: Option<Contained<Arc<dyn Observer>>>,
}

impl BlockRegistryBuilder {
    /// A builder of a registry without frequency tracking.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has every hit and every new registration counted by `tracker`.
    pub fn frequency_tracker(mut self, tracker: Arc<dyn FrequencyTracker<u128>>) -> Self {
        let what = "a frequency tracker panicked when it was dropped";
        self.frequency_tracker = Some(Contained::new(what, tracker));
        self
    }

    /// Has the events of all registrations emitted by `manager`.
    ///
    /// A block then costs the registry an entry of 64 bytes, which is made by its
    /// registration.
    #[cfg(feature = "events")]
    pub fn event_manager(self, manager: Arc<crate::events::EventsManager>) -> Self {
        self.observer(manager)
    }

    #[cfg(any(feature = "events", all(test, kvbm_loom)))]
    pub(crate) fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        let what = "an events manager panicked when it was dropped";
        self.observer = Some(Contained::new(what, observer));
        self
    }

    /// Builds the registry, which is empty.
    pub fn build(self) -> BlockRegistry {
        BlockRegistry {
            core: Arc::new(Core::new(
                self.frequency_tracker.map(Contained::into_inner),
                self.observer.map(Contained::into_inner),
            )),
        }
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
    /// Starts building a registry.
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
        let mut leftovers = Leftovers::new();
        self.core.touch(seq_hash, &mut leftovers);
        leftovers.settle();
    }

    /// How often a hash was accessed, as the frequency tracker estimates it;
    /// 0 without one.
    pub fn count(&self, seq_hash: SequenceHash) -> u32 {
        let mut panics = Panics::new();
        let tracker = self.core.tracker();
        let count = tracker.and_then(|it| panics.catch(|| it.count(seq_hash.as_u128())));
        panics.resume();
        count.unwrap_or(0)
    }

    /// Whether each hash has a block of metadata type `T`, active or inactive,
    /// in some manager of this registry; in the order of the input.
    ///
    /// Lock-free; allocates the result. Does not count as an access. See
    /// [`BlockRegistrationHandle::has_block`] for what it means while blocks come
    /// and go; to get hold of a block, match it.
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
        self.core.tiers.presence(seq_hashes, type_ids)
    }

    /// A handle to a hash, which is registered if it was not.
    ///
    /// Counts an access if the hash was not registered. Lock-free; the first
    /// handle to a hash allocates.
    pub fn register_sequence_hash(&self, seq_hash: SequenceHash) -> BlockRegistrationHandle {
        let mut leftovers = Leftovers::new();
        let handle = self.register(seq_hash, &mut leftovers);
        leftovers.settle();
        handle
    }

    fn register(
        &self,
        seq_hash: SequenceHash,
        leftovers: &mut Leftovers,
    ) -> BlockRegistrationHandle {
        let (handle, was_registered) = self.core.handle(self.core.key(seq_hash), leftovers);
        if !was_registered {
            self.core.touch(seq_hash, leftovers);
        }
        BlockRegistrationHandle::new(handle)
    }

    /// Handles to all hashes, in the order of the input; as
    /// [`register_sequence_hash`](Self::register_sequence_hash) for each.
    pub fn register_sequence_hashes(
        &self,
        seq_hashes: impl IntoIterator<Item = SequenceHash>,
    ) -> Vec<BlockRegistrationHandle> {
        let mut leftovers = Leftovers::new();
        let mut panics = Panics::new();
        let mut handles = Vec::new();
        // The iterator is the caller's.
        panics.catch(|| {
            let hashes = seq_hashes.into_iter();
            handles.extend(hashes.map(|hash| self.register(hash, &mut leftovers)));
        });
        leftovers.catch(|| panics.resume());
        leftovers.settle();
        handles
    }

    /// A handle to a hash, if it is registered. If it is and `touch` is set,
    /// counts an access. Lock-free.
    pub fn match_sequence_hash(
        &self,
        seq_hash: SequenceHash,
        touch: bool,
    ) -> Option<BlockRegistrationHandle> {
        let mut leftovers = Leftovers::new();
        let handle = self.core.registered_handle(seq_hash, &mut leftovers);
        if touch && handle.is_some() {
            self.core.touch(seq_hash, &mut leftovers);
        }
        leftovers.settle();
        handle.map(BlockRegistrationHandle::new)
    }

    /// Whether a hash is registered. Lock-free.
    pub fn is_registered(&self, seq_hash: SequenceHash) -> bool {
        self.core.is_registered(self.core.key(seq_hash))
    }

    /// How many hashes are registered: exact while none is registered or
    /// removed.
    ///
    /// Goes through all blocks if several managers share the registry or one has been
    /// [cleared](crate::BlockManager::clear_inactive_pool), and through all hashes that
    /// have handles; otherwise reads a few words for each thread.
    pub fn registered_count(&self) -> usize {
        self.core.len()
    }

    /// The number of entries of hashes that are no longer registered, whose
    /// memory (64 bytes each) waits for readers that may still be looking
    /// at it: a gauge. One relaxed load.
    ///
    /// Only handles leave garbage: an entry is made by the first handle to a hash
    /// (or [`WeakBlock`](crate::WeakBlock)), and becomes garbage when the hash is
    /// no longer registered. Blocks leave none.
    ///
    /// A thread frees some garbage whenever it has made some more, so garbage
    /// does not pile up while handles come and go, with one exception. A thread
    /// that is suspended *inside* a registry operation holds back all garbage made
    /// from then on, until it runs again: on a machine with fewer cores than
    /// threads, what the others make in a time slice. One that is suspended
    /// elsewhere, handles in hand or not, holds back no more than the last 64
    /// pieces it has made itself.
    pub fn pending_garbage(&self) -> u64 {
        self.core.garbage()
    }

    /// Frees what garbage can be freed now, and has a table that has become much
    /// too large for its entries give its memory back. Returns how many entries
    /// are still [pending](Self::pending_garbage).
    ///
    /// Not needed in steady use, where operations on handles free garbage in
    /// passing; for the end of a burst, when no more of them may come for long.
    ///
    /// What it cannot free: what a thread suspended inside a registry operation
    /// may still read, and up to 64 pieces of garbage for every other live thread
    /// that dropped handles, which are that thread's to free, by calling this, by
    /// making more, or by exiting.
    ///
    /// Lock-free. Takes at least 16 rounds, each of which looks at every thread
    /// that uses epochs and frees up to 512 pieces of garbage; never more rounds
    /// than there were entries pending at the call, plus 16. The epochs are those of
    /// `crossbeam_epoch`'s default collector: the calling thread also runs what others
    /// have deferred there.
    pub fn flush_garbage(&self) -> u64 {
        self.core.flush_garbage()
    }

    /// The frequency tracker, if there is one.
    pub fn frequency_tracker(&self) -> Option<Arc<dyn FrequencyTracker<u128>>> {
        self.core.tracker().cloned()
    }
}

impl BlockRegistrationHandle {
    /// Whether the hash is registered in this registry (or a clone of it).
    pub fn is_from_registry(&self, registry: &BlockRegistry) -> bool {
        Arc::ptr_eq(self.core(), registry.core())
    }
}

impl Default for BlockRegistry {
    fn default() -> Self {
        Self::new()
    }
}
