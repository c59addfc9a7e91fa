//! The model of a tier: its manager, all guards taken from it, and the counts that they imply.

use std::collections::{HashMap, HashSet};

use std::time::Duration;

use kvbm_lockfree::blocks::{BlockDuplicationPolicy, BlockRegistrationHandle};
use kvbm_lockfree::leases::Lease;
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{
    BlockId, BlockManager, BlockMetadata, BlockRegistry, CompleteBlock, ImmutableBlock,
    LifecyclePinRef, MutableBlock, SequenceHash, WeakBlock,
};

use crate::custom::{Custom, Fault};
use crate::draw::Draw;
use crate::policy::{OwnPolicy, with_own_policy};

const BLOCK_SIZE: usize = 16;

/// Longer than any case takes, so nothing expires during one.
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
pub struct Config {
    pub policy: Order,
    pub block_count: usize,
    pub allow_duplicates: bool,
    pub reset_on_release: bool,
}

/// The eviction order.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    Own(OwnPolicy),
    Custom(Fault, usize),
}

/// How results are returned.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// One block at a time, without a collection.
    Single,
    /// In a returned collection.
    Returned,
    /// In a caller-supplied buffer that is not empty.
    Into,
    /// In a returned collection or a caller-supplied buffer, by the other method: the one that
    /// also returns evicted hashes, or the one for scattered hashes.
    Other,
}

/// Picks are taken modulo the number of choices.
#[derive(Debug)]
pub enum Op {
    Allocate {
        count: usize,
        way: Way,
    },
    DropMutable {
        pick: usize,
    },
    Stage {
        pick: usize,
        node: usize,
    },
    StageWrongSize {
        pick: usize,
    },
    ResetComplete {
        pick: usize,
    },
    DropComplete {
        pick: usize,
    },
    Register {
        count: usize,
        way: Way,
    },
    Match {
        nodes: Vec<usize>,
        way: Way,
    },
    Scan {
        nodes: Vec<usize>,
    },
    Clone {
        pick: usize,
    },
    DropBlock {
        pick: usize,
    },
    DropAll,
    SetEvictOnReset {
        pick: usize,
        value: bool,
    },
    Downgrade {
        pick: usize,
    },
    CloneWeak {
        pick: usize,
    },
    Upgrade {
        pick: usize,
    },
    DropWeak {
        pick: usize,
    },
    Pin {
        pick: usize,
    },
    ClonePin {
        pick: usize,
    },
    DropPin {
        pick: usize,
    },
    TakeHandle {
        pick: usize,
    },
    TakePinHandle {
        pick: usize,
    },
    Retain {
        nodes: Vec<usize>,
        end: usize,
        retention: Retention,
    },
    RetainHeld {
        pick: usize,
        retention: Retention,
    },
    Lease {
        pick: usize,
        duration: Option<Duration>,
    },
    EndLease {
        pick: usize,
    },
    ResetInactive,
    ClearInactive,
    DropManager,
}

pub fn op(draw: &mut Draw) -> Op {
    let pick = |draw: &mut Draw| draw.below(16);
    let way = |draw: &mut Draw| draw.one_of(&[Way::Single, Way::Returned, Way::Into, Way::Other]);
    match draw.below(32) {
        0..=2 => Op::Allocate {
            count: draw.below(10),
            way: way(draw),
        },
        3 => Op::DropMutable { pick: pick(draw) },
        4..=6 => Op::Stage {
            pick: pick(draw),
            node: pick(draw),
        },
        7 => Op::StageWrongSize { pick: pick(draw) },
        8 => Op::ResetComplete { pick: pick(draw) },
        9 => Op::DropComplete { pick: pick(draw) },
        10..=12 => Op::Register {
            count: draw.below(4),
            way: way(draw),
        },
        13 | 14 => Op::Match {
            nodes: draw.several(6, pick),
            way: way(draw),
        },
        15 => Op::Scan {
            nodes: draw.several(6, pick),
        },
        16 => Op::Clone { pick: pick(draw) },
        17..=19 => Op::DropBlock { pick: pick(draw) },
        20 => Op::DropAll,
        21 => Op::SetEvictOnReset {
            pick: pick(draw),
            value: draw.once_in(2),
        },
        22 => Op::Downgrade { pick: pick(draw) },
        23 => Op::CloneWeak { pick: pick(draw) },
        24 => Op::Upgrade { pick: pick(draw) },
        25 => Op::DropWeak { pick: pick(draw) },
        26 => Op::Pin { pick: pick(draw) },
        27 => Op::ClonePin { pick: pick(draw) },
        28 => Op::DropPin { pick: pick(draw) },
        29 => Op::TakeHandle { pick: pick(draw) },
        30 => Op::TakePinHandle { pick: pick(draw) },
        _ if draw.once_in(2) => match draw.below(4) {
            0 => Op::Retain {
                nodes: draw.several(6, pick),
                end: draw.below(6 * BLOCK_SIZE),
                retention: retention(draw),
            },
            1 => Op::RetainHeld {
                pick: pick(draw),
                retention: retention(draw),
            },
            2 => Op::Lease {
                pick: pick(draw),
                duration: draw.one_of(&[None, Some(Duration::ZERO), Some(HOUR)]),
            },
            _ => Op::EndLease { pick: pick(draw) },
        },
        _ if draw.once_in(4) => Op::DropManager,
        _ if draw.once_in(2) => Op::ClearInactive,
        _ => Op::ResetInactive,
    }
}

