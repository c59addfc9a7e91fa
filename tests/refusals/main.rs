//! An allocation gets all it asks for or nothing, and nothing only if there was a
//! reason.
//!
//! The contract: *an allocation is refused only if at some instant of the call the
//! blocks held by others, plus those that calls in progress at that instant have
//! asked for, leave fewer than it wants.* Allocations, matches, upgrades and drops
//! in progress all count, with what they may take or have not given back.
//!
//! * [`within`]: threads that together never hold and ask for more than there is
//!   are never refused.
//! * [`beyond`]: threads that want more than there is log what they do, and
//!   [`checker`] finds a reason for every refusal, or fails. It also fails if more
//!   blocks are held than there are. [`checker_tests`] shows that it can tell.

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

/// Threads publish content of their own, so that there are no duplicates.
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
    assert_eq!(manager.available_blocks(), manager.total_blocks());
}
