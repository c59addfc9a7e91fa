//! An allocation returns all blocks it asks for or none, and none only for a reason.
//!
//! The contract: *an allocation is refused only if, at some instant during the call, the blocks held
//! by others plus those requested by other calls in progress leave fewer than it wants.*
//! Allocations, matches, upgrades and drops in progress all count, with what they may take or have
//! not returned yet.
//!
//! * [`within`]: threads that together never hold and request more than there is are never refused.
//! * [`beyond`]: threads that want more than there is log what they do. The [`checker`] must find a
//!   reason for every refusal, and fails if more blocks are held than there are.
//!   [`checker_tests`] shows that it detects violations.

mod beyond;
mod checker;
mod checker_tests;
#[path = "../policy/mod.rs"]
mod policy;
#[path = "../rng/mod.rs"]
mod rng;
mod within;

use std::sync::Arc;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::tinylfu::TinyLFUTracker;
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use policy::{Policy, with_policy};

const BLOCK_SIZE: usize = 16;

/// Threads publish content of their own, so there are no duplicates.
fn manager(policy: Policy, block_count: usize) -> BlockManager<()> {
    let registry = BlockRegistry::builder()
        .frequency_tracker(Arc::new(TinyLFUTracker::new(256)))
        .build();
    let builder = BlockManager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .duplication_policy(BlockDuplicationPolicy::Reject)
        .registry(registry);
    with_policy!(kvbm_lockfree, builder, policy)
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
    assert_eq!(manager.available_blocks(), manager.total_blocks());
}
