//! The guard of a block without content.

use std::fmt;
use std::marker::PhantomData;

use dynamo_tokens::TokenBlock;

use crate::engine::{Exclusive, Mutable};
use crate::{KvbmSequenceHashProvider, SequenceHash};

use super::{BlockError, BlockId, BlockMetadata, CompleteBlock};

/// A block without content, held by its caller alone.
///
/// Dropping it frees the block.
pub struct MutableBlock<T: BlockMetadata> {
    hold: Exclusive<Mutable>,
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata> MutableBlock<T> {
    #[inline]
    pub(crate) fn new(hold: Exclusive<Mutable>) -> Self {
        Self {
            hold,
            tier: PhantomData,
        }
    }

    /// Gives up the guard but not the block.
    #[inline]
    pub(crate) fn into_hold(self) -> Exclusive<Mutable> {
        self.hold
    }
}

impl<T: BlockMetadata + Sync> MutableBlock<T> {
    /// The block's id: below the manager's block count.
    #[inline]
    pub fn block_id(&self) -> BlockId {
        self.hold.slot().id() as BlockId
    }

    /// Tokens a block.
    #[inline]
    pub fn block_size(&self) -> usize {
        self.hold.store().block_size
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
        Ok(CompleteBlock::new(self.hold.stage(seq_hash)))
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

impl<T: BlockMetadata> fmt::Debug for MutableBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutableBlock")
            .field("block_id", &self.hold.slot().id())
            .finish()
    }
}
