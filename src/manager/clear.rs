//! Giving up the content of all inactive blocks.

use std::time::Instant;

use crate::blocks::BlockMetadata;

use super::BlockManager;
use super::errors::BlockManagerResetError;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Evicts all inactive blocks. [Leases](crate::leases) that have expired are ended
    /// first.
    ///
    /// # Errors
    ///
    /// If afterwards not all blocks of the manager are free, since some are held:
    /// the inactive ones are free all the same.
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

    /// Forgets the content of all inactive blocks at once, in constant time however
    /// many there are: after a new model or adapter was loaded, say.
    ///
    /// [Leases](crate::leases) that have expired are ended first. When this returns, none of
    /// what was inactive when it was called is matched any more, is registered, or counts as
    /// inactive; the blocks count as free, and are handed out before any block is evicted.
    /// Blocks in use stay registered, and are inactive when they are released later. A block that is released or matched
    /// while this runs may be on either side of it. Other threads go on meanwhile;
    /// [`reset_inactive_pool`](Self::reset_inactive_pool) comes to the same, block by
    /// block.
    ///
    /// With the registration of a cleared hash end its attachments. That happens
    /// when its block is handed out or its hash registered again; and where there is an
    /// events manager soon, on a background thread: with the `Remove` of each.
    ///
    /// Lock-free. Every 16,384th call also goes through all blocks. Driven by one thread
    /// the order of eviction stays exact under the policies that know no leaves. Those that
    /// evict leaves first remember cleared blocks for as long as these have not been handed
    /// out, or have children: until then a block may pass for one with inactive children, and
    /// others be evicted before it.
    pub fn clear_inactive_pool(&self) {
        self.leases.expire(Instant::now());
        let core = self.registry.core();
        let leftovers = core.clear(self.store.downgrade(), || self.store.clear());
        leftovers.settle();
    }
}
