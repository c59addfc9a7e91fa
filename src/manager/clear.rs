//! Clearing: giving up the content of all inactive blocks.

use std::time::Instant;

use crate::blocks::BlockMetadata;

use super::BlockManager;
use super::errors::BlockManagerResetError;

/// Clearing.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Evicts all inactive blocks, one by one.
    ///
    /// Expired [leases](crate::leases) are ended first. The call takes what is inactive when it
    /// begins. Blocks that become inactive meanwhile may be missed, and do not prolong it; blocks
    /// whose credits are all reserved by concurrent calls may be missed as well.
    ///
    /// Takes O(blocks) time: it visits every block, and evicts the inactive ones in the order of
    /// the eviction policy. If another thread holds that order, the blocks are sorted instead, in
    /// O(n log n) of their number, so that children precede their parents. Allocates 8 bytes per
    /// inactive block, and 24 more for each that is sorted. Lock-free, except for the mutex of the leases.
    /// [`clear_inactive_pool`](Self::clear_inactive_pool) empties the cache at once.
    ///
    /// # Errors
    ///
    /// Returns an error if blocks of the manager are still held, so that not all are free
    /// afterwards. The inactive blocks have been evicted even so.
    pub fn reset_inactive_pool(&self) -> Result<(), BlockManagerResetError> {
        self.leases.expire(Instant::now());
        let leftovers = self.store.reset_inactive();
        let (expected, actual) = (self.total_blocks(), self.store.free_blocks());
        leftovers.settle();
        if actual == expected {
            Ok(())
        } else {
            Err(BlockManagerResetError::BlockCountMismatch { expected, actual })
        }
    }

    /// Gives up the content of all inactive blocks at once, for instance after a new model or
    /// adapter has been loaded.
    ///
    /// ```
    /// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
    ///
    /// #[derive(Clone)]
    /// struct Gpu;
    ///
    /// let manager = BlockManager::<Gpu>::builder()
    ///     .block_count(8)
    ///     .block_size(16)
    ///     .registry(BlockRegistry::new())
    ///     .build()?;
    /// let cache = |hash| {
    ///     let block = manager.allocate_one().expect("8 blocks are enough");
    ///     manager.register_block(block.stage(hash, 16).expect("16 is the block size"))
    /// };
    /// let [held, released] = [SequenceHash::root(1), SequenceHash::root(2)];
    /// let guard = cache(held);
    /// drop(cache(released));
    ///
    /// manager.clear_inactive_pool();
    /// assert!(manager.match_one(released).is_none());
    /// assert!(manager.match_one(held).is_some()); // active blocks keep their content
    /// # drop(guard);
    /// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
    /// ```
    ///
    /// # What is cleared?
    ///
    /// When this returns, nothing that was inactive when it was called can be matched, is
    /// registered, or counts as inactive. The blocks count as free and are handed out before
    /// any block is evicted. Active blocks stay registered, and become inactive when they are
    /// released. A block that is released or matched during the call may or may not be cleared.
    /// Expired [leases](crate::leases) are ended first.
    ///
    /// [`reset_inactive_pool`](Self::reset_inactive_pool) has the same effect block by block.
    ///
    /// # When do attachments and events end?
    ///
    /// The registration of a cleared hash, with its attachments, ends when its block is handed
    /// out or its hash is registered again. With an events manager it ends soon after the call,
    /// on a background thread, with a `Remove` for each hash. The `Remove`s come in no
    /// particular order, so a parent's may precede its child's.
    ///
    /// # What does it do to the eviction order?
    ///
    /// Single-threaded, the order stays exact under policies that are not leaf-first. Leaf-first
    /// policies remember a cleared block until it has been handed out or has no children left.
    /// Until then they may regard its parent as having an inactive child, and evict other blocks
    /// before that one.
    ///
    /// # What does it cost?
    ///
    /// A visit of one in 16,384 blocks, and the release of the blocks of leases that have expired
    /// and that no other call has ended yet. Lock-free, except for the mutex of the leases.
    pub fn clear_inactive_pool(&self) {
        self.leases.expire(Instant::now());
        let core = self.registry.core();
        core.clear(self.store.downgrade(), || self.store.clear());
    }
}
