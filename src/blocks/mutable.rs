//! The guard of a block without content.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use dynamo_tokens::TokenBlock;

use crate::engine::{Slot, Store};
use crate::{KvbmSequenceHashProvider, SequenceHash};

use super::{BlockError, BlockId, BlockMetadata, CompleteBlock};

/// A block without content, held by its caller alone.
///
/// Dropping it frees the block.
pub struct MutableBlock<T: BlockMetadata> {
    slot: NonNull<Slot>,
    tier: PhantomData<fn() -> T>,
}

// SAFETY: the guard owns its block, slots are made of atomics, and a block may
// be freed on any thread. No `T` is kept.
unsafe impl<T: BlockMetadata> Send for MutableBlock<T> {}
// SAFETY: as above; nothing can be done with a shared guard but read constants.
unsafe impl<T: BlockMetadata> Sync for MutableBlock<T> {}

impl<T: BlockMetadata> MutableBlock<T> {
    /// Takes over an allocated block: its exclusive ownership and its credit.
    #[inline]
    pub(crate) fn new(slot: &Slot) -> Self {
        Self {
            slot: NonNull::from(slot),
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

    /// Hands the block over, if the block is `store`'s; else drops it.
    #[inline]
    pub(crate) fn into_slot_of(self, store: &Store) -> Option<&Slot> {
        let index = self.slot().id() as usize;
        if !std::ptr::eq(self.store(), store) {
            return None;
        }
        std::mem::forget(self);
        Some(store.slot(index))
    }

    fn into_slot(self) -> NonNull<Slot> {
        let slot = self.slot;
        std::mem::forget(self);
        slot
    }
}

impl<T: BlockMetadata + Sync> MutableBlock<T> {
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

    /// Names the content of the block. No lock, no allocation, no shared write.
    ///
    /// # Errors
    ///
    /// [`BlockError::BlockSizeMismatch`], with the block, if `block_size` is not
    /// the manager's.
    #[inline]
    pub fn stage(
        self,
        seq_hash: SequenceHash,
        block_size: usize,
    ) -> Result<CompleteBlock<T>, BlockError<MutableBlock<T>>> {
        let expected = self.block_size();
        if block_size != expected {
            return Err(BlockError::BlockSizeMismatch {
                expected,
                actual: block_size,
                block: self,
            });
        }
        self.store().stage(self.slot(), seq_hash);
        Ok(CompleteBlock::new(self.into_slot()))
    }

    /// Names the content of the block by a token block's hash.
    ///
    /// # Errors
    ///
    /// [`BlockError::BlockSizeMismatch`], with the block, if the token block has
    /// another size than the manager's blocks.
    pub fn complete(
        self,
        token_block: &TokenBlock,
    ) -> Result<CompleteBlock<T>, BlockError<MutableBlock<T>>> {
        self.stage(token_block.kvbm_sequence_hash(), token_block.block_size())
    }
}

impl<T: BlockMetadata> Drop for MutableBlock<T> {
    #[inline]
    fn drop(&mut self) {
        Store::free_mutable(self.slot());
    }
}

impl<T: BlockMetadata> fmt::Debug for MutableBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutableBlock")
            .field("block_id", &self.slot().id())
            .finish()
    }
}
