//! Defects that were found and fixed, each with the test that would have caught it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

#[derive(Clone)]
struct Tier;

fn lru(blocks: usize) -> BlockManager<Tier> {
    BlockManager::builder()
        .block_count(blocks)
        .block_size(16)
        .registry(BlockRegistry::new())
        .with_lru_backend()
        .build()
        .unwrap()
}

/// Caches these hashes in inactive blocks, released in this order.
fn leave_inactive(manager: &BlockManager<Tier>, hashes: &[SequenceHash]) {
    let blocks = manager.allocate_blocks(hashes.len()).unwrap();
    let complete = blocks
        .into_iter()
        .zip(hashes)
        .map(|(block, &hash)| block.stage(hash, 16).unwrap())
        .collect();
    drop(manager.register_blocks(complete));
}

/// An attachment that panics when it is dropped, unless that would abort the process.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("an attachment panics");
        }
    }
}

/// When an attachment panicked during a reset, the rest of the batch and its credits were
/// lost.
#[test]
fn a_panicking_attachment_costs_no_block() {
    let manager = lru(8);
    let hashes: Vec<_> = (0..4).map(SequenceHash::root).collect();
    leave_inactive(&manager, &hashes);
    for block in manager.match_blocks_scattered(&hashes) {
        let handle = block.unwrap().registration_handle();
        handle.attach_unique(Bomb).unwrap();
    }
    assert_eq!(manager.available_blocks(), 8);
    catch_unwind(AssertUnwindSafe(|| manager.reset_inactive_pool())).unwrap_err();
    assert_eq!(manager.audit().unwrap().free, 8);
    manager.reset_inactive_pool().unwrap();
}

/// A victim was recognized by a count of its releases, which wrapped around.
#[test]
fn a_block_released_often_is_no_victim() {
    let manager = lru(4);
    let hashes: Vec<_> = (0..4).map(SequenceHash::root).collect();
    leave_inactive(&manager, &hashes);
    let (_first, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
    assert_eq!(evicted, hashes[..1]);
    for _ in 0..1 << 16 {
        drop(manager.match_one(hashes[1]).unwrap());
    }
    let (_second, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
    assert_eq!(evicted, hashes[2..3]);
}

/// A reset reserved many blocks at once, so concurrent allocations were refused.
#[test]
fn a_reset_beside_an_allocation_refuses_nothing() {
    let manager = lru(8);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                manager.reset_inactive_pool().ok();
            }
        });
        let refused = (0..50_000)
            .filter(|_| manager.allocate_one().is_none())
            .count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0, "one of eight free blocks was wanted");
    });
    manager.audit().unwrap();
}

/// A match that named a hash many times reserved a block for each occurrence.
#[test]
fn a_hash_named_often_is_one_block() {
    let manager = lru(16);
    let hash = SequenceHash::root(1);
    leave_inactive(&manager, &[hash]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(manager.match_blocks_scattered(&[hash; 16]));
            }
        });
        for _ in 0..20_000 {
            let blocks = manager.allocate_blocks(15);
            if blocks.is_none() {
                stop.store(true, Ordering::Relaxed);
                panic!("one block and fifteen are not more than sixteen");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
