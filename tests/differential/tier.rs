//! One manager and all guards taken from it. Compiled twice, as part of `world`.

use std::collections::HashMap;
use std::sync::Arc;

use dynamo_tokens::PositionalLineageHash;

use super::{audit, clear, kvbm};
use crate::forest::Forest;
use crate::ops::{Amount, Order, Pick, Shelf, TierConfig, TierOp};
use crate::outcome::{Allocation, Held, ManagerView, Metrics, Outcome, TierView};
use crate::policy::{Policy, with_policy};
use crate::shelf::{remove, take_some, with};
use kvbm::blocks::{BlockDuplicationPolicy, BlockRegistrationHandle};
use kvbm::metrics::BlockPoolMetrics;
use kvbm::{
    BlockError, BlockId, BlockManager, BlockMetadata, BlockRegistry, CompleteBlock, ImmutableBlock,
    KvbmSequenceHashProvider, LifecyclePinRef, MutableBlock, WeakBlock,
};

/// A manager and all guards taken from it.
pub struct Tier<T: BlockMetadata> {
    manager: Option<BlockManager<T>>,
    policy: Policy,
    manager_id: kvbm::ManagerId,
    metrics: Arc<BlockPoolMetrics>,
    block_count: usize,
    mutable: Vec<MutableBlock<T>>,
    complete: Vec<CompleteBlock<T>>,
    immutable: Vec<ImmutableBlock<T>>,
    weak: Vec<WeakBlock<T>>,
    pins: Vec<LifecyclePinRef>,
}

impl<T: BlockMetadata> Tier<T> {
    pub fn new(config: &TierConfig, block_size: usize, registry: &BlockRegistry) -> Self {
        let duplication = if config.allow_duplicates {
            BlockDuplicationPolicy::Allow
        } else {
            BlockDuplicationPolicy::Reject
        };
        let builder = BlockManager::<T>::builder()
            .block_count(config.block_count)
            .block_size(block_size)
            .registry(registry.clone())
            .duplication_policy(duplication)
            .with_default_reset_on_release(config.reset_on_release);
        let manager = with_policy!(kvbm, builder, config.policy)
            .build()
            .expect("the configuration is valid");
        Tier {
            policy: config.policy,
            manager_id: manager.id(),
            metrics: Arc::clone(manager.metrics()),
            manager: Some(manager),
            block_count: config.block_count,
            mutable: Vec::new(),
            complete: Vec::new(),
            immutable: Vec::new(),
            weak: Vec::new(),
            pins: Vec::new(),
        }
    }

    /// Drops the manager and keeps all guards.
    pub fn drop_manager(&mut self) {
        self.manager = None;
    }

    /// Drops all guards of one kind.
    pub fn clear(&mut self, shelf: Shelf) {
        match shelf {
            Shelf::Mutable => self.mutable.clear(),
            Shelf::Complete => self.complete.clear(),
            Shelf::Immutable => self.immutable.clear(),
            Shelf::Weak => self.weak.clear(),
            Shelf::Pin => self.pins.clear(),
            Shelf::Handle => {}
        }
    }

    /// Observes the state and audits the pool.
    pub fn view(&self) -> TierView {
        if let Some(manager) = &self.manager {
            audit(manager);
        }
        TierView {
            manager: self.manager.as_ref().map(|manager| ManagerView {
                available: manager.available_blocks(),
                total: manager.total_blocks(),
                block_size: manager.block_size(),
            }),
            metrics: metrics(&self.metrics),
            mutable_sizes: self.mutable.iter().map(MutableBlock::block_size).collect(),
            complete: self
                .complete
                .iter()
                .map(|block| (block.sequence_hash(), block.block_size()))
                .collect(),
            immutable: self.immutable.iter().map(held).collect(),
            weak: self.weak.iter().map(WeakBlock::sequence_hash).collect(),
            pins: self
                .pins
                .iter()
                .map(|pin| Held {
                    hash: pin.sequence_hash(),
                    use_count: pin.use_count(),
                })
                .collect(),
            identities: self.identities(),
            pins_name_manager: self
                .pins
                .iter()
                .all(|pin| pin.manager_id() == self.manager_id),
        }
    }

