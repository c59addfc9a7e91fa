//! A manager never needs more memory than it has when it is built.

use kvbm_lockfree::{BlockManager, BlockRegistry};

use crate::counting::live;
use crate::{Gpu, hash, turn};

#[test]
fn a_managers_steady_state_takes_no_memory() {
    const BLOCKS: u64 = 1_000;
    const REGISTERED: u64 = 100_000;
    /// For memory that is not the manager's: the test harness's output, the epochs' lists.
    const SLACK: isize = 16 << 10;

    let _turn = turn();
    let manager = BlockManager::<Gpu>::builder()
        .block_count(BLOCKS as usize)
        .block_size(16)
        .registry(BlockRegistry::new())
        .build()
        .unwrap();
    let run = |contents: std::ops::Range<u64>| {
        for content in contents {
            let block = manager.allocate_one().unwrap();
            drop(manager.register_block(block.stage(hash(content), 16).unwrap()));
        }
    };
    // Everything has been used once by now.
    run(0..2 * BLOCKS);
    let before = live();
    run(2 * BLOCKS..2 * BLOCKS + REGISTERED);
    let grown = live() - before;
    println!("{grown} bytes more after {REGISTERED} registrations");
    assert!(grown.abs() < SLACK, "{grown} bytes");
    assert_eq!(manager.block_registry().pending_garbage(), 0);
}