fn retention(draw: &mut Draw) -> Retention {
    let priority = draw.one_of(&[0, 10, 35, 60, 100]);
    Retention {
        priority: Priority::new(priority).expect("at most 100"),
        duration: draw.one_of(&[None, None, Some(Duration::ZERO), Some(HOUR)]),
    }
}

pub fn pick<G>(guards: &[G], pick: usize) -> Option<&G> {
    guards.get(pick % guards.len().max(1))
}

pub fn take<G>(guards: &mut Vec<G>, pick: usize) -> Option<G> {
    (!guards.is_empty()).then(|| guards.remove(pick % guards.len()))
}

/// A manager and all guards taken from it.
pub struct Tier<T: BlockMetadata> {
    manager: Option<BlockManager<T>>,
    registry: BlockRegistry,
    total: usize,
    allow_duplicates: bool,
    mutable: Vec<MutableBlock<T>>,
    complete: Vec<CompleteBlock<T>>,
    immutable: Vec<ImmutableBlock<T>>,
    weak: Vec<WeakBlock<T>>,
    pins: Vec<LifecyclePinRef>,
    /// The leases, with what they hold.
    leases: Vec<(Lease<T>, BlockId, SequenceHash)>,
    /// The duplicates that are held.
    duplicates: HashSet<BlockId>,
}

impl<T: BlockMetadata> Tier<T> {
    pub fn new(config: &Config, registry: &BlockRegistry) -> Self {
        let duplication = if config.allow_duplicates {
            BlockDuplicationPolicy::Allow
        } else {
            BlockDuplicationPolicy::Reject
        };
        let builder = BlockManager::builder()
            .block_count(config.block_count)
            .block_size(BLOCK_SIZE)
            .registry(registry.clone())
            .duplication_policy(duplication)
            .with_default_reset_on_release(config.reset_on_release);
        let builder = match config.policy {
            Order::Own(policy) => with_own_policy!(builder, policy),
            Order::Custom(fault, victims_before) => {
                builder.with_eviction_policy(Custom::new(fault, victims_before))
            }
        };
        let manager = builder.build().expect("the configuration is valid");
        Tier {
            manager: Some(manager),
            registry: registry.clone(),
            total: config.block_count,
            allow_duplicates: config.allow_duplicates,
            mutable: Vec::new(),
            complete: Vec::new(),
            immutable: Vec::new(),
            weak: Vec::new(),
            pins: Vec::new(),
            leases: Vec::new(),
            duplicates: HashSet::new(),
        }
    }

