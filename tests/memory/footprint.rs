//! Heap bytes per registered block, active and inactive, as documented.

use kvbm_lockfree::eviction::{BuiltInPolicy, EvictionPolicy, InactiveBlock};
use kvbm_lockfree::manager::{BlockManagerConfigBuilder, FrequencyTrackingCapacity};
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockId, BlockManager, BlockRegistry};

use crate::counting::{Tally, tally};
use crate::policy::{Policy, with_policy};
use crate::{Gpu, chain, turn};

const BLOCKS: usize = 1_000_000;
const BATCH: usize = 100;

/// The smallest number of blocks above a million for which all parts that are rounded to a
/// power of two are rounded up the most.
const PAST_A_POWER_OF_TWO: usize = (1 << 20) + 1;

/// The documentation gives whole bytes, and leaves out what does not depend on the
/// blocks: less than 0.02 bytes for each of a million, on any number of cores.
const TOLERANCE: f64 = 0.6;

/// What the documentation of `BlockManagerConfigBuilder::build` says that a block takes:
/// one of [`BLOCKS`], and one of [`PAST_A_POWER_OF_TWO`].
///
/// A manager has arrays for its blocks and little else, so that this is a sum of sizes. In
/// bytes per block (rounded up to a power of two if a mask addresses the array), for a
/// million:
///
/// | part | LRU, multi-level LRU | lineage by tick | by FIFO |
/// |---|---:|---:|---:|
/// | the slot, a cache line | 64 | 64 | 64 |
/// | index: two words per block, rounded | 16.8 | 16.8 | 16.8 |
/// | freelist: a bit, and summaries | 0.2 | 0.2 | 0.2 |
/// | ring of releases: a position, and eight entries for three blocks, in chunks | | 14.7 | |
/// | list links | 8 | | 8 |
/// | graph: links of the block | | 16 | 16 |
/// | graph: two nodes of half a cache line, and a bucket for each | | 72 | 72 |
/// | marks: four bits per block, rounded, and summaries | | 0.5 | |
/// | sum | 89.0 | 184.2 | 177.0 |
///
/// LRFU and W-TinyLFU have the graph of lineage, heaps, and a history or a sketch. What is
/// left, for counters and metrics, does not depend on the blocks.
///
/// With more than one core, each shard has an order of its own, except with these two. Then a
/// block has a place (8 bytes), and each order numbers, each of which takes 16 bytes.
fn documented(policy: BuiltInPolicy) -> (f64, f64) {
    let is_sharded = !matches!(policy.name(), "lrfu" | "tinylfu");
    let is_multicore = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    let numbers = f64::from(u8::from(is_sharded && is_multicore)) * 24.0;
    let (a_million, most) = documented_for_one_core(policy);
    (a_million + numbers, most + numbers)
}

fn documented_for_one_core(policy: BuiltInPolicy) -> (f64, f64) {
    match policy.name() {
        "lru" | "hashmap" | "multi-lru" => (89.0, 104.0),
        "lineage-tick" => (184.0, 200.0),
        "lineage-fifo" => (177.0, 192.0),
        "lrfu" => (233.0, 248.0),
        "tinylfu" => (250.0, 272.0),
        other => panic!("nothing is documented for {other}"),
    }
}

fn require_documented(what: &str, bytes: isize, blocks: usize, documented: f64) {
    let a_block = bytes as f64 / blocks as f64;
    println!("{what}, {blocks} blocks: {a_block:.1} bytes per block");
    assert!(
        (a_block - documented).abs() <= TOLERANCE,
        "{what}: {a_block}, documented as {documented}"
    );
}

/// Returns a builder with its own registry, which has a frequency tracker if needed.
fn builder(policy: BuiltInPolicy, blocks: usize) -> BlockManagerConfigBuilder<Gpu> {
    let registry = if policy.needs_tracker() {
        let tracker = FrequencyTrackingCapacity::Small.create_tracker();
        BlockRegistry::builder().frequency_tracker(tracker).build()
    } else {
        BlockRegistry::new()
    };
    BlockManager::<Gpu>::builder()
        .block_count(blocks)
        .block_size(16)
        .registry(registry)
        .with_policy(policy)
}

