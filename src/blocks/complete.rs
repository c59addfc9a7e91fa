//! The guard of a block whose content is named and not registered.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::SequenceHash;
use crate::engine::{Slot, Store};
use crate::metrics::Counter;

use super::{BlockId, BlockMetadata, MutableBlock};

/// A block whose content is named, held by its caller alone, that nobody can
/// match yet.
///
/// Dropping it frees the block.
pub struct CompleteBlock<T: BlockMetadata> {
    slot: NonNull<Slot>,
    tier: PhantomData<fn() -> T>,
}

// SAFETY: as for `MutableBlock`.
unsafe impl<T: BlockMetadata> Send for CompleteBlock<T> {}
// SAFETY: as for `MutableBlock`.
unsafe impl<T: BlockMetadata> Sync for CompleteBlock<T> {}

impl<T: BlockMetadata> CompleteBlock<T> {
    /// Takes over the block of a mutable guard.
    #[inline]
    pub(super) fn new(slot: NonNull<Slot>) -> Self {
        Self {
            slot,
            tier: PhantomData,
        }
    }

    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: slots live as long as their store, and the store as long as
        // one of its blocks is held.
        unsafe { self.slot.as_ref() }
    }

    #[inline]
    fn store(&self) -> &Store {
        // SAFETY: as above.
        unsafe { Store::of(self.slot()) }
    }

    /// Gives up the guard but not the block.
    #[inline]
    pub(crate) fn into_slot(self) -> NonNull<Slot> {
        let slot = self.slot;
        std::mem::forget(self);
        slot
    }

    /// Whether the block is one of this store's.
    #[inline]
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        std::ptr::eq(self.store(), store)
    }
}

impl<T: BlockMetadata + Sync> CompleteBlock<T> {
    /// The block's id: below the manager's block count.
    #[inline]
    pub fn block_id(&self) -> BlockId {
        self.slot().id() as BlockId
    }

    /// Tokens a block.
    #[inline]
    pub fn block_size(&self) -> usize {
        self.store().block_size
    }

    /// The hash given by [`stage`](MutableBlock::stage).
    #[inline]
    pub fn sequence_hash(&self) -> SequenceHash {
        self.slot().hash()
    }

    /// Forgets the content: the same block, mutable again.
    pub fn reset(self) -> MutableBlock<T> {
        self.store().count(Counter::Unstaged, 1);
        let slot = self.into_slot();
        // SAFETY: the guard's block is handed over; see `slot`.
        MutableBlock::new(unsafe { slot.as_ref() })
    }
}

impl<T: BlockMetadata> Drop for CompleteBlock<T> {
    #[inline]
    fn drop(&mut self) {
        Store::free(self.slot());
    }
}

impl<T: BlockMetadata> fmt::Debug for CompleteBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompleteBlock")
            .field("block_id", &self.slot().id())
            .field("seq_hash", &self.slot().hash())
            .finish()
    }
}