    pub fn apply(
        &mut self,
        op: &Op,
        hashes: &[SequenceHash],
        handles: &mut Vec<BlockRegistrationHandle>,
    ) {
        let of = |nodes: &[usize]| -> Vec<_> {
            let hash = |&node: &usize| hashes[node % hashes.len()];
            nodes.iter().map(hash).collect()
        };
        match *op {
            Op::Allocate { count, way } => self.allocate(count, way),
            Op::DropMutable { pick } => drop(take(&mut self.mutable, pick)),
            Op::Stage { pick, node } => {
                if let Some(block) = take(&mut self.mutable, pick) {
                    let (id, hash) = (block.block_id(), of(&[node])[0]);
                    let block = block.stage(hash, BLOCK_SIZE).expect("the size fits");
                    assert_eq!((block.block_id(), block.sequence_hash()), (id, hash));
                    self.complete.push(block);
                }
            }
            Op::StageWrongSize { pick } => {
                if let Some(block) = take(&mut self.mutable, pick) {
                    let kvbm_lockfree::BlockError::BlockSizeMismatch { block, .. } =
                        block.stage(hashes[0], BLOCK_SIZE + 1).unwrap_err();
                    self.mutable.push(block);
                }
            }
            Op::ResetComplete { pick } => {
                let block = take(&mut self.complete, pick);
                self.mutable.extend(block.map(CompleteBlock::reset));
            }
            Op::DropComplete { pick } => drop(take(&mut self.complete, pick)),
            Op::Register { count, way } => self.register(count, way),
            Op::Match { ref nodes, way } => self.find(&of(nodes), way),
            Op::Scan { ref nodes } => {
                if let Some(manager) = &self.manager {
                    let found = manager.scan_matches(&of(nodes), true);
                    for (hash, block) in found {
                        assert_eq!(block.sequence_hash(), hash);
                        self.immutable.push(block);
                    }
                }
            }
            Op::Clone { pick: at } => self.immutable.extend(pick(&self.immutable, at).cloned()),
            Op::DropBlock { pick } => drop(take(&mut self.immutable, pick)),
            Op::DropAll => self.immutable.clear(),
            Op::SetEvictOnReset { pick: at, value } => {
                if let Some(block) = pick(&self.immutable, at) {
                    block.set_evict_on_reset(value);
                }
            }
            Op::Downgrade { pick: at } => {
                let weak = pick(&self.immutable, at).map(ImmutableBlock::downgrade);
                self.weak.extend(weak);
            }
            Op::CloneWeak { pick: at } => self.weak.extend(pick(&self.weak, at).cloned()),
            Op::Upgrade { pick: at } => self.upgrade(at),
            Op::DropWeak { pick } => drop(take(&mut self.weak, pick)),
            Op::Pin { pick: at } => {
                let pin = pick(&self.immutable, at).map(ImmutableBlock::pin);
                self.pins.extend(pin);
            }
            Op::ClonePin { pick: at } => self.pins.extend(pick(&self.pins, at).cloned()),
            Op::DropPin { pick } => drop(take(&mut self.pins, pick)),
            Op::TakeHandle { pick: at } => {
                let handle = pick(&self.immutable, at).map(ImmutableBlock::registration_handle);
                handles.extend(handle);
            }
            Op::TakePinHandle { pick: at } => {
                let handle = pick(&self.pins, at).map(LifecyclePinRef::registration_handle);
                handles.extend(handle);
            }
            Op::Retain {
                ref nodes,
                end,
                retention,
            } => {
                if let Some(manager) = &self.manager {
                    let hashes = of(nodes);
                    let first = &hashes[..end.div_ceil(BLOCK_SIZE).min(hashes.len())];
                    let present = self.registry.check_presence::<T>(first);
                    let expected = present.iter().filter(|(_, present)| *present).count();
                    let given = manager.set_retention(&hashes, ..end, retention);
                    assert_eq!(given, expected);
                }
            }
            Op::RetainHeld {
                pick: at,
                retention,
            } => {
                if let Some(block) = pick(&self.immutable, at) {
                    block.set_retention(retention);
                    let left = block.retention();
                    match retention.duration {
                        Some(Duration::ZERO) => assert_eq!(left, Retention::default()),
                        _ => assert_eq!(left.priority, retention.priority),
                    }
                }
            }
            Op::Lease { pick: at, duration } => {
                if let Some(manager) = &self.manager
                    && let Some(block) = pick(&self.immutable, at).cloned()
                {
                    let (id, hash) = (block.block_id(), block.sequence_hash());
                    let lease = manager.lease(vec![block], "fuzz", duration);
                    let lease = lease.expect("the block is this manager's");
                    self.leases.push((lease, id, hash));
                    manager.expire_leases();
                    let holders = manager.holders();
                    // Leases with a duration of zero have ended.
                    self.leases.retain(|(lease, ..)| {
                        let is_held = holders.iter().any(|holder| holder.lease == lease.id());
                        assert_eq!(is_held, lease.to_guards().is_ok());
                        is_held
                    });
                    assert_eq!(self.leases.len(), holders.len());
                }
            }
            Op::EndLease { pick } => drop(take(&mut self.leases, pick)),
            Op::ResetInactive => {
                if let Some(manager) = &self.manager {
                    let is_idle = self.exclusive() + self.active() == 0;
                    assert_eq!(manager.reset_inactive_pool().is_ok(), is_idle);
                }
            }
            Op::ClearInactive => {
                if let Some(manager) = &self.manager {
                    manager.clear_inactive_pool();
                    let metrics = manager.metrics().snapshot();
                    assert_eq!(metrics.inactive_pool_size, 0);
                }
            }
            Op::DropManager => {
                self.manager = None;
                for (lease, ..) in self.leases.drain(..) {
                    assert!(lease.release().is_err(), "leases end with their manager");
                }
            }
        }
        let held: HashSet<_> = self.holders().map(|(id, _)| id).collect();
        self.duplicates.retain(|id| held.contains(id));
    }

