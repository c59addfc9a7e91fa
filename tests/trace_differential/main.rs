//! Replaying an hour of conversations, this crate hits and evicts exactly what the published
//! `kvbm-logical` does, under every policy, with pools of 1,000, 10,000 and 50,000 blocks.
//! For multi-level LRU, the frequency tracker places its counters as the published crate
//! does, which is not the default here.
//!
//! # Where does the trace come from?
//!
//! The trace (12,031 requests, one id per 512-token block) is not part of the project. It is
//! read from the folder that `KVBM_TRACES` names, or otherwise from a `traces` folder in any
//! directory next to the checkout. If there is none, the tests say so and skip. Without
//! optimizations, only the first 5,000 requests are replayed; `cargo test --release` replays
//! all of them, and `KVBM_TRACE_REQUESTS` sets any other number.
//!
//! # How is a request replayed?
//!
//! One request at a time, in file order:
//!
//! 1. If 16 requests are in flight, the oldest is dropped.
//! 2. The longest cached prefix is matched. The blocks matched here are the hits.
//! 3. What is missing is allocated. While that is refused, the oldest request in flight is
//!    dropped; if none is left, the request is refused.
//! 4. The allocated blocks are staged and registered, and the request is held.

mod ours;
#[path = "../policy/mod.rs"]
mod policy;
// Tokens per block of the trace.
#[allow(clippy::duplicate_mod)]
mod reference;
mod trace;

use policy::Policy;

/// The two sides compile the same replay, each against its own crate.
const BLOCK_SIZE: usize = 512;

/// The number of requests that are held at a time.
const IN_FLIGHT: usize = 16;

const POOL_SIZES: [usize; 3] = [1_000, 10_000, 50_000];

/// What happened to one request.
#[derive(Debug, PartialEq)]
struct Step {
    hits: usize,
    refused: bool,
    in_flight: usize,
    evicted: usize,
    evicted_digest: u64,
}

/// The results of a whole replay.
#[derive(Debug, PartialEq)]
struct Replayed {
    steps: Vec<Step>,
    evictions: u64,
    registrations: u64,
    available: usize,
    registered: usize,
}

fn replays_alike(policy: Policy) {
    let Some(requests) = trace::requests() else {
        return;
    };
    for block_count in POOL_SIZES {
        let ours = ours::replay(requests, policy, block_count);
        let reference = reference::replay(requests, policy, block_count);
        for (number, steps) in ours.steps.iter().zip(&reference.steps).enumerate() {
            assert_eq!(
                steps.0, steps.1,
                "request {number}, {policy:?}, {block_count} blocks"
            );
        }
        assert_eq!(ours, reference, "{policy:?}, {block_count} blocks");
        let hits: usize = ours.steps.iter().map(|step| step.hits).sum();
        assert!(hits > 0, "the replay exercises the cache");
    }
}

#[test]
fn default_policy() {
    replays_alike(Policy::Unset);
}

#[test]
fn lru() {
    replays_alike(Policy::Lru);
}

#[test]
fn hashmap() {
    replays_alike(Policy::HashMap);
}

#[test]
fn multi_lru() {
    replays_alike(Policy::MultiLru);
}

#[test]
fn multi_lru_with_low_thresholds() {
    replays_alike(Policy::MultiLruThresholds([1, 2, 5]));
}

#[test]
fn lineage_by_tick() {
    replays_alike(Policy::LineageTick);
}

#[test]
fn lineage_by_fifo() {
    replays_alike(Policy::LineageFifo);
}
