//! In which order blocks are handed out after a clearing, and how far an allocation looks.

use kvbm_lockfree::manager::BlockManagerConfigBuilder;
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockManager, BlockRegistry};

use crate::{Gpu, hash, register};

/// More than an allocation looks at.
const MANY: usize = 2048;
/// The number of slots in which an allocation looks for cleared blocks, besides one for each block.
const LOOKS: usize = 256;

type Builder = BlockManagerConfigBuilder<Gpu>;

fn pool(backend: fn(Builder) -> Builder) -> BlockManager<Gpu> {
    let builder = BlockManager::builder()
        .block_count(MANY)
        .block_size(16)
        .registry(BlockRegistry::new());
    backend(builder).build().unwrap()
}

/// In order of release nothing is evicted while a cleared block is left, wherever it is.
#[test]
fn in_order_of_release_cleared_blocks_come_first() {
    let manager = pool(|builder| builder.with_lru_backend());
    let mut held: Vec<_> = (0..MANY as u64).map(|n| register(&manager, n)).collect();
    // Every tenth block is cleared.
    let mut at = 0;
    let (cleared, kept): (Vec<_>, Vec<_>) = held.drain(..).partition(|_| {
        at += 1;
        at % 10 == 0
    });
    let count = cleared.len();
    drop(cleared);
    manager.clear_inactive_pool();
    drop(kept);
    for n in 0..count as u64 {
        let (mut block, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
        assert_eq!(evicted, [], "after {n} of {count}");
        let block = block.pop().unwrap().stage(hash(1 << 32 | n), 16).unwrap();
        drop(manager.register_block(block));
        let report = manager.audit().unwrap();
        assert_eq!(report.forgotten, count - 1 - n as usize);
    }
    let (_block, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
    assert_eq!(evicted, [hash(0)]);
}

/// A single cleared block that the order would keep for last: each allocation looks at its share of
/// the slots, so the block is found by the last one that the bound permits, and not before.
#[test]
fn an_allocation_looks_at_a_share_of_the_slots() {
    let manager = pool(|builder| builder.with_lru_backend());
    let held: Vec<_> = (0..MANY as u64).map(|n| register(&manager, n)).collect();
    let (mut last, kept): (Vec<_>, Vec<_>) = held
        .into_iter()
        .partition(|block| block.block_id() == MANY - 1);
    let last = last.pop().unwrap();
    let retention = Retention::new(Priority::HIGHEST);
    manager.set_retention(&[last.sequence_hash()], .., retention);
    drop(last);
    manager.clear_inactive_pool();
    drop(kept);
    let mut taken = Vec::new();
    let mut evictions = 0;
    loop {
        let (block, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
        taken.extend(block);
        if evicted.is_empty() {
            break;
        }
        evictions += 1;
    }
    assert_eq!(taken.last().unwrap().block_id(), MANY - 1);
    assert_eq!(evictions, MANY / (LOOKS + 1));
    assert_eq!(manager.audit().unwrap().forgotten, 0);
}

/// The gauges agree with a count slot by slot after every step of a round.
#[test]
fn counters_follow_a_round() {
    let manager = pool(|builder| builder.with_lineage_backend());
    let registry = manager.block_registry();
    let agree = || {
        let report = manager.audit().unwrap();
        let registered = report.active + report.inactive - report.duplicates;
        assert_eq!(registry.registered_count(), registered);
        let gauges = manager.metrics().snapshot();
        assert_eq!(gauges.inactive_pool_size, report.inactive as i64);
        let free = report.free + report.forgotten;
        assert_eq!(gauges.reset_pool_size, free as i64);
    };
    for round in 0..3_u64 {
        let contents = |n| hash(round << 40 | n);
        for n in 0..MANY as u64 {
            let block = manager.allocate_one().unwrap();
            drop(manager.register_block(block.stage(contents(n), 16).unwrap()));
        }
        agree();
        manager.clear_inactive_pool();
        agree();
        for n in 0..40 {
            let mut blocks = manager.allocate_blocks(17).unwrap();
            let block = blocks.pop().unwrap();
            drop(manager.register_block(block.stage(contents(n), 16).unwrap()));
            agree();
        }
        manager.clear_inactive_pool();
        agree();
    }
}