    fn allocate(&mut self, count: usize, way: Way) {
        let Some(manager) = &self.manager else {
            return;
        };
        let available = manager.available_blocks();
        let before = self.mutable.len();
        let (wanted, given) = match way {
            Way::Single => {
                let block = manager.allocate_one();
                let given = block.is_some();
                self.mutable.extend(block);
                (1, given)
            }
            Way::Returned => {
                let blocks = manager.allocate_blocks(count);
                let given = blocks.is_some();
                self.mutable.extend(blocks.into_iter().flatten());
                (count, given)
            }
            Way::Into => (count, manager.allocate_into(count, &mut self.mutable)),
            Way::Other => {
                let report = manager.audit().expect("the pool is consistent");
                let free = report.free + report.forgotten;
                let mut evicted = Vec::new();
                let given =
                    manager.allocate_into_with_evictions(count, &mut self.mutable, &mut evicted);
                let expected = if given { count.saturating_sub(free) } else { 0 };
                assert_eq!(evicted.len(), expected, "free blocks come first");
                assert!(!evicted.iter().any(|&hash| self.holds(hash)));
                (count, given)
            }
        };
        assert_eq!(given, wanted <= available, "{wanted} of {available}");
        let taken = if given { wanted } else { 0 };
        assert_eq!(self.mutable.len(), before + taken);
    }

    /// Registers the most recently staged blocks.
    fn register(&mut self, count: usize, way: Way) {
        let Some(manager) = &self.manager else {
            return;
        };
        let count = match way {
            Way::Single => 1.min(self.complete.len()),
            _ => count.min(self.complete.len()),
        };
        let batch = self.complete.split_off(self.complete.len() - count);
        let staged: Vec<_> = batch
            .iter()
            .map(|block| (block.block_id(), block.sequence_hash()))
            .collect();
        let mut present: HashSet<_> = staged
            .iter()
            .map(|&(_, hash)| hash)
            .filter(|&hash| self.registry.check_presence::<T>(&[hash])[0].1)
            .collect();

        let before = self.immutable.len();
        match way {
            Way::Single => {
                let register = |block| manager.register_block(block);
                self.immutable.extend(batch.into_iter().map(register));
            }
            Way::Returned | Way::Other => self.immutable.extend(manager.register_blocks(batch)),
            Way::Into => {
                let registered = manager.register_into(batch, &mut self.immutable);
                assert_eq!(registered, count);
            }
        }

        assert_eq!(self.immutable.len(), before + count);
        for (block, (id, hash)) in self.immutable[before..].iter().zip(staged) {
            assert_eq!(block.sequence_hash(), hash);
            let is_second = !present.insert(hash);
            let is_kept = block.block_id() == id;
            assert_eq!(is_kept, !is_second || self.allow_duplicates);
            if is_second && is_kept {
                self.duplicates.insert(id);
            }
        }
    }

    fn find(&mut self, hashes: &[SequenceHash], way: Way) {
        let Some(manager) = &self.manager else {
            return;
        };
        let present: Vec<bool> = self
            .registry
            .check_presence::<T>(hashes)
            .into_iter()
            .map(|(_, present)| present)
            .collect();
        let prefix = present.iter().take_while(|&&present| present).count();
        let before = self.immutable.len();
        let expected: Vec<_> = match way {
            Way::Single => {
                let found = hashes.first().and_then(|&hash| manager.match_one(hash));
                self.immutable.extend(found);
                hashes[..prefix.min(1)].to_vec()
            }
            Way::Returned => {
                self.immutable.extend(manager.match_blocks(hashes));
                hashes[..prefix].to_vec()
            }
            Way::Into => {
                let matched = manager.match_into(hashes, &mut self.immutable);
                assert_eq!(matched, prefix);
                hashes[..prefix].to_vec()
            }
            Way::Other => {
                let found = manager.match_blocks_scattered(hashes);
                assert!(
                    found
                        .iter()
                        .map(Option::is_some)
                        .eq(present.iter().copied())
                );
                self.immutable.extend(found.into_iter().flatten());
                let expected = hashes.iter().zip(&present).filter(|(_, present)| **present);
                expected.map(|(&hash, _)| hash).collect()
            }
        };
        let found = self.immutable[before..].iter();
        assert!(found.map(ImmutableBlock::sequence_hash).eq(expected));
    }

