//! The guard of a block that has a content hash and is not registered yet.

use std::fmt;
use std::marker::PhantomData;

use crate::SequenceHash;
use crate::engine::{Complete, Exclusive, Store};
use crate::key::Key;

use super::{BlockId, BlockMetadata, MutableBlock};

/// A block with a content hash, held exclusively, that cannot be matched yet.
///
/// Pass it to [`BlockManager::register_block`](crate::BlockManager::register_block) once
/// its tokens are computed. Dropping it frees the block.
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(16)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// let hash = SequenceHash::root(1);
/// let block = manager.allocate_one().expect("8 blocks are free");
/// let block = block.stage(hash, 16).expect("16 is the manager's block size");
/// assert_eq!(block.sequence_hash(), hash);
/// assert!(manager.match_one(hash).is_none());
///
/// // Something else is computed into it after all.
/// let block = block.reset();
/// let block = block.stage(SequenceHash::root(2), 16).expect("as above");
/// let block = manager.register_block(block);
/// assert!(manager.match_one(block.sequence_hash()).is_some());
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
#[must_use = "dropping a complete block frees it"]
pub struct CompleteBlock<T: BlockMetadata> {
    hold: Exclusive<Complete>,
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata> CompleteBlock<T> {
    #[inline]
    pub(super) fn new(hold: Exclusive<Complete>) -> Self {
        Self {
            hold,
            tier: PhantomData,
        }
    }

    /// Turns the guard into its hold, without freeing the block.
    #[inline]
    pub(crate) fn into_hold(self) -> Exclusive<Complete> {
        self.hold
    }

    /// Returns the table key of the content's hash.
    #[inline]
    pub(crate) fn key(&self) -> Key {
        self.hold.slot().key()
    }

    /// Returns whether the block belongs to `store`.
    #[inline]
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        self.hold.is_of(store)
    }
}

impl<T: BlockMetadata + Sync> CompleteBlock<T> {
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

    /// Returns the hash that [`stage`](MutableBlock::stage) or
    /// [`complete`](MutableBlock::complete) gave the block.
    #[inline]
    pub fn sequence_hash(&self) -> SequenceHash {
        self.hold.slot().hash()
    }

    /// Discards the content hash and returns the same block, mutable again. No lock, no
    /// allocation.
    #[must_use = "dropping a mutable block frees it"]
    pub fn reset(self) -> MutableBlock<T> {
        MutableBlock::new(self.hold.unstage())
    }
}

impl<T: BlockMetadata> fmt::Debug for CompleteBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompleteBlock")
            .field("block_id", &self.hold.slot().id())
            .field("seq_hash", &self.hold.slot().hash())
            .finish()
    }
}
