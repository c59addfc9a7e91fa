//! Operations that have no counterpart in the reference: clearing, leases, and retention directives;
//! and operations whose cost must not grow with the pool.

use std::hint::black_box;
use std::time::Duration;

use dynamo_tokens::PositionalLineageHash as SequenceHash;
use iai_callgrind::{library_benchmark, library_benchmark_group};
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockManager, BlockRegistry};

use crate::limit_own as limit;
use crate::own::{Buffered, admit, steady_beyond};
use crate::workload::{BATCH, chain};
use crate::{POOL, Tier};

const HOUR: Duration = Duration::from_secs(3_600);

/// A full pool in which a directive has been given.
fn directed(policy: &str) -> Buffered {
    let at = steady_beyond(policy);
    let low = Retention::new(Priority::LOWEST);
    at.scene.manager.set_retention(&chain(1_000), .., low);
    at
}

/// A pool that has been cleared.
fn cleared(policy: &str) -> Buffered {
    let at = steady_beyond(policy);
    at.scene.manager.clear_inactive_pool();
    at
}

/// A request that is held.
fn held(policy: &str) -> Buffered {
    let mut at = steady_beyond(policy);
    admit(&at.scene.manager, &chain(1), &mut at.fresh, &mut at.held);
    // The tables of leases and directives have been allocated.
    let lease = at.scene.manager.lease(at.held.clone(), "bench", None);
    lease.expect("of this manager").release().expect("it holds");
    at.held[0].set_retention(Retention::default());
    at
}

/// A full pool that is larger by this factor.
fn many_blocks(times: usize) -> BlockManager<Tier> {
    let manager = BlockManager::builder()
        .block_count(times * POOL)
        .block_size(16)
        .registry(BlockRegistry::new())
        .with_lru_backend()
        .build()
        .expect("a valid configuration");
    for number in 0..(times * POOL / BATCH) as u64 {
        let blocks = manager.allocate_blocks(BATCH).expect("as many are free");
        let staged = blocks.into_iter().zip(chain(number));
        let staged = staged.map(|(block, hash)| block.stage(hash, 16).expect("of this size"));
        drop(manager.register_blocks(staged.collect()));
    }
    manager
}

// The limit is that of a pool of 4,096 blocks.
#[library_benchmark]
#[bench::large(args = (32), setup = many_blocks, config = limit("snapshot.large"))]
fn snapshot(manager: BlockManager<Tier>) -> BlockManager<Tier> {
    for _ in 0..10 {
        black_box(manager.metrics().snapshot());
    }
    manager
}

#[library_benchmark]
#[bench::large(args = (32), setup = many_blocks, config = limit("registered_count.large"))]
fn registered_count(manager: BlockManager<Tier>) -> BlockManager<Tier> {
    for _ in 0..10 {
        black_box(manager.block_registry().registered_count());
    }
    manager
}

// Every other request should be evicted first.
#[library_benchmark]
#[bench::lru(args = ("lru"), setup = directed, config = limit("retained.lru"))]
fn retained(mut at: Buffered) -> Buffered {
    let low = Retention::new(Priority::LOWEST).for_duration(HOUR);
    for number in 1..=100 {
        let hashes = chain(black_box(number));
        admit(&at.scene.manager, &hashes, &mut at.fresh, &mut at.held);
        if number % 2 == 0 {
            at.scene.manager.set_retention(&hashes, .., low);
        }
        at.scene.manager.release_from(&mut at.held);
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = steady_beyond, config = limit("clear.lru"))]
fn clear(at: Buffered) -> Buffered {
    for _ in 0..100 {
        at.scene.manager.clear_inactive_pool();
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = cleared, config = limit("take_forgotten.lru"))]
fn take_forgotten(mut at: Buffered) -> Buffered {
    for _ in 0..100 {
        assert!(
            at.scene
                .manager
                .allocate_into(black_box(BATCH), &mut at.fresh)
        );
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = held, config = limit("lease.lru"))]
fn lease(at: Buffered) -> Buffered {
    for _ in 0..100 {
        let lease = at.scene.manager.lease(at.held.clone(), "bench", Some(HOUR));
        drop(black_box(lease));
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = held, config = limit("set_retention.lru"))]
fn set_retention(at: Buffered) -> Buffered {
    let low = Retention::new(Priority::LOWEST).for_duration(HOUR);
    for _ in 0..100 {
        at.scene
            .manager
            .set_retention(&chain(black_box(1)), .., low);
    }
    at
}

/// A full pool in which this many inactive blocks have a directive that keeps them, the next
/// victims first. It has expired if `expires`.
fn kept((directives, expires): (usize, bool)) -> Buffered {
    let at = steady_beyond("lru");
    let mut kept = Retention::new(Priority::HIGHEST);
    if expires {
        kept = kept.for_duration(Duration::from_millis(100));
    }
    let oldest = 1_000 + (POOL / BATCH) as u64;
    for number in oldest..oldest + (directives / BATCH) as u64 {
        let given = at.scene.manager.set_retention(&chain(number), .., kept);
        assert_eq!(given, BATCH);
    }
    // The order has learned of them all, unless there were only a few.
    if expires {
        std::thread::sleep(Duration::from_millis(150));
    }
    at
}

// However many blocks have a directive, or one that has just expired.
#[library_benchmark]
#[bench::kept_1024(args = ((1_024, false)), setup = kept, config = limit("evict_1.kept_1024"))]
#[bench::kept_3968(args = ((3_968, false)), setup = kept, config = limit("evict_1.kept_3968"))]
#[bench::expired_1024(args = ((1_024, true)), setup = kept, config = limit("evict_1.expired_1024"))]
#[bench::expired_3968(args = ((3_968, true)), setup = kept, config = limit("evict_1.expired_3968"))]
fn evict_1(mut at: Buffered) -> Buffered {
    assert!(at.scene.manager.allocate_into(black_box(1), &mut at.fresh));
    at
}

/// A pool that is larger by this factor, and has one block to give a directive to.
fn without_directives(times: usize) -> (BlockManager<Tier>, SequenceHash) {
    let manager = BlockManager::builder()
        .block_count(times * POOL)
        .block_size(16)
        .registry(BlockRegistry::new())
        .with_lru_backend()
        .build()
        .expect("a valid configuration");
    let block = manager.allocate_one().expect("all are free");
    let block = block.stage(chain(1)[0], 16).expect("of this size");
    drop(manager.register_block(block));
    (manager, chain(1)[0])
}

#[library_benchmark]
#[bench::small(args = (1), setup = without_directives, config = limit("first_directive.small"))]
#[bench::large(args = (32), setup = without_directives, config = limit("first_directive.large"))]
fn first_directive((manager, hash): (BlockManager<Tier>, SequenceHash)) -> BlockManager<Tier> {
    let low = Retention::new(Priority::LOWEST);
    assert_eq!(manager.set_retention(black_box(&[hash]), .., low), 1);
    manager
}

library_benchmark_group!(
    name = beyond;
    benchmarks =
        retained,
        clear,
        take_forgotten,
        lease,
        set_retention,
        snapshot,
        registered_count,
        evict_1,
        first_directive,
);