    fn upgrade(&mut self, at: usize) {
        let Some(weak) = pick(&self.weak, at) else {
            return;
        };
        let hash = weak.sequence_hash();
        let upgraded = weak.upgrade();
        match &upgraded {
            Some(block) => assert_eq!(block.sequence_hash(), hash),
            None => assert!(!self.holds(hash), "a held block is found"),
        }
        self.immutable.extend(upgraded);
    }

    /// Returns the registered block of every guard that holds one.
    fn holders(&self) -> impl Iterator<Item = (BlockId, SequenceHash)> {
        let guards = self.immutable.iter();
        let guards = guards.map(|block| (block.block_id(), block.sequence_hash()));
        let pins = self.pins.iter();
        let leases = self.leases.iter().map(|&(_, id, hash)| (id, hash));
        guards
            .chain(pins.map(|pin| (pin.block_id(), pin.sequence_hash())))
            .chain(leases)
    }

    /// Returns whether a guard holds a block of the hash.
    pub fn holds(&self, hash: SequenceHash) -> bool {
        self.holders().any(|(_, held)| held == hash)
    }

    /// Returns whether a weak guard refers to the hash.
    pub fn refers_to(&self, hash: SequenceHash) -> bool {
        self.weak.iter().any(|weak| weak.sequence_hash() == hash)
    }

    fn exclusive(&self) -> usize {
        self.mutable.len() + self.complete.len()
    }

    /// Returns the registered blocks that are held, either by guards or, if they are
    /// primaries, by their duplicates.
    fn active(&self) -> usize {
        let held: HashMap<_, _> = self.holders().collect();
        let (duplicates, primaries): (Vec<_>, Vec<_>) = held
            .iter()
            .partition(|(id, _)| self.duplicates.contains(id));
        let mut hashes: HashSet<_> = primaries.iter().map(|(_, hash)| **hash).collect();
        assert_eq!(hashes.len(), primaries.len(), "a hash has one primary");
        hashes.extend(duplicates.iter().map(|(_, hash)| **hash));
        hashes.len() + duplicates.len()
    }

    /// Audits the pool and compares its counts with the guards.
    pub fn check(&self) {
        let ids = self.mutable.iter().map(MutableBlock::block_id);
        let ids = ids.chain(self.complete.iter().map(CompleteBlock::block_id));
        let registered: HashSet<_> = self.holders().map(|(id, _)| id).collect();
        let all: HashSet<_> = ids.chain(registered.iter().copied()).collect();
        assert_eq!(all.len(), self.exclusive() + registered.len());
        assert!(all.iter().all(|&id| id < self.total));
        self.check_use_counts();

        let Some(manager) = &self.manager else {
            return;
        };
        let report = manager.audit().expect("the pool is consistent");
        assert_eq!(report.exclusive, self.exclusive());
        assert_eq!(report.active, self.active());
        assert_eq!(report.duplicates, self.duplicates.len());
        let available = manager.available_blocks();
        assert_eq!(report.free + report.forgotten + report.inactive, available);
        assert_eq!(available + report.exclusive + report.active, self.total);

        let metrics = manager.metrics().snapshot();
        let free = report.free + report.forgotten;
        assert_eq!(metrics.reset_pool_size, free as i64);
        assert_eq!(metrics.inactive_pool_size, report.inactive as i64);
        assert_eq!(metrics.inflight_mutable, self.mutable.len() as i64);
    }

    fn check_use_counts(&self) {
        let mut counts: HashMap<BlockId, usize> = HashMap::new();
        let mut duplicates: HashMap<SequenceHash, HashSet<BlockId>> = HashMap::new();
        for (id, hash) in self.holders() {
            *counts.entry(id).or_default() += 1;
            if self.duplicates.contains(&id) {
                duplicates.entry(hash).or_default().insert(id);
            }
        }
        for block in &self.immutable {
            let (id, hash) = (block.block_id(), block.sequence_hash());
            let kept_by = match duplicates.get(&hash) {
                Some(duplicates) if !self.duplicates.contains(&id) => duplicates.len(),
                _ => 0,
            };
            assert_eq!(block.use_count(), counts[&id] + kept_by);
        }
    }
}
