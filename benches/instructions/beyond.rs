//! What the reference has nothing like: further orders of eviction, clearing, leases, and
//! retention directives.

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use iai_callgrind::{library_benchmark, library_benchmark_group};
use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockId, BlockManager, BlockRegistry, ImmutableBlock, MutableBlock};

use crate::limit_own as limit;
use crate::own::admit;
use crate::workload::{BATCH, chain};
use crate::{POOL, Tier};

const HOUR: Duration = Duration::from_secs(3_600);

/// A user's own order: by release, and what comes into use again is passed over.
#[derive(Default)]
struct Fifo {
    order: VecDeque<(BlockId, u64)>,
    /// The release of each block that counts; 0 for none.
    releases: Vec<u64>,
    last: u64,
}

impl EvictionPolicy for Fifo {
    fn insert(&mut self, block: InactiveBlock) {
        self.last += 1;
        if self.releases.len() <= block.block_id {
            self.releases.resize(block.block_id + 1, 0);
        }
        self.releases[block.block_id] = self.last;
        self.order.push_back((block.block_id, self.last));
    }

    fn remove(&mut self, block_id: BlockId) {
        self.releases[block_id] = 0;
    }

    fn pop(&mut self) -> Option<BlockId> {
        loop {
            let (block_id, release) = self.order.pop_front()?;
            if self.releases[block_id] == release {
                self.releases[block_id] = 0;
                return Some(block_id);
            }
        }
    }
}

/// A manager with the caller's buffers, which have their capacity.
struct Pool {
    manager: BlockManager<Tier>,
    fresh: Vec<MutableBlock<Tier>>,
    held: Vec<ImmutableBlock<Tier>>,
}

/// A full pool in its steady state.
fn steady(policy: &str) -> Pool {
    let builder = BlockManager::builder()
        .block_count(POOL)
        .block_size(16)
        .registry(BlockRegistry::new());
    let builder = match policy {
        "lru" | "retained" => builder.with_lru_backend(),
        "lrfu" => builder.with_lrfu_backend(),
        "tinylfu" => builder.with_tinylfu_backend(),
        "custom" => builder.with_eviction_policy(Fifo::default()),
        other => panic!("no policy is called {other}"),
    };
    let mut pool = Pool {
        manager: builder.build().expect("a valid configuration"),
        fresh: Vec::with_capacity(POOL),
        held: Vec::with_capacity(POOL),
    };
    for number in 1_000..1_000 + 2 * (POOL / BATCH) as u64 {
        serve(&mut pool, number);
    }
    if policy == "retained" {
        let low = Retention::new(Priority::LOWEST);
        pool.manager.set_retention(&chain(1_000), .., low);
    }
    pool
}

fn serve(pool: &mut Pool, number: u64) {
    admit(
        &pool.manager,
        &chain(number),
        &mut pool.fresh,
        &mut pool.held,
    );
    pool.manager.release_from(&mut pool.held);
}

/// A pool of which all has been forgotten.
fn cleared(policy: &str) -> Pool {
    let pool = steady(policy);
    pool.manager.clear_inactive_pool();
    pool
}

/// A request, held.
fn held(policy: &str) -> Pool {
    let mut pool = steady(policy);
    admit(&pool.manager, &chain(1), &mut pool.fresh, &mut pool.held);
    // The table of the leases has its room, and that of the directives is there.
    let lease = pool.manager.lease(pool.held.clone(), "bench", None);
    lease.expect("of this manager").release().expect("it holds");
    pool.held[0].set_retention(Retention::default());
    pool
}

#[library_benchmark]
#[bench::lrfu(args = ("lrfu"), setup = steady, config = limit("lifecycle.lrfu"))]
#[bench::tinylfu(args = ("tinylfu"), setup = steady, config = limit("lifecycle.tinylfu"))]
#[bench::custom(args = ("custom"), setup = steady, config = limit("lifecycle.custom"))]
fn lifecycle(mut pool: Pool) -> Pool {
    for number in 1..=100 {
        serve(&mut pool, black_box(number));
    }
    pool
}

// Every other request is to go first.
#[library_benchmark]
#[bench::lru(args = ("retained"), setup = steady, config = limit("retained.lru"))]
fn retained(mut pool: Pool) -> Pool {
    let low = Retention::new(Priority::LOWEST).for_duration(HOUR);
    for number in 1..=100 {
        let hashes = chain(black_box(number));
        admit(&pool.manager, &hashes, &mut pool.fresh, &mut pool.held);
        if number % 2 == 0 {
            pool.manager.set_retention(&hashes, .., low);
        }
        pool.manager.release_from(&mut pool.held);
    }
    pool
}

#[library_benchmark]
#[bench::lrfu(args = ("lrfu"), setup = steady, config = limit("match_inactive.lrfu"))]
#[bench::tinylfu(
    args = ("tinylfu"),
    setup = steady,
    config = limit("match_inactive.tinylfu")
)]
fn match_inactive(mut pool: Pool) -> Pool {
    let hashes = chain(1_000 + 2 * (POOL / BATCH) as u64 - 1);
    for _ in 0..100 {
        pool.manager.match_into(black_box(&hashes), &mut pool.held);
        pool.manager.release_from(&mut pool.held);
    }
    pool
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = steady, config = limit("clear.lru"))]
fn clear(pool: Pool) -> Pool {
    for _ in 0..100 {
        pool.manager.clear_inactive_pool();
    }
    pool
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = cleared, config = limit("take_forgotten.lru"))]
fn take_forgotten(mut pool: Pool) -> Pool {
    for _ in 0..100 {
        assert!(
            pool.manager
                .allocate_into(black_box(BATCH), &mut pool.fresh)
        );
    }
    pool
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = held, config = limit("lease.lru"))]
fn lease(pool: Pool) -> Pool {
    for _ in 0..100 {
        let lease = pool.manager.lease(pool.held.clone(), "bench", Some(HOUR));
        drop(black_box(lease));
    }
    pool
}

#[library_benchmark]
#[bench::lru(args = ("lru"), setup = held, config = limit("set_retention.lru"))]
fn set_retention(pool: Pool) -> Pool {
    let low = Retention::new(Priority::LOWEST).for_duration(HOUR);
    for _ in 0..100 {
        pool.manager.set_retention(&chain(black_box(1)), .., low);
    }
    pool
}

library_benchmark_group!(
    name = beyond;
    benchmarks =
        lifecycle,
        retained,
        match_inactive,
        clear,
        take_forgotten,
        lease,
        set_retention,
);
