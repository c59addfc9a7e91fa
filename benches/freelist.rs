//! Allocating and freeing blocks, compared with a queue and a mutex-protected vector of block ids.
//!
//! `cargo bench --bench freelist`. This crate is measured through its public methods, in a pool
//! whose blocks are all free. That includes the reservation that makes allocations all or nothing,
//! the counters, and the guards. Times are per block. With two threads, both do the same
//! concurrently, starting from a barrier.

// `criterion_group!` generates a public function without documentation.
#![allow(missing_docs)]

mod workload;

use std::hint::black_box;
use std::sync::Mutex;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use kvbm_lockfree::{BlockManager, BlockRegistry};
use workload::together::together;

const POOL: u32 = 10_000;

#[derive(Clone)]
struct Tier;

/// Measures `turn`, which takes `batch` blocks and gives them back.
fn measure<S>(
    c: &mut Criterion,
    batch: usize,
    name: &str,
    state: impl Fn() -> S + Sync,
    turn: impl Fn(&mut S) + Sync,
) {
    let mut group = c.benchmark_group(format!("take and give back {batch}"));
    for threads in [1, 2] {
        group.throughput(Throughput::Elements((batch * threads) as u64));
        group.bench_function(format!("{name}/{threads} threads"), |b| {
            b.iter_custom(|turns| {
                together(threads, |_thread| {
                    let mut state = state();
                    (0..turns).for_each(|_| turn(&mut state));
                })
                .0
            });
        });
    }
}

fn freelists(c: &mut Criterion) {
    let manager = BlockManager::<Tier>::builder()
        .block_count(POOL as usize)
        .block_size(16)
        .registry(BlockRegistry::new())
        .with_lru_backend()
        .build()
        .unwrap();
    measure(
        c,
        1,
        "this crate",
        || (),
        |()| {
            drop(black_box(manager.allocate_one()));
        },
    );
    measure(c, 32, "this crate", Vec::new, |blocks| {
        assert!(manager.allocate_into(32, blocks));
        manager.free_from(blocks);
    });

    let queue = ArrayQueue::new(POOL as usize);
    (0..POOL).for_each(|id| queue.push(id).unwrap());
    let stack = Mutex::new((0..POOL).collect::<Vec<u32>>());
    for batch in [1, 32] {
        let ids = || Vec::with_capacity(batch);
        measure(c, batch, "ArrayQueue", ids, |ids: &mut Vec<u32>| {
            ids.extend((0..batch).map(|_| queue.pop().unwrap()));
            black_box(&mut *ids);
            ids.drain(..).for_each(|id| queue.push(id).unwrap());
        });
        measure(c, batch, "Mutex<Vec>", ids, |ids: &mut Vec<u32>| {
            let mut free = stack.lock().unwrap();
            let rest = free.len() - batch;
            ids.extend(free.drain(rest..));
            drop(free);
            black_box(&mut *ids);
            stack.lock().unwrap().append(ids);
        });
    }
}

criterion_group!(
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = freelists
);
criterion_main!(benches);
