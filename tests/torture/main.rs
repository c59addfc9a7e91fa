//! No block ever has two owners, changes under a reader, or is lost: not with far more threads than
//! cores, and not when threads come and go, panic, or outlive the manager.
//!
//! * [`stamps`]: a record, kept next to the pool, of each block's owner, readers and content. Every
//!   guard that a [`worker`] holds is recorded. A block with two owners, with an owner and a reader,
//!   or with content that differs from its guard's hash is a failure.
//! * [`rest`]: threads run random operations in rounds. Between rounds all of them stop, still
//!   holding guards, and the pool is audited and compared with the record: for every block, the
//!   pool and the record must agree on whether it is held.
//! * [`short_lived`]: ten thousand threads that live for a few operations each.
//! * [`panics`]: threads that unwind through guards of every kind, or in the middle of a
//!   registration.
//! * [`orphans`]: managers that are dropped before their guards.
//!
//! Every test ends with all blocks available and an audit. The seed (`KVBM_SEED`) determines the
//! sequences of operations, but not their interleaving. Tests with a time limit take
//! `KVBM_TORTURE_SECONDS` in total.

mod orphans;
mod panics;
#[path = "../policy/mod.rs"]
mod policy;
mod rest;
#[path = "../rng/mod.rs"]
mod rng;
mod rounds;
mod short_lived;
mod stamps;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::tinylfu::TinyLFUTracker;
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use policy::{OwnPolicy, with_own_policy};

const BLOCK_SIZE: usize = 16;

const DUPLICATIONS: [BlockDuplicationPolicy; 2] = [
    BlockDuplicationPolicy::Allow,
    BlockDuplicationPolicy::Reject,
];

/// The total time of all tests with a time limit, in seconds, unless the environment sets it.
const SECONDS: u64 = 30;

/// Iterates over all policies with both duplication policies, each with the time at which its test
/// must end if all of them together may take this fraction of the total time.
fn cases(percent: u32) -> impl Iterator<Item = (OwnPolicy, BlockDuplicationPolicy, Instant)> {
    let seconds = rng::number("KVBM_TORTURE_SECONDS").unwrap_or(SECONDS);
    let each = Duration::from_secs(seconds) * percent / 100 / (OwnPolicy::all().count() as u32 * 2);
    let cases = OwnPolicy::all().flat_map(|p| DUPLICATIONS.map(|d| (p, d)));
    cases.map(move |(policy, duplication)| (policy, duplication, Instant::now() + each))
}

fn registry() -> BlockRegistry {
    BlockRegistry::builder()
        .frequency_tracker(Arc::new(TinyLFUTracker::new(256)))
        .build()
}

fn manager(
    policy: OwnPolicy,
    block_count: usize,
    duplication: BlockDuplicationPolicy,
) -> BlockManager<()> {
    let builder = BlockManager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .duplication_policy(duplication)
        .registry(registry());
    with_own_policy!(builder, policy)
        .build()
        .expect("the configuration is valid")
}

/// Returns a chain of lineage hashes, starting with the root.
fn chain(seed: u64, length: usize) -> Vec<SequenceHash> {
    let root = SequenceHash::root(seed);
    std::iter::successors(Some(root), |parent| Some(parent.extend(seed)))
        .take(length)
        .collect()
}

/// Checks the pool after all threads have ended and all guards have been dropped.
fn assert_whole(manager: &BlockManager<()>) {
    manager.audit().expect("the pool is consistent");
    let total = manager.total_blocks();
    assert_eq!(manager.available_blocks(), total);
    let snapshot = manager.metrics().snapshot();
    assert_eq!(snapshot.inflight_mutable, 0);
    assert_eq!(snapshot.inflight_immutable, 0);
    assert_eq!(
        snapshot.reset_pool_size + snapshot.inactive_pool_size,
        total as i64
    );
    // The gauge of inactive blocks is not compared: it may include some that were being released or
    // taken during a clearing.

    let all = manager
        .allocate_blocks(total)
        .expect("every block is available");
    let mut ids: Vec<_> = all.iter().map(|block| block.block_id()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..total), "every block exactly once");
    drop(all);
    let snapshot = manager.metrics().snapshot();
    assert_eq!(snapshot.reset_pool_size, total as i64);
    assert_eq!(snapshot.inactive_pool_size, 0);
    assert_eq!(manager.block_registry().registered_count(), 0);
    manager.audit().expect("the pool is consistent");
}
