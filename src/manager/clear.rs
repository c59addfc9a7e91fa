//! Giving up the content of all inactive blocks.

use std::time::Instant;

use crate::blocks::BlockMetadata;

use super::BlockManager;
use super::errors::BlockManagerResetError;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Evicts all inactive blocks.
    ///
    /// Expired [leases](crate::leases) are ended first. O(inactive blocks).
    ///
    /// # Errors
    ///
    /// Returns an error if some blocks of the manager are still held, so that not all are free
    /// afterwards. The inactive ones are free all the same.
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
    /// When this returns, nothing that was inactive when it was called can be matched, is
    /// registered, or counts as inactive. The blocks count as free and are handed out before
    /// any block is evicted. Active blocks stay registered, and become inactive when they are
    /// released. A block that is released or matched while this runs may fall on either side.
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
    /// Single-threaded, the order stays exact under the policies that are not leaf-first. The
    /// leaf-first ones remember a cleared block until it has been handed out or has no children
    /// left; until then a block may pass for one with inactive children, and others be evicted
    /// before it.
    ///
    /// # Cost
    ///
    /// Lock-free and constant time, except that every 16,384th call also visits all blocks.
    pub fn clear_inactive_pool(&self) {
        self.leases.expire(Instant::now());
        let core = self.registry.core();
        let leftovers = core.clear(self.store.downgrade(), || self.store.clear());
        leftovers.settle();
    }
}
