//! The guard of a block whose content is named and not registered.

use std::fmt;
use std::marker::PhantomData;

use crate::SequenceHash;
use crate::engine::{Complete, Exclusive, Store};
use crate::key::Key;

use super::{BlockId, BlockMetadata, MutableBlock};

/// A block whose content is named, held by its caller alone, that nobody can
/// match yet.
///
/// Dropping it frees the block.
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

    /// Gives up the guard but not the block.
    #[inline]
    pub(crate) fn into_hold(self) -> Exclusive<Complete> {
        self.hold
    }

    /// The key of the content's hash.
    #[inline]
    pub(crate) fn key(&self) -> Key {
        self.hold.slot().key()
    }

    /// Whether the block is one of this store's.
    #[inline]
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        self.hold.is_of(store)
    }
}

impl<T: BlockMetadata + Sync> CompleteBlock<T> {
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

    /// The hash given by [`stage`](MutableBlock::stage).
    #[inline]
    pub fn sequence_hash(&self) -> SequenceHash {
        self.hold.slot().hash()
    }

    /// Forgets the content: the same block, mutable again.
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
