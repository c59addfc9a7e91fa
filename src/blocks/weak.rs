//! References that do not keep a block from being evicted.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::SequenceHash;
use crate::engine::{Slot, Store};

use super::{BlockMetadata, BlockRegistrationHandle, ImmutableBlock};

/// A reference to a registered block that does not keep it from being evicted,
/// but keeps its hash registered.
///
/// Upgrading goes by what the block holds, not by which block it was: if the
/// content has been evicted and registered again, in another block of the
/// manager, the upgrade finds that one.
pub struct WeakBlock<T: BlockMetadata> {
    store: Arc<Store>,
    handle: BlockRegistrationHandle,
    /// Where it was, if it was a duplicate: matches do not find those.
    duplicate: Option<(u32, u32)>,
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata> WeakBlock<T> {
    pub(super) fn new(block: &ImmutableBlock<T>) -> Self {
        let (store, slot) = (block.store(), block.slot());
        Self {
            store: store.reference(),
            handle: store.handle_of(slot),
            duplicate: Store::duplicate_address(slot),
            tier: PhantomData,
        }
    }

    fn upgraded(slot: &Slot) -> ImmutableBlock<T> {
        ImmutableBlock::new(slot)
    }
}

impl<T: BlockMetadata + Sync> WeakBlock<T> {
    /// The block, or the one that holds its content now, active or inactive;
    /// `None` if the content has been evicted, or if it is inactive while every
    /// available block is promised to other calls under way. Not counted as an
    /// access.
    pub fn upgrade(&self) -> Option<ImmutableBlock<T>> {
        if let Some(address) = self.duplicate
            && let Some(slot) = self.store.pin_duplicate(address, self.sequence_hash())
        {
            return Some(Self::upgraded(slot));
        }
        self.store
            .match_one(self.sequence_hash())
            .map(Self::upgraded)
    }

    /// The hash of the content.
    pub fn sequence_hash(&self) -> SequenceHash {
        self.handle.seq_hash()
    }
}

impl<T: BlockMetadata> Clone for WeakBlock<T> {
    fn clone(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            handle: self.handle.clone(),
            duplicate: self.duplicate,
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
