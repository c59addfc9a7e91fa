//! The block manager.
//!
//! A [`BlockManager`] hands out blocks, finds those that hold a wanted content,
//! keeps the ones in use, and evicts the others when it needs them. Two sets of
//! methods do the same things: those here return collections, and are what
//! `kvbm-logical` offers; those of [`direct`](self#the-no-heap-methods) put their
//! results into buffers of the caller's and allocate nothing.
//!
//! # The no-heap methods
//!
//! [`allocate_one`](BlockManager::allocate_one),
//! [`allocate_into`](BlockManager::allocate_into),
//! [`allocate_into_with_evictions`](BlockManager::allocate_into_with_evictions),
//! [`match_one`](BlockManager::match_one), [`match_into`](BlockManager::match_into)
//! and [`register_into`](BlockManager::register_into). A buffer that has its
//! capacity is only filled; with one that is reused nothing is allocated in a
//! steady state.
//!
//! # Threads
//!
//! A manager is shared by reference. Its operations are lock-free. What one
//! thread does is visible to it at once: a block it drops is counted by
//! [`available_blocks`](BlockManager::available_blocks), and can be allocated,
//! when the drop returns.

mod builder;
mod direct;
mod leases;
mod retention;
mod watermark;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use crate::blocks::{
    BlockDuplicationPolicy, BlockMetadata, CompleteBlock, ImmutableBlock, MutableBlock,
};
use crate::engine::{AuditError, AuditReport, Registered, StoreRef};
use crate::leases::Table;
use crate::metrics::{BlockPoolMetrics, Counter};
use crate::registry::{BlockRegistry, Leftovers};
use crate::{ManagerId, SequenceHash};

use watermark::OnLow;

