//! Holders of a block without its metadata type.

use std::fmt;

use crate::engine::Pinned;
use crate::metrics::Counter;
use crate::{ManagerId, SequenceHash};

use super::{BlockId, BlockRegistrationHandle};

/// What can be known of a registered block without its metadata type.
///
/// `(manager_id, block_id)` addresses the block among all managers of the
/// process.
pub trait LifecyclePin: Send + Sync {
    /// The block's id: below its manager's block count.
    fn block_id(&self) -> BlockId;
    /// The hash the block is registered under.
    fn sequence_hash(&self) -> SequenceHash;
    /// The block's manager.
    fn manager_id(&self) -> ManagerId;
    /// A handle to the hash in the registry.
    fn registration_handle(&self) -> BlockRegistrationHandle;
}

/// A holder of a registered block, as an
/// [`ImmutableBlock`](super::ImmutableBlock) is, without its metadata type: for
/// lists that mix the blocks of several tiers.
///
/// Cloning is one atomic add, dropping one atomic subtraction.
pub struct LifecyclePinRef(Pinned);

impl LifecyclePinRef {
    pub(super) fn new(hold: Pinned) -> Self {
        hold.store().count(Counter::PinsTaken, 1);
        Self(hold)
    }

    /// The block's id: below its manager's block count.
    pub fn block_id(&self) -> BlockId {
        self.0.slot().id() as BlockId
    }

    /// The hash the block is registered under.
    pub fn sequence_hash(&self) -> SequenceHash {
        self.0.slot().hash()
    }

    /// The block's manager.
    pub fn manager_id(&self) -> ManagerId {
        self.0.store().id
    }

    /// A handle to the hash in the registry.
    pub fn registration_handle(&self) -> BlockRegistrationHandle {
        self.0.store().handle_of(self.0.slot())
    }

    /// Holders of the block, as
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
