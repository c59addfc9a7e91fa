//! Regressions: defects that have been found and fixed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use kvbm_lockfree::events::EventsManager;
use kvbm_lockfree::{BlockManager, BlockRegistry, CompleteBlock, ImmutableBlock, MutableBlock};

use crate::fuse::{self, Fuse};
use crate::ledger::{Ledger, Owner, Value};
use crate::mirror::Mirror;
use crate::world::{BLOCK_SIZE, Disk, Gpu, hash};

/// Far longer than anything takes.
const LONG: Duration = Duration::from_secs(20);

fn manager<T: kvbm_lockfree::BlockMetadata>(
    blocks: usize,
    registry: &BlockRegistry,
) -> BlockManager<T> {
    BlockManager::builder()
        .block_count(blocks)
        .block_size(BLOCK_SIZE)
        .registry(registry.clone())
        .build()
        .expect("it is valid")
}

fn stage(manager: &BlockManager<Gpu>, n: u64) -> CompleteBlock<Gpu> {
    let block = manager.allocate_one().expect("there is one");
    block.stage(hash(n), BLOCK_SIZE).expect("of this size")
}

fn register(manager: &BlockManager<Gpu>, n: u64) -> ImmutableBlock<Gpu> {
    manager.register_block(stage(manager, n))
}

/// Attaches a value whose drop panics.
fn attach_bomb(block: &ImmutableBlock<Gpu>) {
    let fuse = Fuse::new(&[0], 0);
    fuse.light();
    let value = Value::new(Owner::Hash(0), &Arc::new(Ledger::default()), Some(&fuse));
    let attached = block.registration_handle().attach_unique(value);
    attached.expect("it is the only one");
}

/// Returns whether a bomb went off.
fn is_blast<R>(code: impl FnOnce() -> R) -> bool {
    match catch_unwind(AssertUnwindSafe(code)) {
        Ok(_) => false,
        Err(payload) => fuse::blast(payload).is_ok(),
    }
}

/// A cleared block has a bomb attached to its hash, which is then registered again.
fn register_over_a_bomb(has_second_tier: bool) {
    let registry = BlockRegistry::new();
    let manager: BlockManager<Gpu> = manager(8, &registry);
    let _second: Option<BlockManager<Disk>> = has_second_tier.then(|| self::manager(8, &registry));
    let blocks: Vec<_> = (0..8).map(|n| register(&manager, n)).collect();
    attach_bomb(&blocks[3]);
    drop(blocks);
    manager.clear_inactive_pool();
    // In the block that the first one used.
    let block = stage(&manager, 3);
    assert!(is_blast(|| manager.register_block(block)));
    assert_eq!(manager.available_blocks(), 8);
    manager.audit().expect("it is consistent");
    assert!(
        registry.is_registered(hash(3)),
        "the registration is complete"
    );
    assert_eq!(
        manager.allocate_blocks(8).map(|blocks| blocks.len()),
        Some(8)
    );
    manager.audit().expect("it is consistent");
}

#[test]
fn a_bomb_in_the_way_of_a_registration_loses_no_block() {
    register_over_a_bomb(false);
}

#[test]
fn a_bomb_in_the_way_of_a_registration_loses_no_block_with_two_tiers() {
    register_over_a_bomb(true);
}

/// Returns a pool of two blocks, of which one is cached and has a bomb attached.
fn pool_of_two() -> BlockManager<Gpu> {
    let manager = manager(2, &BlockRegistry::new());
    let block = register(&manager, 0);
    attach_bomb(&block);
    drop(block);
    manager
}

fn assert_evicted(manager: &BlockManager<Gpu>) {
    let metrics = manager.metrics().snapshot();
    assert_eq!(metrics.inflight_mutable, 0);
    assert_eq!(metrics.evictions, 1);
    assert_eq!(
        (metrics.allocations, metrics.allocations_from_reset),
        (3, 2)
    );
    assert_eq!(manager.available_blocks(), 2);
    manager.audit().expect("it is consistent");
}

#[test]
fn an_allocation_that_unwinds_has_been_counted() {
    let manager = pool_of_two();
    assert!(is_blast(|| manager.allocate_blocks(2)));
    assert_evicted(&manager);
}

#[test]
fn an_allocation_that_unwinds_has_filled_the_buffer() {
    let manager = pool_of_two();
    let mut blocks: Vec<MutableBlock<Gpu>> = Vec::new();
    assert!(is_blast(|| manager.allocate_into(2, &mut blocks)));
    assert_eq!(blocks.len(), 2, "the panic comes when all are appended");
    assert_eq!(manager.metrics().snapshot().inflight_mutable, 2);
    manager.free_from(&mut blocks);
    assert_evicted(&manager);
}

#[test]
fn a_bomb_does_not_keep_events_back() {
    const BLOCKS: u64 = 20;
    let events = Arc::new(EventsManager::builder().build());
    let mut mirror = Mirror::new(&events);
    let registry = BlockRegistry::builder().event_manager(events).build();
    let manager = manager(BLOCKS as usize, &registry);
    let blocks: Vec<_> = (0..BLOCKS).map(|n| register(&manager, n)).collect();
    attach_bomb(&blocks[3]);
    drop(blocks);
    mirror.read();
    assert_eq!(mirror.hashes.len(), BLOCKS as usize);
    manager.clear_inactive_pool();
    let start = Instant::now();
    while !mirror.hashes.is_empty() {
        let left = mirror.hashes.len();
        assert!(
            start.elapsed() < LONG,
            "{left} of {BLOCKS} `Remove`s do not come"
        );
        thread::sleep(Duration::from_micros(100));
        mirror.read();
    }
    assert!(mirror.faults.is_empty(), "{:?}", mirror.faults);
}
