//! This crate and `kvbm-logical`, side by side: the same operations on the same
//! inputs in one process.
//!
//! `cargo bench --bench side_by_side` runs everything; a filter, as in
//! `cargo bench --bench side_by_side -- lifecycle`, runs a part. How throughput
//! changes with threads is measured by `scaling`. Times are per
//! batch; the throughput criterion prints is in blocks. What is worth comparing
//! is the ratio within one run.

// `criterion_group!` makes a public function without documentation.
#![allow(missing_docs)]

mod workload;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dynamo_tokens::PositionalLineageHash as SequenceHash;
use workload::{BATCH, chain};

/// Blocks of the pools.
const POOL: usize = 10_000;

#[derive(Clone)]
struct Tier;

/// One crate's side: the same source against either.
macro_rules! side {
    ($name:ident, $krate:ident) => {
        mod $name {
            use super::*;
            use $krate::manager::{FrequencyTrackingCapacity, LineageEviction};
            use $krate::{BlockManager, BlockRegistry, ImmutableBlock};

            pub fn manager(policy: &str) -> BlockManager<Tier> {
                let tracker = FrequencyTrackingCapacity::Small.create_tracker();
                let registry = match policy {
                    "multi-lru" => BlockRegistry::builder().frequency_tracker(tracker).build(),
                    _ => BlockRegistry::new(),
                };
                let builder = BlockManager::builder()
                    .block_count(POOL)
                    .block_size(16)
                    .registry(registry);
                match policy {
                    "lru" => builder.with_lru_backend(),
                    "multi-lru" => builder.with_multi_lru_backend(),
                    "lineage-fifo" => builder.with_lineage_backend_eviction(LineageEviction::Fifo),
                    _ => builder.with_lineage_backend(),
                }
                .build()
                .unwrap()
            }

            /// Match, allocate, stage and register one request.
            pub fn request(
                manager: &BlockManager<Tier>,
                hashes: &[SequenceHash],
            ) -> Vec<ImmutableBlock<Tier>> {
                let mut held = manager.match_blocks(hashes);
                let missing = &hashes[held.len()..];
                let blocks = manager
                    .allocate_blocks(missing.len())
                    .expect("the pool is large");
                let complete = blocks
                    .into_iter()
                    .zip(missing)
                    .map(|(block, &hash)| block.stage(hash, 16).unwrap())
                    .collect();
                held.extend(manager.register_blocks(complete));
                held
            }

            pub fn fill(manager: &BlockManager<Tier>) {
                for number in 0..(POOL / BATCH + 1) as u64 {
                    drop(request(manager, &chain(u64::MAX - number)));
                }
            }

            pub fn lifecycle(c: &mut Criterion) {
                let mut group = c.benchmark_group("lifecycle under eviction");
                group.throughput(Throughput::Elements(BATCH as u64));
                for policy in ["lru", "multi-lru", "lineage-tick", "lineage-fifo"] {
                    let manager = manager(policy);
                    fill(&manager);
                    let mut number = 0;
                    group.bench_function(format!("{policy}/{}", stringify!($name)), |b| {
                        b.iter(|| {
                            number += 1;
                            drop(request(&manager, &chain(number)));
                        });
                    });
                }
            }

            pub fn matches(c: &mut Criterion) {
                let mut group = c.benchmark_group("match 32 and drop");
                group.throughput(Throughput::Elements(BATCH as u64));
                let hashes = chain(1);
                for policy in ["lru", "lineage-tick"] {
                    let manager = manager(policy);
                    let held = request(&manager, &hashes);
                    group.bench_function(format!("active/{policy}/{}", stringify!($name)), |b| {
                        b.iter(|| drop(manager.match_blocks(black_box(&hashes))));
                    });
                    drop(held);
                    group.bench_function(format!("inactive/{policy}/{}", stringify!($name)), |b| {
                        b.iter(|| drop(manager.match_blocks(black_box(&hashes))));
                    });
                }
            }

            pub fn allocate(c: &mut Criterion) {
                let mut group = c.benchmark_group("allocate and drop");
                let manager = manager("lru");
                for count in [1, BATCH] {
                    group.throughput(Throughput::Elements(count as u64));
                    group.bench_function(format!("{count}/{}", stringify!($name)), |b| {
                        b.iter(|| drop(manager.allocate_blocks(black_box(count))));
                    });
                }
            }

            pub fn guards(c: &mut Criterion) {
                let manager = manager("lru");
                let held = request(&manager, &chain(1));
                c.bench_function(&format!("clone and drop/{}", stringify!($name)), |b| {
                    b.iter(|| drop(black_box(held[0].clone())));
                });
                let hashes = chain(1);
                let mut group = c.benchmark_group("check_presence 32");
                group.throughput(Throughput::Elements(BATCH as u64));
                group.bench_function(stringify!($name), |b| {
                    b.iter(|| manager.block_registry().check_presence::<Tier>(&hashes));
                });
            }
        }
    };
}

side!(lockfree, kvbm_lockfree);
side!(reference, kvbm_logical);

criterion_group!(
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets =
        lockfree::allocate, reference::allocate,
        lockfree::matches, reference::matches,
        lockfree::guards, reference::guards,
        lockfree::lifecycle, reference::lifecycle
);
criterion_main!(benches);