    fn identities(&self) -> Vec<usize> {
        let mutable = self.mutable.iter().map(MutableBlock::block_id);
        let complete = self.complete.iter().map(CompleteBlock::block_id);
        let immutable = self.immutable.iter().map(ImmutableBlock::block_id);
        let pins = self.pins.iter().map(LifecyclePinRef::block_id);
        let mut labels: HashMap<BlockId, usize> = HashMap::new();
        mutable
            .chain(complete)
            .chain(immutable)
            .chain(pins)
            .map(|id| {
                assert!(id < self.block_count, "block id {id} is out of range");
                let next = labels.len();
                *labels.entry(id).or_insert(next)
            })
            .collect()
    }

    pub fn apply(
        &mut self,
        op: &TierOp,
        forest: &Forest,
        handles: &mut Vec<BlockRegistrationHandle>,
    ) -> Outcome {
        match op {
            TierOp::Allocate {
                amount,
                report_evictions,
            } => self.allocate(*amount, *report_evictions),
            TierOp::DropMutable { pick } => remove(&mut self.mutable, *pick),
            TierOp::Stage { pick, node } => self.stage(*pick, |block| {
                let size = block.block_size();
                block.stage(forest.hash(*node), size)
            }),
            TierOp::StageWrongSize { pick, node, excess } => self.stage(*pick, |block| {
                let size = block.block_size() + excess;
                block.stage(forest.hash(*node), size)
            }),
            TierOp::CompleteTokens { pick, node } => match forest.tokens(*node) {
                Some(tokens) => {
                    assert_eq!(tokens.kvbm_sequence_hash(), forest.hash(*node));
                    self.stage(*pick, |block| block.complete(tokens))
                }
                None => Outcome::Skipped,
            },
            TierOp::CompleteWrongSize { pick } => {
                self.stage(*pick, |block| block.complete(forest.misfit()))
            }
            TierOp::ResetComplete { pick } => with(&mut self.complete, *pick, |complete, at| {
                self.mutable.push(complete.remove(at).reset());
                Outcome::Done
            }),
            TierOp::DropComplete { pick } => remove(&mut self.complete, *pick),
            TierOp::Register { pick } => self.register(*pick),
            TierOp::RegisterBatch {
                pick,
                count,
                newest_first,
            } => self.register_batch(*pick, *count, *newest_first),
            TierOp::Request { node, batch } => self.request(&forest.path(*node), *batch),
            TierOp::Publish { nodes } => self.publish(&forest.hashes(nodes)),
            TierOp::MatchPath { node } => self.match_blocks(&forest.path(*node)),
            TierOp::Match { nodes } => self.match_blocks(&forest.hashes(nodes)),
            TierOp::MatchScattered { nodes } => self.match_scattered(&forest.hashes(nodes)),
            TierOp::Scan { nodes, touch } => self.scan(&forest.hashes(nodes), *touch),
            TierOp::Clone { pick } => with(&mut self.immutable, *pick, |blocks, at| {
                let clone = blocks[at].clone();
                let outcome = Outcome::Held(vec![held(&clone)]);
                blocks.push(clone);
                outcome
            }),
            TierOp::DropBlocks { pick, count, order } => self.drop_blocks(*pick, *count, *order),
            TierOp::SetEvictOnReset { pick, value } => {
                with(&mut self.immutable, *pick, |blocks, at| {
                    blocks[at].set_evict_on_reset(*value);
                    Outcome::Done
                })
            }
            TierOp::Downgrade { pick } => with(&mut self.immutable, *pick, |blocks, at| {
                self.weak.push(blocks[at].downgrade());
                Outcome::Done
            }),
            TierOp::Upgrade { pick } => with(&mut self.weak, *pick, |weak, at| {
                let upgraded = weak[at].upgrade();
                let outcome = Outcome::HeldOrMissed(vec![upgraded.as_ref().map(held)]);
                self.immutable.extend(upgraded);
                outcome
            }),
            TierOp::CloneWeak { pick } => with(&mut self.weak, *pick, |weak, at| {
                weak.push(weak[at].clone());
                Outcome::Done
            }),
            TierOp::DropWeak { pick } => remove(&mut self.weak, *pick),
            TierOp::Pin { pick } => with(&mut self.immutable, *pick, |blocks, at| {
                self.pins.push(blocks[at].pin());
                Outcome::Held(vec![held(&blocks[at])])
            }),
            TierOp::ClonePin { pick } => with(&mut self.pins, *pick, |pins, at| {
                pins.push(pins[at].clone());
                Outcome::Done
            }),
            TierOp::DropPin { pick } => remove(&mut self.pins, *pick),
            TierOp::TakeHandle { pick } => with(&mut self.immutable, *pick, |blocks, at| {
                handles.push(blocks[at].registration_handle());
                Outcome::Done
            }),
            TierOp::TakePinHandle { pick } => with(&mut self.pins, *pick, |pins, at| {
                handles.push(pins[at].registration_handle());
                Outcome::Done
            }),
            TierOp::ResetInactive => match &self.manager {
                Some(manager) => Outcome::of(manager.reset_inactive_pool()),
                None => Outcome::Skipped,
            },
            TierOp::ClearInactive => match &self.manager {
                Some(manager) => {
                    clear(manager, self.policy);
                    Outcome::Done
                }
                None => Outcome::Skipped,
            },
            TierOp::DropManager => {
                self.drop_manager();
                Outcome::Done
            }
        }
    }

