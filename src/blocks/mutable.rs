//! The guard of a block without content.

use std::fmt;
use std::marker::PhantomData;

use dynamo_tokens::TokenBlock;

use crate::engine::{Exclusive, Mutable};
use crate::{KvbmSequenceHashProvider, SequenceHash};

use super::{BlockError, BlockId, BlockMetadata, CompleteBlock};

/// A block without content, held exclusively.
///
/// [`BlockManager::allocate_blocks`](crate::BlockManager::allocate_blocks) and its relatives
/// return mutable blocks. Compute into the memory that the [id](Self::block_id) stands for,
/// then name the content with [`complete`](Self::complete) or [`stage`](Self::stage).
/// Dropping the guard frees the block.
///
/// ```
/// use dynamo_tokens::TokenBlockSequence;
/// use kvbm_lockfree::{BlockManager, BlockRegistry, KvbmSequenceHashProvider};
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(16)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// let tokens = TokenBlockSequence::from_slice(&(0..16).collect::<Vec<_>>(), 16, None);
/// let tokens = &tokens.blocks()[0];
///
/// let block = manager.allocate_one().expect("8 blocks are free");
/// assert!(block.block_id() < 8);
/// let block = block.complete(tokens).expect("the token block has 16 tokens");
/// assert_eq!(block.sequence_hash(), tokens.kvbm_sequence_hash());
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
#[must_use = "dropping a mutable block frees it"]
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

    /// Turns the guard into its hold, without freeing the block.
    #[inline]
    pub(crate) fn into_hold(self) -> Exclusive<Mutable> {
        self.hold
    }
}

impl<T: BlockMetadata + Sync> MutableBlock<T> {
    /// Returns the block's id, which is less than the manager's block count.
    #[inline]
    pub fn block_id(&self) -> BlockId {
        self.hold.slot().id() as BlockId
    }

    /// Returns the number of tokens per block.
    #[inline]
    pub fn block_size(&self) -> usize {
        self.hold.store().block_size
    }

    /// Names the block's content by its hash. `block_size` is the number of tokens that
    /// were hashed. No lock, no allocation, no write to memory that threads share.
    ///
    /// # Errors
    ///
    /// [`BlockError::BlockSizeMismatch`], which returns the block, if `block_size` differs
    /// from the manager's.
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

    /// Names the block's content by the hash of a token block. Otherwise the same as
    /// [`stage`](Self::stage).
    ///
    /// # Errors
    ///
    /// [`BlockError::BlockSizeMismatch`], which returns the block, if the size of the token
    /// block differs from the manager's.
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
