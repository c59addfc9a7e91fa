//! The guard of a registered block.

use std::fmt;
use std::marker::PhantomData;

use crate::SequenceHash;
use crate::engine::{Pinned, Store};
use crate::retention::Retention;

use super::{BlockId, BlockMetadata, BlockRegistrationHandle, LifecyclePinRef, WeakBlock};

/// A registered block whose content cannot change while this guard lives.
///
/// The guard pins the block, and so does each clone and [`LifecyclePinRef`]. When the last
/// pin is dropped, a primary becomes inactive: it can still be matched until it is
/// evicted. A duplicate becomes free.
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
/// // Requests that share a prefix share its blocks.
/// let other = manager.match_one(SequenceHash::root(1)).expect("it is registered");
/// assert_eq!(block.block_id(), other.block_id());
/// assert_eq!(block.use_count(), 2);
///
/// drop((block, other));
/// assert_eq!(manager.available_blocks(), 8);
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
///
/// # Which memory accesses are ordered?
///
/// Everything done to the block's content before its registration happens before any match of
/// it returns. Everything a holder did with the content happens before the block is handed out
/// again.
#[must_use = "dropping the guard unpins the block"]
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

    /// Turns the guard into its hold, without unpinning the block.
    #[inline]
    pub(crate) fn into_hold(self) -> Pinned {
        self.hold
    }

    /// Returns whether the block belongs to `store`.
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        self.hold.is_of(store)
    }
}

impl<T: BlockMetadata + Sync> ImmutableBlock<T> {
    /// Returns a reference that does not keep the block from being evicted.
    pub fn downgrade(&self) -> WeakBlock<T> {
        WeakBlock::new(self)
    }

    /// Returns the block's id, which is less than the manager's block count.
    ///
    /// If the registration that returned this guard rejected its block as a duplicate, this
    /// is the id of the primary, not of the block that was passed in.
    #[inline]
    pub fn block_id(&self) -> BlockId {
        self.hold.slot().id() as BlockId
    }

    /// Returns the hash that the block is registered under.
    #[inline]
    pub fn sequence_hash(&self) -> SequenceHash {
        self.hold.slot().hash()
    }

    /// Returns a handle to the hash in the registry. The handle can outlive the block.
    pub fn registration_handle(&self) -> BlockRegistrationHandle {
        self.hold.store().handle_of(self.hold.slot())
    }

    /// Returns how many pins the block has: those of guards and [`LifecyclePinRef`]s, and,
    /// if it is a primary, one per duplicate. The count may be stale by the time it is
    /// returned; it is meant for metrics and tests.
    pub fn use_count(&self) -> usize {
        self.hold.slot().word().count() as usize
    }

    /// Sets whether the last drop frees the block instead of making it inactive.
    ///
    /// The setting lasts for as long as the block is registered, and so applies to later pins
    /// as well. The default is that of the manager; see
    /// [`with_default_reset_on_release`](crate::manager::BlockManagerConfigBuilder::with_default_reset_on_release).
    pub fn set_evict_on_reset(&self, value: bool) {
        self.hold.slot().set_reset(value);
    }

    /// Replaces the [retention directive](crate::retention) of the block's content. On a
    /// duplicate, replaces that of its primary.
    ///
    /// Lock-free, except that the manager's first directive allocates the table of
    /// directives.
    pub fn set_retention(&self, retention: Retention) {
        self.hold.store().retain(self.hold.slot(), retention);
    }

    /// Returns the directive of the block's content, with the duration that remains of it.
    /// Without a directive, or after it has expired, that is [`Retention::default`].
    pub fn retention(&self) -> Retention {
        self.hold.store().retention(self.hold.slot())
    }

    /// Returns another pin of the block, without its metadata type. One atomic addition.
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
