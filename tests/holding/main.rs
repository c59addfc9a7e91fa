//! Leases and the low watermark: which owners hold blocks, and when are few blocks left?
//!
//! * `leases`: a lease ends exactly once, by release, drop, expiry or with its manager, and
//!   its blocks are available afterwards. Calls that fail change nothing.
//! * `watermark`: every fall below the low watermark is reported, exactly once with one
//!   thread, and at least once when threads race.

mod leases;
#[path = "../rng/mod.rs"]
mod rng;
mod watermark;

use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

const BLOCK_SIZE: usize = 16;

type Manager = BlockManager<()>;

fn manager(block_count: usize) -> Manager {
    Manager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .registry(BlockRegistry::new())
        .build()
        .expect("the configuration is valid")
}

/// Registers a block for each number, which stands for its content, and returns their guards.
fn register(manager: &Manager, contents: impl IntoIterator<Item = u64>) -> Vec<ImmutableBlock<()>> {
    let register = |content| {
        let block = manager.allocate_one().expect("a block is available");
        let block = block.stage(SequenceHash::root(content), BLOCK_SIZE);
        manager.register_block(block.expect("of this size"))
    };
    contents.into_iter().map(register).collect()
}
