//! The memory of a registry is freed as soon as its last part is dropped, not when another
//! registry is used.

use std::thread;

use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use crate::counting::live;
use crate::{Gpu, turn};

/// The bytes that the epochs may keep, whatever they were used for: a few bags of garbage.
const SLACK: isize = 16 << 10;

/// Runs `work` and returns how many bytes it leaves behind, after a warm-up.
fn left_by(work: impl Fn()) -> isize {
    work();
    let before = live();
    work();
    live() - before
}

#[test]
fn what_goes_last_takes_the_memory_with_it() {
    let _turn = turn();
    for count in [1, 64, 65, 1_000, 100_000] {
        let handles_last = || {
            let registry = BlockRegistry::new();
            let handles = registry.register_sequence_hashes((0..count).map(SequenceHash::root));
            drop(registry);
            drop(handles);
        };
        let registry_last = || {
            let registry = BlockRegistry::new();
            drop(registry.register_sequence_hashes((0..count).map(SequenceHash::root)));
            drop(registry);
        };
        let elsewhere = || {
            let registry = BlockRegistry::new();
            let handles = registry.register_sequence_hashes((0..count).map(SequenceHash::root));
            drop(registry);
            thread::spawn(move || drop(handles)).join().unwrap();
        };
        let weak_guards_last = || {
            let registry = BlockRegistry::new();
            let manager = BlockManager::<Gpu>::builder()
                .block_count(count as usize)
                .block_size(16)
                .registry(registry.clone())
                .build()
                .unwrap();
            let blocks = manager.allocate_blocks(count as usize).unwrap();
            let complete = blocks
                .into_iter()
                .zip(0..)
                .map(|(block, content)| block.stage(SequenceHash::root(content), 16).unwrap());
            let guards = manager.register_blocks(complete.collect());
            let weak: Vec<_> = guards.iter().map(|block| block.downgrade()).collect();
            drop((manager, registry, guards));
            drop(weak);
        };
        let ways: [(&str, &dyn Fn()); 4] = [
            ("handles last", &handles_last),
            ("registry last", &registry_last),
            ("on another thread", &elsewhere),
            ("weak guards last", &weak_guards_last),
        ];
        for (way, work) in ways {
            let left = left_by(work);
            println!("{count} {way}: {left} bytes");
            assert!(left.abs() < SLACK, "{count} {way}: {left} bytes left");
        }
    }
}
