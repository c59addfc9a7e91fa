//! The registry: which sequence hashes are registered, across all tiers.
//!
//! Managers that share a [`BlockRegistry`] are the tiers of one cache: device memory, host
//! memory, disk. The registry knows in which tiers a hash has a block, and carries typed
//! attachments and touch callbacks for as long as the hash is registered.
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
//!
//! #[derive(Clone)]
//! struct Device;
//! #[derive(Clone)]
//! struct Host;
//!
//! let registry = BlockRegistry::new();
//! let device = BlockManager::<Device>::builder()
//!     .block_count(4)
//!     .block_size(16)
//!     .registry(registry.clone())
//!     .build()
//!     .expect("the configuration is valid");
//!
//! let hash = SequenceHash::new(7, None, 0);
//! let block = device.allocate_one().expect("all four blocks are free");
//! let block = device.register_block(block.stage(hash, 16).expect("the block size is 16"));
//!
//! let handle = registry.match_sequence_hash(hash, false).expect("the block is registered");
//! assert!(handle.has_block::<Device>());
//! assert!(!handle.has_block::<Host>());
//!
//! // An inactive block keeps its hash registered.
//! drop((block, handle));
//! assert!(registry.is_registered(hash));
//!
//! device.reset_inactive_pool().expect("no block is in use");
//! assert!(!registry.is_registered(hash));
//! ```
//!
//! # When is a hash registered?
//!
//! While it has a handle or a block. A handle is a [`BlockRegistrationHandle`] or a
//! [`WeakBlock`](crate::WeakBlock). A block counts in any manager of the registry, whether
//! it is active or inactive. When the last of them is gone, the registration ends and its
//! attachments and callbacks are dropped.
//!
//! # What does it cost?
//!
//! Blocks are found in the managers' own indexes, so the hot path bypasses the registry. It
//! keeps an *entry*, of 64 bytes, only for a hash to which a handle has been requested. (With
//! an events manager, every registered hash has an entry.)
//!
//! Lookups, registrations and removals are lock-free. Entries are reclaimed by epochs. A
//! hash's attachments and callbacks are each behind a per-hash lock, which no operation on
//! blocks takes. Hashing is keyed per registry, because sequence hashes are computed from user
//! input.
//!
//! # When does my code run?
//!
//! Drops of attachments, touch callbacks and the frequency tracker run on the thread whose
//! operation causes them. Drops and callbacks run when that operation is complete and holds
//! no lock, so they may use the registry and the managers. If one of them panics, the
//! operation still completes, and the first panic then resumes in its caller. (Closures
//! given to [`TypedAttachments`] are different: they run with that handle's attachments
//! locked.)
//!
//! # How does it work?
//!
//! | file | idea |
//! |---|---|
//! | `attachments` | stores the typed attachments of a hash |
//! | `extras` | attachments and touch callbacks, allocated on first use |
//! | `leftovers` | deferred user code: drops that an operation runs when it is complete |
//! | `tier` | what the registry asks of a tier |
//! | `tiers` | the list of tiers, and which of them have a block of a hash |
//! | `observer` | is told when registrations begin and end |
//! | `entries/` | the entries: their hash table, and how they are freed |
//! | `core` | the state that all handles of a registry share |
//! | `registration` | the protocol: when a hash is registered, and when its entry ends |
//! | `typed` | access to the attachments of one type |
//! | `handle` | the public handle |
//! | `tests` | tests of several of these files together |

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
use std::fmt;
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
/// use kvbm_lockfree::manager::FrequencyTrackingCapacity;
/// use kvbm_lockfree::{BlockRegistry, SequenceHash};
///
/// let registry = BlockRegistry::builder()
///     .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
///     .build();
/// assert!(registry.has_frequency_tracking());
///
/// let hash = SequenceHash::new(7, None, 0);
/// registry.touch(hash);
/// assert!(registry.count(hash) > 0);
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing until it builds a registry"]
pub struct BlockRegistryBuilder {
    frequency_tracker: Option<Contained<Arc<dyn FrequencyTracker<u128>>>>,
    observer: Option<Contained<Arc<dyn Observer>>>,
}

impl BlockRegistryBuilder {
    /// Creates a builder for a registry without frequency tracking.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the frequency tracker, which counts every hit and every new registration.
    pub fn frequency_tracker(mut self, tracker: Arc<dyn FrequencyTracker<u128>>) -> Self {
        let what = "a frequency tracker panicked when it was dropped";
        self.frequency_tracker = Some(Contained::new(what, tracker));
        self
    }

    /// Sets the events manager, which emits the events of all registrations.
    ///
    /// Every registered hash then has an entry of 64 bytes in the registry, which its
    /// registration allocates.
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
    #[must_use]
    pub fn build(self) -> BlockRegistry {
        BlockRegistry {
            core: Arc::new(Core::new(
                self.frequency_tracker.map(Contained::into_inner),
                self.observer.map(Contained::into_inner),
            )),
        }
    }
}

