//! Pins of registered blocks without their metadata type.

use std::fmt;

use crate::engine::Pinned;
use crate::metrics::Counter;
use crate::{ManagerId, SequenceHash};

use super::{BlockId, BlockRegistrationHandle};

/// Identifies a registered block without naming its metadata type.
///
/// `(manager_id, block_id)` is unique among all blocks of all managers in the process.
/// The trait is dyn-compatible, so you can keep blocks of several tiers in one list, and
/// implement it for wrappers of your own.
pub trait LifecyclePin: Send + Sync {
    /// Returns the block's id, which is less than its manager's block count.
    fn block_id(&self) -> BlockId;
    /// Returns the hash that the block is registered under.
    fn sequence_hash(&self) -> SequenceHash;
    /// Returns the id of the block's manager.
    fn manager_id(&self) -> ManagerId;
    /// Returns a handle to the hash in the registry.
    fn registration_handle(&self) -> BlockRegistrationHandle;
}

/// A pin of a registered block that does not name its metadata type.
///
/// It keeps the block active just as an [`ImmutableBlock`](super::ImmutableBlock) does,
/// and lets one list hold blocks of several tiers:
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockMetadata, BlockRegistry, LifecyclePinRef, SequenceHash};
///
/// #[derive(Clone)]
/// struct Gpu;
/// #[derive(Clone)]
/// struct Host;
///
/// fn cache<T: BlockMetadata>(registry: &BlockRegistry, hash: SequenceHash) -> LifecyclePinRef {
///     let manager = BlockManager::<T>::builder()
///         .block_count(8)
///         .block_size(16)
///         .registry(registry.clone())
///         .build()
///         .expect("a valid configuration");
///     let block = manager.allocate_one().expect("8 blocks are free");
///     let block = block.stage(hash, 16).expect("16 is the block size");
///     manager.register_block(block).pin()
/// }
///
/// let registry = BlockRegistry::new();
/// let pins = [
///     cache::<Gpu>(&registry, SequenceHash::root(1)),
///     cache::<Host>(&registry, SequenceHash::root(1)),
/// ];
/// assert_eq!(pins[0].sequence_hash(), pins[1].sequence_hash());
/// assert_ne!(pins[0].manager_id(), pins[1].manager_id());
/// ```
///
/// Cloning is one atomic addition, dropping a clone one atomic exchange.
#[must_use = "dropping the pin unpins the block"]
pub struct LifecyclePinRef(Pinned);

impl LifecyclePinRef {
    pub(super) fn new(hold: Pinned) -> Self {
        hold.store().count(Counter::PinsTaken, 1);
        Self(hold)
    }

    /// Returns the block's id, which is less than its manager's block count.
    pub fn block_id(&self) -> BlockId {
        self.0.slot().id() as BlockId
    }

    /// Returns the hash that the block is registered under.
    pub fn sequence_hash(&self) -> SequenceHash {
        self.0.slot().hash()
    }

    /// Returns the id of the block's manager.
    pub fn manager_id(&self) -> ManagerId {
        self.0.store().id
    }

    /// Returns a handle to the hash in the registry.
    pub fn registration_handle(&self) -> BlockRegistrationHandle {
        self.0.store().handle_of(self.0.slot())
    }

    /// Returns how many pins the block has. See
    /// [`ImmutableBlock::use_count`](super::ImmutableBlock::use_count).
    pub fn use_count(&self) -> usize {
        self.0.slot().word().count() as usize
    }
}

impl LifecyclePin for LifecyclePinRef {
    fn block_id(&self) -> BlockId {
        self.block_id()
    }

    fn sequence_hash(&self) -> SequenceHash {
        self.sequence_hash()
    }

    fn manager_id(&self) -> ManagerId {
        self.manager_id()
    }

    fn registration_handle(&self) -> BlockRegistrationHandle {
        self.registration_handle()
    }
}

impl Clone for LifecyclePinRef {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for LifecyclePinRef {
    fn drop(&mut self) {
        self.0.store().count(Counter::PinsReleased, 1);
    }
}

impl fmt::Debug for LifecyclePinRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LifecyclePinRef")
            .field("manager_id", &self.manager_id())
            .field("block_id", &self.block_id())
            .field("sequence_hash", &self.sequence_hash())
            .finish()
    }
}
