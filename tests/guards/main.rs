//! What can callers rely on beyond hits and evictions?
//!
//! * `lifetimes`: guards outlive their manager, whatever is dropped first, on any thread, and
//!   during unwinding. Tiers that share a registry do not interfere.
//! * `input`: invalid input is refused with the published crate's messages and changes
//!   nothing. Colliding lineage hashes, on which that crate panics, are both kept.
//! * `batches`: releasing blocks in a batch has the same effect as dropping them one by one.
//! * `errors`: every error that can be returned is returned.
//! * `formats`: encodings and `Debug` output are those of the published crate.
//! * `regressions`: a test for each defect that was found and fixed.
//!
//! Pools are tiny, and every test whose result could depend on the policy runs under each
//! policy.

mod batches;
mod errors;
mod formats;
mod input;
mod lifetimes;
#[path = "../policy/mod.rs"]
mod policy;
mod regressions;

use std::sync::Arc;

use kvbm_lockfree::tinylfu::TinyLFUTracker;
use kvbm_lockfree::{
    BlockManager, BlockMetadata, BlockRegistry, CompleteBlock, ImmutableBlock, SequenceHash,
};

use policy::{Policy, with_policy};

const BLOCK_SIZE: usize = 16;

/// Creates a registry that supports every policy.
fn registry() -> BlockRegistry {
    BlockRegistry::builder()
        .frequency_tracker(Arc::new(TinyLFUTracker::new(64)))
        .build()
}

fn manager<T: BlockMetadata>(
    policy: Policy,
    block_count: usize,
    registry: &BlockRegistry,
) -> BlockManager<T> {
    let builder = BlockManager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .registry(registry.clone());
    with_policy!(kvbm_lockfree, builder, policy)
        .build()
        .expect("the configuration is valid")
}

/// Checks the invariants of a manager that no other thread is using.
fn audit<T: BlockMetadata>(manager: &BlockManager<T>) {
    manager.audit().expect("the pool is consistent");
}

/// Returns a chain of lineage hashes, root first.
fn chain(seed: u64, length: usize) -> Vec<SequenceHash> {
    let root = SequenceHash::root(seed);
    std::iter::successors(Some(root), |parent| Some(parent.extend(seed)))
        .take(length)
        .collect()
}

fn stage<T: BlockMetadata>(
    manager: &BlockManager<T>,
    hashes: &[SequenceHash],
) -> Vec<CompleteBlock<T>> {
    manager
        .allocate_blocks(hashes.len())
        .expect("enough blocks are available")
        .into_iter()
        .zip(hashes)
        .map(|(block, &hash)| block.stage(hash, BLOCK_SIZE).expect("the size fits"))
        .collect()
}

fn register<T: BlockMetadata>(
    manager: &BlockManager<T>,
    hashes: &[SequenceHash],
) -> Vec<ImmutableBlock<T>> {
    manager.register_blocks(stage(manager, hashes))
}