impl fmt::Debug for BlockRegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockRegistryBuilder")
            .field("has_frequency_tracker", &self.frequency_tracker.is_some())
            .field("has_observer", &self.observer.is_some())
            .finish()
    }
}

/// A registry of sequence hashes, shared by all tiers: see the [module](self).
///
/// Cloning returns another reference to the same registry and costs one atomic increment.
///
/// ```
/// use kvbm_lockfree::{BlockRegistry, SequenceHash};
///
/// let registry = BlockRegistry::new();
/// let hash = SequenceHash::new(7, None, 0);
/// assert!(!registry.is_registered(hash));
///
/// // A handle keeps its hash registered.
/// let handle = registry.register_sequence_hash(hash);
/// assert!(registry.is_registered(hash));
/// assert_eq!(registry.registered_count(), 1);
///
/// drop(handle);
/// assert!(registry.match_sequence_hash(hash, false).is_none());
/// ```
#[derive(Clone)]
pub struct BlockRegistry {
    core: Arc<Core>,
}

impl BlockRegistry {
    /// Creates a builder.
    pub fn builder() -> BlockRegistryBuilder {
        BlockRegistryBuilder::new()
    }

    /// Creates an empty registry without frequency tracking.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    #[inline]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Returns whether the registry has a frequency tracker.
    pub fn has_frequency_tracking(&self) -> bool {
        self.core.tracker().is_some()
    }

    /// Counts an access to a hash, registered or not. Does nothing without a frequency
    /// tracker.
    pub fn touch(&self, seq_hash: SequenceHash) {
        let mut leftovers = Leftovers::new();
        self.core.touch(seq_hash, &mut leftovers);
        leftovers.settle();
    }

    /// Returns the frequency tracker's estimate of how often a hash was accessed, or 0
    /// without a tracker.
    pub fn count(&self, seq_hash: SequenceHash) -> u32 {
        let mut panics = Panics::new();
        let tracker = self.core.tracker();
        let count = tracker.and_then(|it| panics.catch(|| it.count(seq_hash.as_u128())));
        panics.resume();
        count.unwrap_or(0)
    }

    /// Returns, for each hash, whether it has a block of metadata type `T`, active or
    /// inactive, in some manager of this registry. The result is in the order of the input.
    ///
    /// Lock-free. Allocates the result. Does not count as an access. While blocks are
    /// registered and evicted concurrently, each answer means what
    /// [`BlockRegistrationHandle::has_block`] says; to hold on to a block, match it.
    ///
    /// ```
    /// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
    ///
    /// #[derive(Clone)]
    /// struct Device;
    ///
    /// let registry = BlockRegistry::new();
    /// let manager = BlockManager::<Device>::builder()
    ///     .block_count(4)
    ///     .block_size(16)
    ///     .registry(registry.clone())
    ///     .build()
    ///     .expect("the configuration is valid");
    /// let [cached, missing] = [7, 8].map(|content| SequenceHash::new(content, None, 0));
    /// let block = manager.allocate_one().expect("all four blocks are free");
    /// let _block = manager.register_block(block.stage(cached, 16).expect("the block size is 16"));
    ///
    /// let presence = registry.check_presence::<Device>(&[cached, missing]);
    /// assert_eq!(presence, [(cached, true), (missing, false)]);
    /// ```
    pub fn check_presence<T: BlockMetadata>(
        &self,
        seq_hashes: &[SequenceHash],
    ) -> Vec<(SequenceHash, bool)> {
        self.check_presence_any(seq_hashes, &[TypeId::of::<T>()])
    }

    /// Returns, for each hash, whether it has a block of any of several metadata types.
    /// Otherwise the same as [`check_presence`](Self::check_presence).
    pub fn check_presence_any(
        &self,
        seq_hashes: &[SequenceHash],
        type_ids: &[TypeId],
    ) -> Vec<(SequenceHash, bool)> {
        self.core.tiers.presence(seq_hashes, type_ids)
    }

