//! The block manager: allocates, registers, finds and evicts the blocks of one tier.
//!
//! Start with [`BlockManager`], and with [`BlockManagerConfigBuilder`] to build one.
//!
//! # Which method do I need?
//!
//! | file | to | call |
//! |---|---|---|
//! | `allocate` | get blocks to write to | [`allocate_blocks`], [`allocate_one`], [`allocate_into`]; with the hashes of evicted blocks, [`allocate_blocks_with_evictions`], [`allocate_into_with_evictions`] |
//! | `register` | make a block's content matchable | [`register_block`], [`register_blocks`], [`register_into`] |
//! | `matching` | find cached blocks: the longest prefix | [`match_blocks`], [`match_one`], [`match_into`] |
//! | | find cached blocks: each hash by itself | [`match_blocks_scattered`], [`scan_matches`] |
//! | `release` | drop many guards at once | [`release_from`], [`free_from`] |
//! | `clear` | empty the cache | [`clear_inactive_pool`], [`reset_inactive_pool`] |
//! | `retention` | prioritize content | [`set_retention`] |
//! | `leases` | pin blocks with an owner and an expiry | [`lease`], [`renew_lease`], [`release_lease`], [`expire_leases`], [`holders`], [`unleased_blocks`] |
//! | `watermark` | learn that blocks are running out | [`with_low_watermark`], [`is_low`] |
//! | `builder`, `backend`, `tracking`, `errors` | build a manager | [`builder`] |
//!
//! # How do I avoid heap allocations?
//!
//! `kvbm-logical`'s methods return collections. For each of them there is a variant that fills
//! a buffer of yours (`*_into`) or returns a single block (`*_one`). If you reuse the buffers,
//! nothing is allocated on the heap in a steady state.
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
//!
//! let manager = BlockManager::<()>::builder()
//!     .block_count(64)
//!     .block_size(16)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let root = SequenceHash::root(1);
//! let prompt = [root, root.extend(2), root.extend(2).extend(3)];
//!
//! // Reused from request to request.
//! let (mut fresh, mut held) = (Vec::with_capacity(64), Vec::with_capacity(64));
//! for cached in [0, 3] {
//!     assert_eq!(manager.match_into(&prompt, &mut held), cached);
//!     let missing = &prompt[cached..];
//!     assert!(manager.allocate_into(missing.len(), &mut fresh));
//!     let staged = fresh.drain(..).zip(missing);
//!     let staged = staged.map(|(block, &hash)| block.stage(hash, 16).expect("its size"));
//!     manager.register_into(staged, &mut held);
//!     manager.release_from(&mut held);
//! }
//! # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
//! ```
//!
//! # Can threads share a manager?
//!
//! Yes: all methods take `&self`. Matching, allocating, registering and dropping are
//! lock-free; if a method locks a mutex, its documentation says so. What one thread does is
//! immediately visible to all others: when the drop of a guard returns, its block is counted by
//! [`available_blocks`] and can be allocated.
//!
//! [`allocate_blocks`]: BlockManager::allocate_blocks
//! [`allocate_one`]: BlockManager::allocate_one
//! [`allocate_into`]: BlockManager::allocate_into
//! [`allocate_blocks_with_evictions`]: BlockManager::allocate_blocks_with_evictions
//! [`allocate_into_with_evictions`]: BlockManager::allocate_into_with_evictions
//! [`register_block`]: BlockManager::register_block
//! [`register_blocks`]: BlockManager::register_blocks
//! [`register_into`]: BlockManager::register_into
//! [`match_blocks`]: BlockManager::match_blocks
//! [`match_one`]: BlockManager::match_one
//! [`match_into`]: BlockManager::match_into
//! [`match_blocks_scattered`]: BlockManager::match_blocks_scattered
//! [`scan_matches`]: BlockManager::scan_matches
//! [`release_from`]: BlockManager::release_from
//! [`free_from`]: BlockManager::free_from
//! [`clear_inactive_pool`]: BlockManager::clear_inactive_pool
//! [`reset_inactive_pool`]: BlockManager::reset_inactive_pool
//! [`set_retention`]: BlockManager::set_retention
//! [`lease`]: BlockManager::lease
//! [`renew_lease`]: BlockManager::renew_lease
//! [`release_lease`]: BlockManager::release_lease
//! [`expire_leases`]: BlockManager::expire_leases
//! [`holders`]: BlockManager::holders
//! [`unleased_blocks`]: BlockManager::unleased_blocks
//! [`with_low_watermark`]: BlockManagerConfigBuilder::with_low_watermark
//! [`is_low`]: BlockManager::is_low
//! [`builder`]: BlockManager::builder
//! [`available_blocks`]: BlockManager::available_blocks

