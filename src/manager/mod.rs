//! The block manager.
//!
//! A [`BlockManager`] hands out blocks, finds those that hold a wanted content,
//! keeps the ones in use, and evicts the others when it needs them.
//!
//! | file | methods |
//! |---|---|
//! | `allocate` | blocks without content |
//! | `register` | making the content of blocks known |
//! | `matching` | finding blocks by their hashes |
//! | `release` | letting go of many blocks at once |
//! | `clear` | giving up the content of all inactive blocks |
//! | `retention` | priorities of contents |
//! | `leases` | pins with an owner and an expiry |
//! | `watermark` | the callback when blocks run out |
//! | `builder`, `errors` | building a manager |
//!
//! # The no-heap methods
//!
//! In addition to `kvbm-logical`'s methods, which return collections, there are methods that
//! fill buffers of the caller's or return a single block:
//! [`allocate_one`](BlockManager::allocate_one),
//! [`allocate_into`](BlockManager::allocate_into),
//! [`allocate_into_with_evictions`](BlockManager::allocate_into_with_evictions),
//! [`match_one`](BlockManager::match_one), [`match_into`](BlockManager::match_into)
//! and [`register_into`](BlockManager::register_into). Reuse the buffers, and nothing is
//! allocated in a steady state.
//!
//! # Threads
//!
//! A manager is shared by reference. Its operations are lock-free. What one
//! thread does is visible to it at once: a block it drops is counted by
//! [`available_blocks`](BlockManager::available_blocks), and can be allocated,
//! when the drop returns.

mod allocate;
mod builder;
mod clear;
mod errors;
mod leases;
mod matching;
mod register;
mod release;
mod retention;
mod watermark;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use crate::ManagerId;
use crate::blocks::{BlockDuplicationPolicy, BlockMetadata};
use crate::engine::{AuditError, AuditReport, StoreRef};
use crate::leases::LeaseTable;
use crate::metrics::BlockPoolMetrics;
use crate::registry::{BlockRegistry, Leftovers};

use watermark::OnLow;

pub use builder::{
    BlockManagerConfigBuilder, FrequencyTrackingCapacity, InactiveBackendConfig, LineageEviction,
};
pub use errors::{BlockManagerBuilderError, BlockManagerResetError};
pub use watermark::LowWatermark;

/// Manages the blocks of one tier: see the [module](self).
///
/// Dropping the manager leaves the guards of its blocks valid; what it kept in
/// memory is freed with the last of them. Its leases end.
pub struct BlockManager<T: BlockMetadata> {
    store: StoreRef,
    registry: BlockRegistry,
    duplication_policy: BlockDuplicationPolicy,
    metrics: Arc<BlockPoolMetrics>,
    leases: Arc<LeaseTable<T>>,
    on_low: Option<OnLow>,
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Starts building a manager.
    pub fn builder() -> BlockManagerConfigBuilder<T> {
        BlockManagerConfigBuilder::default()
    }

    /// The manager's id, unique in the process.
    pub fn id(&self) -> ManagerId {
        self.store.id
    }

    /// The number of blocks, which is constant.
    pub fn total_blocks(&self) -> usize {
        self.store.block_count()
    }

    /// The number of blocks that are free or inactive. Exact while no other thread takes or
    /// returns any, and never above [`total_blocks`](Self::total_blocks). Reads one word per
    /// shard. [Leases](crate::leases) that have expired are ended first.
    pub fn available_blocks(&self) -> usize {
        self.leases.try_expire(Instant::now);
        self.store.available()
    }

    /// Tokens per block, a constant.
    pub fn block_size(&self) -> usize {
        self.store.block_size
    }

    /// What happens to duplicates, as it was built.
    pub fn duplication_policy(&self) -> &BlockDuplicationPolicy {
        &self.duplication_policy
    }

    /// The registry, which other managers may share.
    pub fn block_registry(&self) -> &BlockRegistry {
        &self.registry
    }

    /// The manager's metrics.
    pub fn metrics(&self) -> &Arc<BlockPoolMetrics> {
        &self.metrics
    }

    /// Checks the invariants of the engine: for tests, and for incidents.
    ///
    /// To be called while no other thread uses the manager; guards may be held.
    /// O(blocks), allocates, and briefly takes the policy plane.
    ///
    /// # Errors
    ///
    /// If an invariant does not hold, or the policy plane is in use.
    pub fn audit(&self) -> Result<AuditReport, AuditError> {
        self.store.audit()
    }
}

impl<T: BlockMetadata> Drop for BlockManager<T> {
    fn drop(&mut self) {
        let mut leftovers = Leftovers::new();
        self.leases.end();
        let on_low = self.on_low.take();
        leftovers.catch(|| drop(on_low));
        leftovers.catch(|| self.store.retire());
        leftovers.settle();
    }
}

impl<T: BlockMetadata> fmt::Debug for BlockManager<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockManager")
            .field("id", &self.store.id)
            .field("total_blocks", &self.store.block_count())
            .field("block_size", &self.store.block_size)
            .field("available_blocks", &self.store.available())
            .finish()
    }
}
