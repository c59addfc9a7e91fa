//! Operations that only this crate has: methods that allocate nothing, including those that release
//! all blocks of a buffer at once, and the audit.

use std::collections::VecDeque;
use std::hint::black_box;

use dynamo_tokens::PositionalLineageHash as SequenceHash;
use iai_callgrind::{library_benchmark, library_benchmark_group};
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, MutableBlock};

use crate::drop_in::{
    Scene, Staged, active, duplicates, full, inactive, mixed_requests, steady, used,
};
use crate::fifo::Fifo;
use crate::limit_own as limit;
use crate::workload::{BATCH, chain};
use crate::{POOL, Tier};

/// A scene with the caller's buffers, which have enough capacity.
pub struct Buffered {
    pub scene: Scene,
    pub fresh: Vec<MutableBlock<Tier>>,
    pub held: Vec<ImmutableBlock<Tier>>,
}

fn buffered(scene: Scene) -> Buffered {
    Buffered {
        scene,
        fresh: Vec::with_capacity(POOL),
        held: Vec::with_capacity(POOL),
    }
}

fn buffered_used(policy: &str) -> Buffered {
    buffered(used(policy))
}

fn buffered_active(policy: &str) -> Buffered {
    buffered(active(policy))
}

fn buffered_inactive(policy: &str) -> Buffered {
    buffered(inactive(policy))
}

fn buffered_full(policy: &str) -> Buffered {
    buffered(full(policy))
}

fn buffered_steady(policy: &str) -> Buffered {
    buffered(steady(policy))
}

/// A full pool in its steady state, with a policy that the reference does not have.
pub fn steady_beyond(policy: &str) -> Buffered {
    let builder = BlockManager::builder()
        .block_count(POOL)
        .block_size(16)
        .registry(BlockRegistry::new());
    let builder = match policy {
        "custom" => builder.with_eviction_policy(Fifo::default()),
        built_in => builder.with_policy(built_in.parse().expect("it is built in")),
    };
    let mut at = buffered(Scene {
        manager: builder.build().expect("a valid configuration"),
        requests: (1..=100).map(chain).collect(),
        held: Vec::new(),
    });
    for number in 1_000..1_000 + 2 * (POOL / BATCH) as u64 {
        admit(
            &at.scene.manager,
            &chain(number),
            &mut at.fresh,
            &mut at.held,
        );
        at.scene.manager.release_from(&mut at.held);
    }
    at
}

/// One inactive request, with a policy that the reference does not have.
fn inactive_beyond(policy: &str) -> Buffered {
    let mut at = steady_beyond(policy);
    at.scene.requests = vec![chain(999 + 2 * (POOL / BATCH) as u64)];
    at
}

fn buffered_mixed(policy: &str) -> Buffered {
    buffered(mixed_requests(policy))
}

fn buffered_duplicates(policy: &str) -> (Buffered, Staged) {
    let (scene, staged) = duplicates(policy);
    (buffered(scene), staged)
}

/// Matches, allocates, stages and registers a request.
pub fn admit(
    manager: &BlockManager<Tier>,
    hashes: &[SequenceHash],
    fresh: &mut Vec<MutableBlock<Tier>>,
    held: &mut Vec<ImmutableBlock<Tier>>,
) {
    let missing = &hashes[manager.match_into(hashes, held)..];
    assert!(manager.allocate_into(missing.len(), fresh));
    let staged = (fresh.drain(..).zip(missing))
        .map(|(block, &hash)| block.stage(hash, 16).expect("of this size"));
    manager.register_into(staged, held);
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = used, config = limit("allocate_1.lru"))]
fn allocate_1(scene: Scene) -> Scene {
    for _ in 0..1_000 {
        drop(black_box(scene.manager.allocate_one()));
    }
    scene
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = buffered_used, config = limit("allocate_32.lru"))]
fn allocate_32(mut at: Buffered) -> Buffered {
    for _ in 0..100 {
        assert!(
            at.scene
                .manager
                .allocate_into(black_box(BATCH), &mut at.fresh)
        );
        at.scene.manager.free_from(&mut at.fresh);
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = buffered_active, config = limit("match_active.lru"))]
fn match_active(mut at: Buffered) -> Buffered {
    let hashes = &at.scene.requests[0];
    for _ in 0..100 {
        at.scene.manager.match_into(black_box(hashes), &mut at.held);
        at.scene.manager.release_from(&mut at.held);
    }
    at
}