    fn allocate(&mut self, amount: Amount, report_evictions: bool) -> Outcome {
        let Some(manager) = &self.manager else {
            return Outcome::Skipped;
        };
        let count = match amount {
            Amount::Exactly(count) => count,
            Amount::Available(more) => manager.available_blocks() + more,
            Amount::Total(more) => manager.total_blocks() + more,
            Amount::Max => usize::MAX,
        };
        let allocated = if report_evictions {
            manager
                .allocate_blocks_with_evictions(count)
                .map(|(blocks, evicted)| (blocks, Some(evicted)))
        } else {
            manager.allocate_blocks(count).map(|blocks| (blocks, None))
        };
        Outcome::Allocated(allocated.map(|(blocks, evicted)| {
            let count = blocks.len();
            self.mutable.extend(blocks);
            Allocation { count, evicted }
        }))
    }

    fn stage(
        &mut self,
        pick: Pick,
        stage: impl FnOnce(MutableBlock<T>) -> Result<CompleteBlock<T>, BlockError<MutableBlock<T>>>,
    ) -> Outcome {
        with(&mut self.mutable, pick, |mutable, at| {
            let block = mutable.remove(at);
            let id = block.block_id();
            match stage(block) {
                Ok(block) => {
                    let hash = block.sequence_hash();
                    self.complete.push(block);
                    Outcome::Staged(hash)
                }
                Err(error) => {
                    let message = error.to_string();
                    let BlockError::BlockSizeMismatch { block, .. } = error;
                    let block_returned = block.block_id() == id;
                    mutable.push(block);
                    Outcome::Refused {
                        message,
                        block_returned,
                    }
                }
            }
        })
    }

    fn register(&mut self, pick: Pick) -> Outcome {
        let Some(manager) = &self.manager else {
            return Outcome::Skipped;
        };
        with(&mut self.complete, pick, |complete, at| {
            let block = manager.register_block(complete.remove(at));
            let outcome = Outcome::Held(vec![held(&block)]);
            self.immutable.push(block);
            outcome
        })
    }

    fn register_batch(&mut self, pick: Pick, count: usize, newest_first: bool) -> Outcome {
        if self.manager.is_none() {
            return Outcome::Skipped;
        }
        let mut batch = take_some(&mut self.complete, pick, count);
        if newest_first {
            batch.reverse();
        }
        self.register_all(batch)
    }

    /// Registers the blocks and holds the results. Requires the manager.
    fn register_all(&mut self, batch: Vec<CompleteBlock<T>>) -> Outcome {
        let manager = self.manager.as_ref().expect("the caller checked");
        let blocks = manager.register_blocks(batch);
        self.hold(blocks)
    }

    fn request(&mut self, path: &[PositionalLineageHash], batch: bool) -> Outcome {
        let matched = self.match_blocks(path);
        let Outcome::Held(hits) = &matched else {
            return matched;
        };
        let missing = &path[hits.len()..];
        let (allocated, staged) = self.allocate_and_stage(missing);
        let registered = if batch {
            self.register_all(staged)
        } else {
            let manager = self.manager.as_ref().expect("the match went through");
            let blocks = staged
                .into_iter()
                .map(|block| manager.register_block(block))
                .collect();
            self.hold(blocks)
        };
        Outcome::Several(vec![matched, allocated, registered])
    }

    fn publish(&mut self, hashes: &[PositionalLineageHash]) -> Outcome {
        if self.manager.is_none() {
            return Outcome::Skipped;
        }
        let (allocated, staged) = self.allocate_and_stage(hashes);
        let registered = self.register_all(staged);
        Outcome::Several(vec![allocated, registered])
    }