    /// Returns a handle to a hash, which begins its registration if it was not registered.
    ///
    /// Counts an access if the hash was not registered. Lock-free. The first handle to a
    /// hash takes the memory of an entry that has ended, or allocates its entry if there is
    /// none to spare.
    #[must_use = "dropping the handle may end the registration"]
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
        let (handle, is_access) = self.core.handle(self.core.key(seq_hash), leftovers);
        if is_access {
            self.core.touch(seq_hash, leftovers);
        }
        BlockRegistrationHandle::new(handle)
    }

    /// Returns a handle to each hash, in the order of the input, as
    /// [`register_sequence_hash`](Self::register_sequence_hash) does for one.
    ///
    /// # Panics
    ///
    /// If the iterator panics. The handles created so far are then dropped.
    #[must_use = "dropping the handles may end the registrations"]
    pub fn register_sequence_hashes(
        &self,
        seq_hashes: impl IntoIterator<Item = SequenceHash>,
    ) -> Vec<BlockRegistrationHandle> {
        let mut leftovers = Leftovers::new();
        let mut panics = Panics::new();
        let mut handles = Vec::new();
        // User code: the iterator belongs to the caller.
        panics.catch(|| {
            let hashes = seq_hashes.into_iter();
            handles.extend(hashes.map(|hash| self.register(hash, &mut leftovers)));
        });
        leftovers.catch(|| panics.resume());
        leftovers.settle();
        handles
    }

    /// Returns a handle to a hash, or `None` if the hash is not registered. With `touch`, a
    /// registered hash is also counted as accessed.
    ///
    /// Lock-free. Allocates if the hash has a block but no entry.
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

    /// Returns whether a hash is registered. Lock-free.
    pub fn is_registered(&self, seq_hash: SequenceHash) -> bool {
        self.core.is_registered(self.core.key(seq_hash))
    }

    /// Returns the number of registered hashes. Exact while no registration begins or ends.
    ///
    /// # What does it cost?
    ///
    /// Visits all hashes that have handles. Visits all blocks, too, if several managers
    /// share the registry or one of them has been
    /// [cleared](crate::BlockManager::clear_inactive_pool); otherwise reads a few words per
    /// thread.
    pub fn registered_count(&self) -> usize {
        self.core.len()
    }

    /// Returns the number of entries that have ended and whose memory (64 bytes each) is not
    /// freed yet. This is a gauge: one relaxed load.
    ///
    /// # What leaves garbage?
    ///
    /// Handles do. An entry is allocated for the first handle to a hash (or
    /// [`WeakBlock`](crate::WeakBlock)), and becomes garbage when the hash is no longer
    /// registered. Blocks leave none, except in a registry with an events manager, where
    /// every registered hash has an entry.
    ///
    /// # How much can there be?
    ///
    /// Ended entries are not freed at once, because a reader may still be looking at them.
    /// Every sixteenth operation that ends an entry frees up to 64 that no reader can see any
    /// more, or keeps them to be used again: up to 128 of them, which are no garbage. What the
    /// last operations leave stays until further ones run, or until
    /// [`flush_garbage`](Self::flush_garbage). So garbage does not accumulate while handles
    /// are created and dropped, with one exception. A thread that is suspended *inside* a
    /// registry operation holds back everything that becomes garbage from then on, until it
    /// runs again. On a machine with fewer cores than threads, that is what the others produce
    /// in a time slice. A thread that is suspended elsewhere holds back nothing, whatever
    /// handles it owns. (The epochs are those of `crossbeam_epoch`'s default collector, so
    /// other code that pins a thread there holds back garbage as well.)
    pub fn pending_garbage(&self) -> u64 {
        self.core.garbage()
    }

    /// Frees all garbage that can be freed now, and shrinks the entry table if it has become
    /// much too large. Returns the number of entries that are still
    /// [pending](Self::pending_garbage).
    ///
    /// # When do I need it?
    ///
    /// Not in steady use, where operations on handles free garbage in passing. Call it after
    /// a burst, if no further operations on handles are expected for a while.
    ///
    /// # What can it not free?
    ///
    /// What a thread suspended inside a registry operation may still read. If that thread
    /// was in the middle of freeing garbage itself, none can be freed until it continues.
    ///
    /// # What does it cost?
    ///
    /// Lock-free. Takes at least 16 rounds, each of which looks at every thread that uses
    /// epochs and frees up to 512 entries; and at most as many rounds as there were entries
    /// pending at the call, plus 16. The epochs are those of `crossbeam_epoch`'s default
    /// collector, so the calling thread also runs what others have deferred there.
    pub fn flush_garbage(&self) -> u64 {
        self.core.flush_garbage()
    }

    /// Returns the frequency tracker, if there is one.
    pub fn frequency_tracker(&self) -> Option<Arc<dyn FrequencyTracker<u128>>> {
        self.core.tracker().cloned()
    }
}

impl BlockRegistrationHandle {
    /// Returns whether the handle belongs to this registry, or to a clone of it.
    pub fn is_from_registry(&self, registry: &BlockRegistry) -> bool {
        std::ptr::eq(self.core(), Arc::as_ptr(registry.core()))
    }
}

impl fmt::Debug for BlockRegistry {
    /// Shows only what is read at once: counting the registered hashes may take long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockRegistry")
            .field("entries", &self.core.entries.count())
            .field("has_frequency_tracker", &self.has_frequency_tracking())
            .finish_non_exhaustive()
    }
}

impl Default for BlockRegistry {
    fn default() -> Self {
        Self::new()
    }
}
