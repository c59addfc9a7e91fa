//! References to content that do not keep it from being evicted.

use std::fmt;
use std::marker::PhantomData;

use crate::SequenceHash;
use crate::engine::{Store, StoreRef};

use super::{BlockMetadata, BlockRegistrationHandle, ImmutableBlock};

/// A reference to a registered block that does not keep the block from being evicted.
///
/// It does keep the hash registered, and with it the hash's attachments.
///
/// Upgrading looks for the content, not for a particular block: if the content has been
/// evicted and registered again in another block of the same manager, the upgrade returns
/// that block.
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(16)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// let block = manager.allocate_one().expect("8 blocks are free");
/// let block = block.stage(SequenceHash::root(1), 16).expect("16 is the block size");
/// let block = manager.register_block(block);
///
/// let weak = block.downgrade();
/// drop(block);
/// // The block is inactive, and the upgrade makes it active again.
/// let block = weak.upgrade().expect("it is still cached");
/// drop(block);
/// // Allocating all blocks evicts it.
/// let blocks = manager.allocate_blocks(8).expect("8 blocks are available");
/// assert!(weak.upgrade().is_none());
/// # drop(blocks);
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
#[must_use = "a weak block does nothing until it is upgraded"]
pub struct WeakBlock<T: BlockMetadata> {
    store: StoreRef,
    handle: BlockRegistrationHandle,
    /// The block that was downgraded. The upgrade looks here first; matches do not find
    /// duplicates, so a duplicate can be found nowhere else.
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
    /// Returns a guard of the block, or of the block that holds its content now, whether
    /// active or inactive. Does not count as an access.
    ///
    /// Returns `None` if the content has been evicted, or if it is inactive while
    /// concurrent calls have reserved every available block. Lock-free.
    #[inline]
    #[must_use = "a successful upgrade pins the block"]
    pub fn upgrade(&self) -> Option<ImmutableBlock<T>> {
        let hash = self.sequence_hash();
        self.store
            .pin_held(self.address, hash)
            .or_else(|| self.store.match_one(hash))
            .map(ImmutableBlock::new)
    }

    /// Returns the hash of the content.
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
