//! No block ever has two owners, none changes under a reader and none is lost,
//! with more threads than cores.
//!
//! * `stamps`: eight threads run random operations on one pool. Beside the pool
//!   stand two arrays indexed by block id. Whoever gets a block exclusively swaps
//!   an owner's stamp in, which must replace zero, and swaps it out again before
//!   giving the block up, which must return that very stamp. Whoever registers a
//!   block first writes the hash's content stamp, which must be there at every
//!   match, upgrade, scan and eviction. The stamps are relaxed atomics: it is the
//!   pool that must order them.
//! * `supply`: eight threads that never hold more than 64 of 512 blocks each are
//!   never refused; threads that come and go strand nothing.
//!
//! Every test ends with all blocks available and an audit. Sequences of operations
//! are seeded, their interleaving is not; the iteration counts make each test take
//! a few seconds without optimizations.

#[path = "../policy/mod.rs"]
mod policy;
mod rng;
mod stamps;
mod supply;

use std::sync::Arc;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::tinylfu::TinyLFUTracker;
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use policy::{Policy, with_policy};

const THREADS: usize = 8;

const BLOCK_SIZE: usize = 16;

fn manager(
    policy: Policy,
    block_count: usize,
    duplication: BlockDuplicationPolicy,
) -> BlockManager<()> {
    let registry = BlockRegistry::builder()
        .frequency_tracker(Arc::new(TinyLFUTracker::new(256)))
        .build();
    let builder = BlockManager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .duplication_policy(duplication)
        .registry(registry);
    with_policy!(kvbm_lockfree, builder, policy)
        .build()
        .expect("the configuration is valid")
}

/// A chain of lineage hashes, root first.
fn chain(seed: u64, length: usize) -> Vec<SequenceHash> {
    let root = SequenceHash::root(seed);
    std::iter::successors(Some(root), |parent| Some(parent.extend(seed)))
        .take(length)
        .collect()
}

/// Checks the pool once every thread is done and every guard dropped.
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
    let registered = manager.block_registry().registered_count();
    assert_eq!(registered as i64, snapshot.inactive_pool_size);

    let all = manager
        .allocate_blocks(total)
        .expect("every block is available");
    let mut ids: Vec<_> = all.iter().map(|block| block.block_id()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..total), "every block exactly once");
    drop(all);
    assert_eq!(manager.block_registry().registered_count(), 0);
    manager.audit().expect("the pool is consistent");
}