mod allocate;
mod backend;
mod builder;
mod clear;
mod errors;
mod leases;
mod matching;
mod register;
mod release;
mod retention;
mod tracking;
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

pub use backend::{InactiveBackendConfig, LineageEviction};
pub use builder::BlockManagerConfigBuilder;
pub use errors::{BlockManagerBuilderError, BlockManagerResetError};
pub use tracking::FrequencyTrackingCapacity;
pub use watermark::LowWatermark;

/// Manages the blocks of one tier, such as the memory of one GPU.
///
/// `T` names the tier. It is never instantiated, and keeps the blocks of different tiers apart
/// at compile time. The [module](self) lists the methods by purpose.
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
///
/// #[derive(Clone)]
/// struct Gpu;
///
/// let manager = BlockManager::<Gpu>::builder()
///     .block_count(64)
///     .block_size(16)
///     .registry(BlockRegistry::new())
///     .build()?;
///
/// // Take a free block, and write to the memory that its id stands for.
/// let block = manager.allocate_one().expect("64 blocks are free");
/// let block_id = block.block_id();
///
/// // Name its content, and make that matchable.
/// let hash = SequenceHash::root(7);
/// let block = block.stage(hash, 16).expect("16 is the block size");
/// let guard = manager.register_block(block);
///
/// // Dropping the last guard makes the block inactive: available, but still cached.
/// drop(guard);
/// assert_eq!(manager.available_blocks(), 64);
/// let guard = manager.match_one(hash).expect("it is cached");
/// assert_eq!(guard.block_id(), block_id);
/// assert_eq!(manager.available_blocks(), 63);
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
///
/// # What happens when it is dropped?
///
/// Guards of its blocks stay valid, and its memory is freed with the last of them. Its leases
/// end.
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
    /// Returns a builder with the default settings.
    pub fn builder() -> BlockManagerConfigBuilder<T> {
        BlockManagerConfigBuilder::default()
    }

    /// Returns the manager's id, which is unique in the process.
    pub fn id(&self) -> ManagerId {
        self.store.id
    }

    /// Returns the number of blocks, which never changes.
    pub fn total_blocks(&self) -> usize {
        self.store.block_count()
    }

    /// Returns the number of blocks that are free or inactive.
    ///
    /// Exact while no other thread takes or returns blocks, and never above
    /// [`total_blocks`](Self::total_blocks). Blocks of expired [leases](crate::leases) count as
    /// available: see [there](crate::leases#what-is-counted-as-available) for the one exception
    /// from being exact.
    ///
    /// Reads one word per shard. If a lease has expired, also releases up to 64 of its blocks,
    /// and counts the rest in O(log leases).
    pub fn available_blocks(&self) -> usize {
        let available = || self.store.available();
        let available = self.leases.add_expired(Instant::now, available);
        available.min(self.total_blocks())
    }

    /// Returns the number of tokens per block, which never changes.
    pub fn block_size(&self) -> usize {
        self.store.block_size
    }

    /// Returns the duplication policy that the manager was built with.
    pub fn duplication_policy(&self) -> &BlockDuplicationPolicy {
        &self.duplication_policy
    }

    /// Returns the registry, which other managers may share.
    pub fn block_registry(&self) -> &BlockRegistry {
        &self.registry
    }

    /// Returns the manager's metrics.
    pub fn metrics(&self) -> &Arc<BlockPoolMetrics> {
        &self.metrics
    }

    /// Checks the invariants of the engine, for tests and for the analysis of incidents.
    ///
    /// Call it while no other thread uses the manager. Guards may be held. [`AuditReport`] has
    /// an example. Takes O(blocks) time, allocates, and holds the policy plane meanwhile; it
    /// never waits for the plane, but fails if another thread holds it.
    ///
    /// # Errors
    ///
    /// Returns an error if an invariant does not hold, or if another thread holds the policy
    /// plane.
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
