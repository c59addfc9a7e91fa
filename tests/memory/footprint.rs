//! Heap bytes per registered block, active and inactive.

use kvbm_lockfree::manager::FrequencyTrackingCapacity;
use kvbm_lockfree::{BlockManager, BlockRegistry};

use crate::counting::{Tally, tally};
use crate::policy::{Policy, with_policy};
use crate::{Gpu, chain, turn};

const BLOCKS: usize = 1_000_000;
const BATCH: usize = 100;

/// The maximum size of a pool of [`BLOCKS`] blocks, in bytes per block.
///
/// A pool consists of arrays for its blocks and nothing else, so this is a sum of sizes in bytes per
/// block. A length that is used with a mask is rounded up to a power of two.
///
/// | part | LRU | multi-level LRU | lineage by tick | by FIFO |
/// |---|---:|---:|---:|---:|
/// | the slot, a cache line | 64 | 64 | 64 | 64 |
/// | index: two words per block, rounded | 16.8 | 16.8 | 16.8 | 16.8 |
/// | freelist: a bit, and summaries | 0.2 | 0.2 | 0.2 | 0.2 |
/// | ring of releases: four places per block, rounded, and a position | 20.8 | | 20.8 | |
/// | list links | | 8 | | 8 |
/// | graph: links of the block | | | 16 | 16 |
/// | graph: two nodes of half a cache line, and buckets, rounded | | | 72.4 | 72.4 |
/// | marks: a bit per place of the ring, and summaries | | | 0.5 | |
/// | sum | 101.8 | 89.0 | 190.7 | 177.4 |
///
/// If the number of blocks is just above a power of two, the rounded parts are up to twice as large.
/// The rest (counters, victim caches and metrics) does not depend on the number of blocks.
fn most_bytes_a_block(policy: Policy) -> f64 {
    match policy {
        Policy::Lru => 103.0,
        Policy::MultiLru => 90.0,
        Policy::LineageTick => 192.0,
        Policy::LineageFifo => 178.0,
        other => panic!("no sum has been made for {other:?}"),
    }
}

/// Checks that nothing was allocated. Garbage that an earlier manager has left to the epochs may have
/// been freed.
fn takes_nothing(tally: Tally, policy: Policy) {
    assert_eq!(tally.allocations, 0, "{policy:?}");
    assert!(tally.bytes <= 0, "{policy:?}: {tally:?}");
}

#[test]
fn a_registered_block_takes_what_the_manager_has_from_the_start() {
    let _turn = turn();
    // The other policies use the same orders as these.
    for policy in [
        Policy::Lru,
        Policy::MultiLru,
        Policy::LineageTick,
        Policy::LineageFifo,
    ] {
        let tracker = FrequencyTrackingCapacity::Small.create_tracker();
        let registry = if policy.needs_tracker() {
            BlockRegistry::builder().frequency_tracker(tracker).build()
        } else {
            BlockRegistry::new()
        };
        let (manager, built) = tally(|| {
            let builder = BlockManager::<Gpu>::builder()
                .block_count(BLOCKS)
                .block_size(16)
                .registry(registry);
            with_policy!(kvbm_lockfree, builder, policy)
                .build()
                .unwrap()
        });
        let a_block = built.bytes as f64 / BLOCKS as f64;
        println!("{policy:?}: {a_block:.1} bytes a block");
        assert!(a_block <= most_bytes_a_block(policy), "{a_block}");

        // The caller's vectors, with enough capacity.
        let (mut fresh, mut held) = (Vec::with_capacity(BATCH), Vec::with_capacity(BLOCKS));
        for number in 0..(BLOCKS / BATCH) as u64 {
            let hashes = chain(number, BATCH);
            let ((), active) = tally(|| {
                assert!(manager.allocate_into(BATCH, &mut fresh));
                let staged = (fresh.drain(..).zip(hashes.iter()))
                    .map(|(block, &hash)| block.stage(hash, 16).unwrap());
                manager.register_into(staged, &mut held);
            });
            takes_nothing(active, policy);
        }
        assert_eq!(held.len(), BLOCKS);
        let ((), inactive) = tally(|| held.clear());
        takes_nothing(inactive, policy);
        assert_eq!(manager.available_blocks(), BLOCKS);
    }
}

/// Prints the reference's footprint for comparison. It is measured with fewer blocks, since it takes
/// more memory and time. Its maps grow by doubling, so the result depends on the number of blocks.
#[test]
fn a_registered_block_takes_less_than_the_references() {
    use kvbm_logical::{BlockManager, BlockRegistry};
    const BLOCKS: usize = 50_000;

    let _turn = turn();
    for policy in [Policy::Lru, Policy::LineageTick] {
        let mut held = Vec::with_capacity(BLOCKS);
        let (manager, active) = tally(|| {
            let builder = BlockManager::<Gpu>::builder()
                .block_count(BLOCKS)
                .block_size(16)
                .registry(BlockRegistry::new());
            let manager = with_policy!(kvbm_logical, builder, policy).build().unwrap();
            for number in 0..(BLOCKS / BATCH) as u64 {
                let hashes = chain(number, BATCH);
                let blocks = manager.allocate_blocks(BATCH).unwrap();
                let staged = (blocks.into_iter().zip(hashes))
                    .map(|(block, hash)| block.stage(hash, 16).unwrap())
                    .collect();
                held.extend(manager.register_blocks(staged));
            }
            manager
        });
        let ((), inactive) = tally(|| held.clear());
        let a_block = |bytes: isize| bytes as f64 / BLOCKS as f64;
        println!(
            "reference, {policy:?}: {:.1} bytes a block active, {:.1} inactive",
            a_block(active.bytes),
            a_block(active.bytes + inactive.bytes)
        );
        assert!(a_block(active.bytes) > most_bytes_a_block(policy));
        assert_eq!(manager.available_blocks(), BLOCKS);
    }
}