    /// Allocates and stages one block per hash. Returns nothing if the allocation is refused.
    fn allocate_and_stage(
        &self,
        hashes: &[PositionalLineageHash],
    ) -> (Outcome, Vec<CompleteBlock<T>>) {
        let manager = self.manager.as_ref().expect("the caller checked");
        let Some((blocks, evicted)) = manager.allocate_blocks_with_evictions(hashes.len()) else {
            return (Outcome::Allocated(None), Vec::new());
        };
        let allocated = Outcome::Allocated(Some(Allocation {
            count: blocks.len(),
            evicted: Some(evicted),
        }));
        let staged = blocks
            .into_iter()
            .zip(hashes)
            .map(|(block, &hash)| {
                let size = block.block_size();
                block.stage(hash, size).expect("the size is the block's")
            })
            .collect();
        (allocated, staged)
    }

    fn match_blocks(&mut self, hashes: &[PositionalLineageHash]) -> Outcome {
        let Some(manager) = &self.manager else {
            return Outcome::Skipped;
        };
        let blocks = manager.match_blocks(hashes);
        self.hold(blocks)
    }

    fn match_scattered(&mut self, hashes: &[PositionalLineageHash]) -> Outcome {
        let Some(manager) = &self.manager else {
            return Outcome::Skipped;
        };
        let found = manager.match_blocks_scattered(hashes);
        let outcome =
            Outcome::HeldOrMissed(found.iter().map(|block| block.as_ref().map(held)).collect());
        self.immutable.extend(found.into_iter().flatten());
        outcome
    }

    fn scan(&mut self, hashes: &[PositionalLineageHash], touch: bool) -> Outcome {
        let Some(manager) = &self.manager else {
            return Outcome::Skipped;
        };
        let mut found: Vec<_> = manager.scan_matches(hashes, touch).into_iter().collect();
        found.sort_by_key(|(hash, _)| *hash);
        self.hold(found.into_iter().map(|(_, block)| block).collect())
    }

    fn hold(&mut self, blocks: Vec<ImmutableBlock<T>>) -> Outcome {
        let outcome = Outcome::Held(blocks.iter().map(held).collect());
        self.immutable.extend(blocks);
        outcome
    }

    fn drop_blocks(&mut self, pick: Pick, count: usize, order: Order) -> Outcome {
        let mut blocks = take_some(&mut self.immutable, pick, count);
        match order {
            Order::OldestFirst => drop(blocks),
            Order::NewestFirst => {
                while let Some(block) = blocks.pop() {
                    drop(block);
                }
            }
            Order::Interleaved => {
                let mut blocks: Vec<_> = blocks.into_iter().map(Some).collect();
                blocks.iter_mut().step_by(2).for_each(|block| *block = None);
                drop(blocks);
            }
        }
        Outcome::Done
    }
}

fn held<T: BlockMetadata>(block: &ImmutableBlock<T>) -> Held {
    Held {
        hash: block.sequence_hash(),
        use_count: block.use_count(),
    }
}

fn metrics(metrics: &BlockPoolMetrics) -> Metrics {
    let snapshot = metrics.snapshot();
    Metrics {
        allocations: snapshot.allocations,
        allocations_from_reset: snapshot.allocations_from_reset,
        evictions: snapshot.evictions,
        registrations: snapshot.registrations,
        duplicate_blocks: snapshot.duplicate_blocks,
        registration_dedup: snapshot.registration_dedup,
        stagings: snapshot.stagings,
        match_hashes_requested: snapshot.match_hashes_requested,
        match_blocks_returned: snapshot.match_blocks_returned,
        scan_hashes_requested: snapshot.scan_hashes_requested,
        scan_blocks_returned: snapshot.scan_blocks_returned,
        eager_primary_to_inactive_total: snapshot.eager_primary_to_inactive_total,
        allocate_atomic_rollback_total: snapshot.allocate_atomic_rollback_total,
        release_primary_noop_total: snapshot.release_primary_noop_total,
        release_duplicate_noop_total: snapshot.release_duplicate_noop_total,
        inflight_mutable: snapshot.inflight_mutable,
        inflight_immutable: snapshot.inflight_immutable,
        reset_pool_size: snapshot.reset_pool_size,
        inactive_pool_size: snapshot.inactive_pool_size,
    }
}