pub use builder::{
    BlockManagerBuilderError, BlockManagerConfigBuilder, BlockManagerResetError,
    FrequencyTrackingCapacity, InactiveBackendConfig, LineageEviction,
};
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
    leases: Arc<Table<T>>,
    on_low: Option<OnLow>,
    tier: PhantomData<fn() -> T>,
}

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// A builder.
    pub fn builder() -> BlockManagerConfigBuilder<T> {
        BlockManagerConfigBuilder::default()
    }

    /// The manager's id, unique in the process.
    pub fn id(&self) -> ManagerId {
        self.store.id
    }

    /// Allocates `count` blocks: free ones first, then inactive ones, which are
    /// evicted in the order of the policy.
    ///
    /// Returns `None`, and changes nothing, only if at some instant of the call
    /// the blocks that were held, and those that other calls under way had asked
    /// for, left fewer than `count`. A drop is such a call until it returns. So
    /// threads that together never ask for more blocks than there are, the held
    /// ones included, are never refused. Before it comes to that,
    /// [leases](crate::leases) that have expired are ended. Lock-free, unless it would be
    /// refused while leases expire: then it waits until their blocks have been let go of,
    /// which may be for another thread. The only heap allocation is the vector.
    pub fn allocate_blocks(&self, count: usize) -> Option<Vec<MutableBlock<T>>> {
        let reserved = self.reserve(count)?;
        let mut blocks = Vec::with_capacity(count);
        let leftovers = reserved.take(|hold| blocks.push(MutableBlock::new(hold)), |_evicted| {});
        self.tell_if_low();
        leftovers.settle();
        Some(blocks)
    }

    /// As [`allocate_blocks`](Self::allocate_blocks), with the hashes of the
    /// blocks that were evicted for it, in their order. They are those of the
    /// last blocks returned: the free ones come first.
    pub fn allocate_blocks_with_evictions(
        &self,
        count: usize,
    ) -> Option<(Vec<MutableBlock<T>>, Vec<SequenceHash>)> {
        let (mut blocks, mut evicted) = (Vec::new(), Vec::new());
        self.allocate_into_with_evictions(count, &mut blocks, &mut evicted)
            .then_some((blocks, evicted))
    }

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
    /// what was inactive when it was called is matched any more, is registered, or counts as inactive; the blocks count as free, and are
    /// handed out before any block is evicted. Blocks in use stay registered, and are
    /// inactive when they are released later. A block that is released or matched
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

    /// Registers blocks under their hashes, in the order of the input, and
    /// returns a guard for each in the same order. See
    /// [`register_block`](Self::register_block).
    ///
    /// The metric `registrations` counts the blocks once all of them can be
    /// matched.
    ///
    /// # Panics
    ///
    /// As [`register_block`](Self::register_block).
    pub fn register_blocks(&self, blocks: Vec<CompleteBlock<T>>) -> Vec<ImmutableBlock<T>> {
        let mut registered = Vec::new();
        self.register_into(blocks, &mut registered);
        registered
    }

    /// Registers a block under its hash: from now on it can be matched.
    ///
    /// If another block of this manager holds the hash, the
    /// [duplication policy](BlockDuplicationPolicy) decides: the guard returned is
    /// that of the block as a duplicate, or that of the other one, and the block
    /// is freed; its different `block_id` tells. A hash that was not registered
    /// counts as an access. Lock-free; no heap allocation in a steady state.
    ///
    /// # Panics
    ///
    /// If the block is another manager's; nothing has happened then.
    pub fn register_block(&self, block: CompleteBlock<T>) -> ImmutableBlock<T> {
        let mut leftovers = Leftovers::new();
        let block = self.register(block, &mut leftovers);
        self.store.count(Counter::Registrations, 1);
        self.tell_if_low();
        leftovers.settle();
        block
    }

    #[inline]
    fn register(&self, block: CompleteBlock<T>, leftovers: &mut Leftovers) -> ImmutableBlock<T> {
        assert!(
            block.is_of(&self.store),
            "block {} belongs to another manager",
            block.block_id()
        );
        let core = self.registry.core();
        let ticket = core.begin(block.key(), leftovers);
        let registered = self
            .store
            .register(block.into_hold(), self.duplication_policy, leftovers);
        let hold = match registered {
            Registered::Primary(hold) => {
                ticket.commit(&*self.store, leftovers);
                hold
            }
            Registered::Duplicate(hold) | Registered::Existing(hold) => {
                ticket.abandon(leftovers);
                hold
            }
        };
        ImmutableBlock::new(hold)
    }

    /// Finds the longest prefix of `seq_hash` whose blocks this manager has,
    /// active or inactive, and returns a guard for each.
    ///
    /// Each block returned counts as one access. While every available block is
    /// promised to other calls under way (allocations, matches, drops), an inactive
    /// block may be missed. Lock-free; the only heap allocation is the vector.
    pub fn match_blocks(&self, seq_hash: &[SequenceHash]) -> Vec<ImmutableBlock<T>> {
        let mut matched = Vec::new();
        self.match_into(seq_hash, &mut matched);
        tracing::debug!(
            num_hashes = seq_hash.len(),
            total_matched = matched.len(),
            "match_blocks"
        );
        matched
    }

    /// Looks for the block of every hash, and does not stop at those that are
    /// missing: the result has one place for each hash of the input.
    ///
    /// Each block returned counts as one access, and a hash that is repeated is
    /// matched repeatedly. Lock-free; the only heap allocation is the vector.
    pub fn match_blocks_scattered(
        &self,
        seq_hash: &[SequenceHash],
    ) -> Vec<Option<ImmutableBlock<T>>> {
        let mut matched = Vec::with_capacity(seq_hash.len());
        self.store
            .match_each(seq_hash, |hold| matched.push(hold.map(ImmutableBlock::new)));
        let found = || {
            seq_hash
                .iter()
                .zip(&matched)
                .filter(|(_, block)| block.is_some())
        };
        let hits = found().count();
        self.store.count_each([
            (Counter::MatchHashesRequested, seq_hash.len() as u64),
            (Counter::MatchBlocksReturned, hits as u64),
        ]);
        let mut leftovers = Leftovers::new();
        for (&hash, _) in found() {
            self.registry.core().touch(hash, &mut leftovers);
        }
        self.tell_if_low();
        leftovers.settle();
        tracing::debug!(
            num_hashes = seq_hash.len(),
            total_matched = hits,
            "match_blocks_scattered"
        );
        matched
    }

    /// The blocks of those hashes that this manager has, by hash.
    ///
    /// If `touch` is set, counts an access for every hash of the input that is
    /// registered in any tier. Lock-free; allocates the map.
    pub fn scan_matches(
        &self,
        seq_hashes: &[SequenceHash],
        touch: bool,
    ) -> HashMap<SequenceHash, ImmutableBlock<T>> {
        let mut found = HashMap::with_capacity(seq_hashes.len().min(self.total_blocks()));
        let mut leftovers = Leftovers::new();
        for &hash in seq_hashes {
            let is_here = match found.entry(hash) {
                Entry::Occupied(_) => true,
                Entry::Vacant(place) => match self.store.match_one(hash) {
                    Some(hold) => {
                        place.insert(ImmutableBlock::new(hold));
                        true
                    }
                    None => false,
                },
            };
            if touch && (is_here || self.registry.is_registered(hash)) {
                self.registry.core().touch(hash, &mut leftovers);
            }
        }
        self.store.count_each([
            (Counter::ScanHashesRequested, seq_hashes.len() as u64),
            (Counter::ScanBlocksReturned, found.len() as u64),
        ]);
        self.tell_if_low();
        leftovers.settle();
        found
    }

    /// Blocks managed: constant.
    pub fn total_blocks(&self) -> usize {
        self.store.block_count()
    }

    /// Blocks that are free or inactive. Exact while no other thread takes or
    /// returns any, and never above [`total_blocks`](Self::total_blocks). Reads a
    /// word for each shard. [Leases](crate::leases) that have expired are ended first.
    pub fn available_blocks(&self) -> usize {
        self.leases.try_expire(Instant::now);
        self.store.available()
    }

    /// Tokens a block: constant.
    pub fn block_size(&self) -> usize {
        self.store.block_size
    }

    /// What happens to duplicates: constant.
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

    /// The end of a match that found `matched`.
    #[inline]
    fn finish_match(&self, requested: usize, matched: &[SequenceHash]) {
        self.store.count_each([
            (Counter::MatchHashesRequested, requested as u64),
            (Counter::MatchBlocksReturned, matched.len() as u64),
        ]);
        if self.registry.core().tracker().is_some() {
            self.touch_matched(matched);
        } else {
            self.tell_if_low();
        }
    }

    fn touch_matched(&self, matched: &[SequenceHash]) {
        let mut leftovers = Leftovers::new();
        self.registry.core().touch_all(matched, &mut leftovers);
        self.tell_if_low();
        leftovers.settle();
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
