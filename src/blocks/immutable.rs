//! The guard of a registered block.

use std::fmt;
use std::marker::PhantomData;

use crate::SequenceHash;
use crate::engine::{Pinned, Store};
use crate::retention::Retention;

use super::{BlockId, BlockMetadata, BlockRegistrationHandle, LifecyclePinRef, WeakBlock};

/// A registered block that stays what it is while this guard lives.
///
/// Clones share the block. When the last holder (guard, clone or lifecycle pin)
/// is dropped, a primary becomes inactive: it can still be matched, until it is
/// evicted. A duplicate becomes free.
///
/// What was done with the block's content before it was registered happens before
/// any match of it returns, and what a holder did with it happens before the
/// block is handed out again.
pub struct ImmutableBlock<T: BlockMetadata> {
    hold: Pinned,
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata> ImmutableBlock<T> {
    #[inline]
    pub(crate) fn new(hold: Pinned) -> Self {
        Self {
            hold,
            tier: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn hold(&self) -> &Pinned {
        &self.hold
    }

    /// Gives up the guard but not the pin.
    #[inline]
    pub(crate) fn into_hold(self) -> Pinned {
        self.hold
    }

    /// Whether the block is `store`'s.
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        self.hold.is_of(store)
    }
}

impl<T: BlockMetadata + Sync> ImmutableBlock<T> {
    /// A reference that does not keep the block from being evicted.
    pub fn downgrade(&self) -> WeakBlock<T> {
        WeakBlock::new(self)
    }

    /// The block's id: below the manager's block count. Different from that of
    /// the block a registration was given if that was refused as a duplicate.
    #[inline]
    pub fn block_id(&self) -> BlockId {
        self.hold.slot().id() as BlockId
    }

    /// The hash the block is registered under.
    #[inline]
    pub fn sequence_hash(&self) -> SequenceHash {
        self.hold.slot().hash()
    }

    /// A handle to the hash in the registry, which outlives the block.
    pub fn registration_handle(&self) -> BlockRegistrationHandle {
        self.hold.store().handle_of(self.hold.slot())
    }

    /// Holders of the block: guards, lifecycle pins, and, of a primary, its
    /// duplicates. Of this instant, for metrics and tests.
    pub fn use_count(&self) -> usize {
        self.hold.slot().word().count() as usize
    }

    /// Sets whether the block is freed, rather than becoming inactive, when its
    /// last holder drops it. Holds for as long as the block is registered, for
    /// later holders too; the manager's default is set when it is built.
    pub fn set_evict_on_reset(&self, value: bool) {
        self.hold.slot().set_reset(value);
    }

    /// Gives the block's content a [retention directive](crate::retention), in place of
    /// the one it has. Through a duplicate: that of its primary.
    ///
    /// Lock-free, but for the first directive of the manager, which allocates the table
    /// for them.
    pub fn set_retention(&self, retention: Retention) {
        self.hold.store().retain(self.hold.slot(), retention);
    }

    /// The directive for the block's content, with the duration that is left of it.
    pub fn retention(&self) -> Retention {
        self.hold.store().retention(self.hold.slot())
    }

    /// A holder of the block without its metadata type. One atomic add.
    pub fn pin(&self) -> LifecyclePinRef {
        LifecyclePinRef::new(self.hold.clone())
    }
}

impl<T: BlockMetadata + Sync> Clone for ImmutableBlock<T> {
    #[inline]
    fn clone(&self) -> Self {
        Self::new(self.hold.clone())
    }
}

impl<T: BlockMetadata> fmt::Debug for ImmutableBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImmutableBlock")
            .field("block_id", &self.hold.slot().id())
            .field("sequence_hash", &self.hold.slot().hash())
            .finish()
    }
}
