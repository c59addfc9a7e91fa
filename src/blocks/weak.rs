//! References that do not keep a block from being evicted.

use std::fmt;
use std::marker::PhantomData;

use crate::SequenceHash;
use crate::engine::{Store, StoreRef};

use super::{BlockMetadata, BlockRegistrationHandle, ImmutableBlock};

/// A reference to a registered block that does not keep it from being evicted,
/// but keeps its hash registered.
///
/// Upgrading goes by what the block holds, not by which block it was: if the
/// content has been evicted and registered again, in another block of the
/// manager, the upgrade finds that one.
pub struct WeakBlock<T: BlockMetadata> {
    store: StoreRef,
    handle: BlockRegistrationHandle,
    /// Where it was: the first place to look, and the only one for a duplicate, which
    /// matches do not find.
    address: (u32, u32),
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata> WeakBlock<T> {
    pub(super) fn new(block: &ImmutableBlock<T>) -> Self {
        let (store, slot) = (block.hold().store(), block.hold().slot());
        Self {
            store: store.reference(),
            handle: store.handle_of(slot),
            address: Store::address(slot),
            tier: PhantomData,
        }
    }
}

impl<T: BlockMetadata + Sync> WeakBlock<T> {
    /// The block, or the one that holds its content now, active or inactive;
    /// `None` if the content has been evicted, or if it is inactive while every
    /// available block is promised to other calls under way. Not counted as an
    /// access.
    pub fn upgrade(&self) -> Option<ImmutableBlock<T>> {
        let hash = self.sequence_hash();
        self.store
            .pin_held(self.address, hash)
            .or_else(|| self.store.match_one(hash))
            .map(ImmutableBlock::new)
    }

    /// The hash of the content.
    pub fn sequence_hash(&self) -> SequenceHash {
        self.handle.seq_hash()
    }
}

impl<T: BlockMetadata> Clone for WeakBlock<T> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            handle: self.handle.clone(),
            address: self.address,
            tier: PhantomData,
        }
    }
}

impl<T: BlockMetadata> fmt::Debug for WeakBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakBlock")
            .field("sequence_hash", &self.handle.seq_hash())
            .finish()
    }
}
