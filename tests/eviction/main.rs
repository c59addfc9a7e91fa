//! A user's own eviction policy: its order is followed, and its faults lose no block.

mod backlog;
mod scan;
mod shards;

use std::collections::{BTreeMap, HashMap};
use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
use kvbm_lockfree::{BlockId, BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};
use proptest::prelude::*;

const BLOCKS: usize = 12;

#[derive(Clone)]
struct Tier;

/// Returns one of a family of hashes, in which some are children of others.
fn hash(n: u64) -> SequenceHash {
    let position = n % 4;
    SequenceHash::new(1 + n, (position > 0).then_some(n), position)
}

/// The order of `with_lru_backend`, written as a user would write it.
#[derive(Default)]
struct Lru {
    order: BTreeMap<u64, BlockId>,
    releases: HashMap<BlockId, u64>,
    last: u64,
}

impl EvictionPolicy for Lru {
    fn insert(&mut self, block: InactiveBlock) {
        self.last += 1;
        self.order.insert(self.last, block.block_id);
        let before = self.releases.insert(block.block_id, self.last);
        assert_eq!(before, None, "it was in the order");
    }

    fn remove(&mut self, block_id: BlockId) {
        let release = self.releases.remove(&block_id).expect("it is in the order");
        self.order.remove(&release);
    }

    fn pop(&mut self) -> Option<BlockId> {
        let (_, block_id) = self.order.pop_first()?;
        self.releases.remove(&block_id);
        Some(block_id)
    }
}

/// An [`Lru`] that fails at one of its calls.
struct Faulty {
    lru: Lru,
    calls: Arc<AtomicU64>,
    fails_at: u64,
    panics: bool,
}

impl Faulty {
    fn is_due(&self) -> bool {
        let is_due = self.calls.fetch_add(1, Ordering::Relaxed) == self.fails_at;
        if is_due && self.panics {
            panic_any("on purpose");
        }
        is_due
    }
}

impl EvictionPolicy for Faulty {
    fn insert(&mut self, block: InactiveBlock) {
        self.is_due();
        self.lru.insert(block);
    }

    fn remove(&mut self, block_id: BlockId) {
        self.is_due();
        self.lru.remove(block_id);
    }

    fn pop(&mut self) -> Option<BlockId> {
        let victim = self.lru.pop();
        if self.is_due() { None } else { victim }
    }
}

fn manager(policy: Option<Box<dyn EvictionPolicy>>) -> BlockManager<Tier> {
    let builder = BlockManager::builder()
        .block_count(BLOCKS)
        .block_size(1)
        .registry(BlockRegistry::new());
    match policy {
        Some(policy) => builder.with_eviction_policy(policy),
        None => builder.with_lru_backend(),
    }
    .build()
    .unwrap()
}

#[derive(Debug, Clone)]
enum Op {
    /// Matches a hash, or registers a block under it.
    Request(u64),
    /// Drops one of the guards.
    Drop(usize),
    /// Allocates this many blocks, and drops them.
    Flood(usize),
    Reset,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..40_u64).prop_map(Op::Request),
        5 => any::<usize>().prop_map(Op::Drop),
        1 => (1..6_usize).prop_map(Op::Flood),
        1 => Just(Op::Reset),
    ]
}

fn request(
    manager: &BlockManager<Tier>,
    n: u64,
    evicted: &mut Vec<SequenceHash>,
) -> Option<ImmutableBlock<Tier>> {
    if let Some(block) = manager.match_one(hash(n)) {
        return Some(block);
    }
    let (mut blocks, victims) = manager.allocate_blocks_with_evictions(1)?;
    evicted.extend(victims);
    let block = blocks.pop().unwrap().stage(hash(n), 1).unwrap();
    Some(manager.register_block(block))
}

/// Runs the operations and returns what was evicted, in order.
fn run(manager: &BlockManager<Tier>, ops: &[Op]) -> Vec<SequenceHash> {
    let mut held = Vec::new();
    let mut evicted = Vec::new();
    for op in ops {
        match *op {
            Op::Request(n) => held.extend(request(manager, n, &mut evicted)),
            Op::Drop(at) if !held.is_empty() => drop(held.swap_remove(at % held.len())),
            Op::Drop(_) => {}
            Op::Flood(count) => {
                if let Some((_, victims)) = manager.allocate_blocks_with_evictions(count) {
                    evicted.extend(victims);
                }
            }
            Op::Reset => drop(manager.reset_inactive_pool()),
        }
    }
    drop(held);
    manager.audit().unwrap();
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(manager.allocate_blocks(BLOCKS).unwrap().len(), BLOCKS);
    evicted
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_is_the_policys(ops in prop::collection::vec(op(), 0..200)) {
        let own = manager(Some(Box::new(Lru::default())));
        prop_assert_eq!(run(&own, &ops), run(&manager(None), &ops));
    }

    #[test]
    fn a_fault_loses_no_block(
        ops in prop::collection::vec(op(), 0..200),
        fails_at in 0..100_u64,
        panics: bool,
    ) {
        let policy = Faulty { lru: Lru::default(), calls: Arc::default(), fails_at, panics };
        run(&manager(Some(Box::new(policy))), &ops);
    }
}

#[test]
fn threads_share_a_policy() {
    const THREADS: u64 = 4;
    for panics in [false, true] {
        let calls = Arc::new(AtomicU64::new(0));
        let policy = Faulty {
            lru: Lru::default(),
            calls: Arc::clone(&calls),
            fails_at: if panics { 5_000 } else { u64::MAX },
            panics,
        };
        let manager = manager(Some(Box::new(policy)));
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let manager = &manager;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        // Each thread holds one block, so none is refused.
                        let n = (round * (thread + 1)) % 40;
                        drop(
                            request(manager, n, &mut Vec::new()).expect("12 blocks for 4 threads"),
                        );
                    }
                });
            }
        });
        manager.audit().unwrap();
        assert_eq!(manager.available_blocks(), BLOCKS);
        assert!(calls.load(Ordering::Relaxed) > 5_000);
    }
}
