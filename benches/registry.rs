//! The registry, compared with concurrent maps from hashes to values.
//!
//! `cargo bench --bench registry`. *Look up* takes a handle to a registered hash and drops it; with
//! a map, it clones the value's `Arc`. *Register* registers a new hash and drops the handle, which
//! ends the registration; with a map, it inserts and removes. There are 100,000 other hashes. Times
//! are per hash. With two threads, both do the same concurrently, on different hashes.

// `criterion_group!` generates a public function without documentation.
#![allow(missing_docs)]

mod workload;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dynamo_tokens::PositionalLineageHash as SequenceHash;
use kvbm_lockfree::BlockRegistry;
use workload::together::together;

const PRESENT: u64 = 100_000;
/// The number of hashes per turn.
const TURN: u64 = 32;

fn hash(number: u64) -> SequenceHash {
    SequenceHash::new(number, None, 0)
}

/// Measures `each`, which is called with hashes from `start` on.
fn measure(
    c: &mut Criterion,
    what: &str,
    name: &str,
    start: u64,
    each: impl Fn(SequenceHash) + Sync,
) {
    let mut group = c.benchmark_group(what);
    for threads in [1, 2] {
        group.throughput(Throughput::Elements(TURN * threads as u64));
        group.bench_function(format!("{name}/{threads} threads"), |b| {
            b.iter_custom(|turns| {
                together(threads, |thread| {
                    // Each thread iterates over its own half.
                    let own = start + thread as u64 * PRESENT / 2;
                    for at in 0..turns * TURN {
                        each(hash(own + at % (PRESENT / 2)));
                    }
                })
                .0
            });
        });
    }
}

fn maps(c: &mut Criterion) {
    let registry = BlockRegistry::new();
    let _handles = registry.register_sequence_hashes((0..PRESENT).map(hash));
    let papaya = papaya::HashMap::builder()
        .hasher(ahash::RandomState::new())
        .build();
    let dashmap = dashmap::DashMap::with_hasher(ahash::RandomState::new());
    for number in 0..PRESENT {
        papaya.pin().insert(hash(number), Arc::new(number));
        dashmap.insert(hash(number), Arc::new(number));
    }

    measure(c, "look up", "this crate", 0, |hash| {
        let handle = registry.match_sequence_hash(hash, false);
        drop(black_box(handle).expect("it is registered"));
    });
    measure(c, "look up", "papaya", 0, |hash| {
        black_box(papaya.pin().get(&hash).map(Arc::clone)).expect("it is there");
    });
    measure(c, "look up", "dashmap", 0, |hash| {
        black_box(dashmap.get(&hash).map(|value| Arc::clone(&value))).expect("it is there");
    });
    measure(c, "register", "this crate", PRESENT, |hash| {
        drop(black_box(registry.register_sequence_hash(hash)));
    });
    measure(c, "register", "papaya", PRESENT, |hash| {
        let map = papaya.pin();
        map.insert(hash, Arc::new(0));
        map.remove(&hash).expect("it is there");
    });
    measure(c, "register", "dashmap", PRESENT, |hash| {
        dashmap.insert(hash, Arc::new(0));
        dashmap.remove(&hash).expect("it is there");
    });
}

criterion_group!(
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = maps
);
criterion_main!(benches);