/// It may free what an earlier manager left to the epochs of crossbeam.
fn takes_nothing(tally: Tally, policy: BuiltInPolicy) {
    assert_eq!(tally.allocations, 0, "{policy:?}");
    assert!(tally.bytes <= 0, "{policy:?}: {tally:?}");
}

#[test]
fn a_registered_block_takes_what_the_manager_has_from_the_start() {
    let _turn = turn();
    for &policy in BuiltInPolicy::ALL {
        let builder = builder(policy, BLOCKS);
        let (manager, built) = tally(|| builder.build().unwrap());
        let (documented, _) = documented(policy);
        require_documented(policy.name(), built.bytes, BLOCKS, documented);

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

#[test]
fn just_past_a_power_of_two_a_block_takes_the_most() {
    let _turn = turn();
    for &policy in BuiltInPolicy::ALL {
        let builder = builder(policy, PAST_A_POWER_OF_TWO);
        let (manager, built) = tally(|| builder.build().unwrap());
        let (_, documented) = documented(policy);
        require_documented(policy.name(), built.bytes, PAST_A_POWER_OF_TWO, documented);
        drop(manager);
    }
}

/// What the documentation of `retention` says that the first directive takes per block.
const DIRECTIVES: f64 = 53.0;

#[test]
fn the_first_directive_takes_memory_and_no_other_does() {
    let _turn = turn();
    for &policy in BuiltInPolicy::ALL {
        let manager = builder(policy, BLOCKS).build().unwrap();
        let hashes = chain(0, BATCH);
        let blocks = manager.allocate_blocks(BATCH).unwrap();
        let staged = (blocks.into_iter().zip(&hashes))
            .map(|(block, &hash)| block.stage(hash, 16).unwrap())
            .collect();
        drop(manager.register_blocks(staged));
        let retention = Retention::new(Priority::HIGHEST);
        let give = |hashes| manager.set_retention(hashes, .., retention);
        let (given, first) = tally(|| give(&hashes[..1]));
        assert_eq!(given, 1);
        require_documented("the first directive", first.bytes, BLOCKS, DIRECTIVES);
        // The order is given what was made for it.
        let (given, others) = tally(|| give(&hashes));
        assert_eq!(given, BATCH);
        assert!(others.bytes < 1_024, "{policy:?}: {others:?}");
    }
}

/// An empty order, which takes no memory.
struct NoOrder;

impl EvictionPolicy for NoOrder {
    fn insert(&mut self, _block: InactiveBlock) {}

    fn remove(&mut self, _block_id: BlockId) {}

    fn pop(&mut self) -> Option<BlockId> {
        None
    }
}

#[test]
fn beside_an_order_of_your_own_there_is_next_to_nothing() {
    let _turn = turn();
    for (blocks, documented) in [(BLOCKS, 83.0), (PAST_A_POWER_OF_TWO, 98.0)] {
        let builder = builder(BuiltInPolicy::ALL[0], blocks).with_eviction_policy(NoOrder);
        let (manager, built) = tally(|| builder.build().unwrap());
        require_documented("your own", built.bytes, blocks, documented);
        drop(manager);
    }
}

/// Also prints the reference's footprint, with fewer blocks, since it takes more memory and
/// time. The reference's maps grow by doubling, so its bytes per block depend on the number of
/// blocks.
#[test]
fn a_registered_block_takes_less_than_the_references() {
    use kvbm_logical::{BlockManager, BlockRegistry};
    const BLOCKS: usize = 50_000;

    let _turn = turn();
    for (policy, name) in [(Policy::Lru, "lru"), (Policy::LineageTick, "lineage-tick")] {
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
        let (ours, _) = documented(name.parse().unwrap());
        assert!(a_block(active.bytes) > ours);
        assert_eq!(manager.available_blocks(), BLOCKS);
    }
}