#[library_benchmark]
#[bench::lru(
    args = ("lru"),
    setup = buffered_inactive,
    config = limit("match_inactive.lru")
)]
#[bench::multi_lru(
    args = ("multi_lru"),
    setup = buffered_inactive,
    config = limit("match_inactive.multi_lru")
)]
#[bench::lineage_tick(
    args = ("lineage_tick"),
    setup = buffered_inactive,
    config = limit("match_inactive.lineage_tick")
)]
#[bench::lrfu(
    args = ("lrfu"),
    setup = inactive_beyond,
    config = limit("match_inactive.lrfu")
)]
#[bench::tinylfu(
    args = ("tinylfu"),
    setup = inactive_beyond,
    config = limit("match_inactive.tinylfu")
)]
fn match_inactive(mut at: Buffered) -> Buffered {
    let hashes = &at.scene.requests[0];
    for _ in 0..100 {
        at.scene.manager.match_into(black_box(hashes), &mut at.held);
        at.scene.manager.release_from(&mut at.held);
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = buffered_steady, config = limit("match_miss.lru"))]
fn match_miss(mut at: Buffered) -> Buffered {
    for _ in 0..10 {
        for hashes in &at.scene.requests {
            at.scene.manager.match_into(black_box(hashes), &mut at.held);
        }
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = buffered_steady, config = limit("lifecycle.lru"))]
#[bench::multi_lru(
    args = ("multi_lru"),
    setup = buffered_steady,
    config = limit("lifecycle.multi_lru")
)]
#[bench::lineage_tick(
    args = ("lineage_tick"),
    setup = buffered_steady,
    config = limit("lifecycle.lineage_tick")
)]
#[bench::lineage_fifo(
    args = ("lineage_fifo"),
    setup = buffered_steady,
    config = limit("lifecycle.lineage_fifo")
)]
#[bench::lrfu(args = ("lrfu"), setup = steady_beyond, config = limit("lifecycle.lrfu"))]
#[bench::tinylfu(
    args = ("tinylfu"),
    setup = steady_beyond,
    config = limit("lifecycle.tinylfu")
)]
#[bench::custom(
    args = ("custom"),
    setup = steady_beyond,
    config = limit("lifecycle.custom")
)]
fn lifecycle(mut at: Buffered) -> Buffered {
    for hashes in &at.scene.requests {
        admit(&at.scene.manager, hashes, &mut at.fresh, &mut at.held);
        at.scene.manager.release_from(&mut at.held);
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = buffered_mixed, config = limit("mixed.lru"))]
#[bench::lineage_tick(
    args = ("lineage_tick"),
    setup = buffered_mixed,
    config = limit("mixed.lineage_tick")
)]
fn mixed(mut at: Buffered) -> Buffered {
    let mut running = VecDeque::with_capacity(5);
    for hashes in &at.scene.requests {
        // The oldest request's buffer is reused for the newest.
        let mut held = match running.len() {
            5 => running.pop_front().expect("there are five"),
            _ => Vec::with_capacity(BATCH),
        };
        at.scene.manager.release_from(&mut held);
        admit(&at.scene.manager, hashes, &mut at.fresh, &mut held);
        running.push_back(held);
    }
    drop(running);
    at
}

#[library_benchmark]
#[bench::allow(
    args = ("allow"),
    setup = buffered_duplicates,
    config = limit("register_duplicates.allow")
)]
#[bench::reject(
    args = ("reject"),
    setup = buffered_duplicates,
    config = limit("register_duplicates.reject")
)]
fn register_duplicates((mut at, staged): (Buffered, Staged)) -> Buffered {
    for blocks in staged {
        at.scene.manager.register_into(blocks, &mut at.held);
        at.scene.manager.release_from(&mut at.held);
    }
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = buffered_full, config = limit("evict_pool.lru"))]
#[bench::lineage_tick(
    args = ("lineage_tick"),
    setup = buffered_full,
    config = limit("evict_pool.lineage_tick")
)]
fn evict_pool(mut at: Buffered) -> Buffered {
    assert!(at.scene.manager.allocate_into(POOL, &mut at.fresh));
    at
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = full, config = limit("audit.lru"))]
#[bench::lineage_tick(
    args = ("lineage_tick"),
    setup = full,
    config = limit("audit.lineage_tick")
)]
fn audit(scene: Scene) -> Scene {
    scene.manager.audit().expect("the invariants hold");
    scene
}

library_benchmark_group!(
    name = own;
    benchmarks =
        allocate_1,
        allocate_32,
        match_active,
        match_inactive,
        match_miss,
        lifecycle,
        mixed,
        register_duplicates,
        evict_pool,
        audit,
);
