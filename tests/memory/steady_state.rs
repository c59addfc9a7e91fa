//! Once everything has been used, a request allocates nothing, or exactly the vectors that it
//! returns.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use kvbm_lockfree::manager::FrequencyTrackingCapacity;
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, MutableBlock, SequenceHash};

use crate::counting::tally;
use crate::policy::{Policy, with_policy};
use crate::{Gpu, chain, turn};

const BLOCKS: usize = 512;
const REQUEST: usize = 32;

fn manager(policy: Policy, tracker: bool) -> BlockManager<Gpu> {
    let registry = if tracker {
        BlockRegistry::builder()
            .frequency_tracker(FrequencyTrackingCapacity::Small.create_tracker())
            .build()
    } else {
        BlockRegistry::new()
    };
    let builder = BlockManager::<Gpu>::builder()
        .block_count(BLOCKS)
        .block_size(16)
        .registry(registry);
    with_policy!(kvbm_lockfree, builder, policy)
        .build()
        .unwrap()
}

/// Every policy: with a frequency tracker, and also without one if it needs none.
fn configurations() -> impl Iterator<Item = (Policy, bool)> {
    Policy::ALL
        .into_iter()
        .flat_map(|policy| [(policy, false), (policy, true)])
        .filter(|&(policy, tracker)| tracker || !policy.needs_tracker())
}

/// A caller's buffers, with enough capacity.
struct Buffers {
    fresh: Vec<MutableBlock<Gpu>>,
    held: Vec<ImmutableBlock<Gpu>>,
    evicted: Vec<SequenceHash>,
}

impl Buffers {
    fn new() -> Self {
        Self {
            fresh: Vec::with_capacity(REQUEST),
            held: Vec::with_capacity(2 * REQUEST),
            evicted: Vec::with_capacity(REQUEST),
        }
    }
}

/// Serves a request, which misses the first time, with every method that must not allocate. Returns
/// how many of its blocks were matched after they had become inactive: all, unless another thread
/// has just evicted them.
fn serve(manager: &BlockManager<Gpu>, hashes: &[SequenceHash], buffers: &mut Buffers) -> usize {
    let Buffers {
        fresh,
        held,
        evicted,
    } = buffers;
    assert_eq!(manager.match_into(hashes, held), 0);
    evicted.clear();
    let (&last, others) = hashes.split_last().unwrap();
    assert!(manager.allocate_into_with_evictions(others.len(), fresh, evicted));
    let staged = (fresh.drain(..).zip(others))
        .map(|(block, &hash)| block.stage(hash, 16).expect("of this size"));
    assert_eq!(manager.register_into(staged, held), others.len());
    let block = manager.allocate_one().expect("many are inactive");
    held.push(manager.register_block(block.stage(last, 16).expect("of this size")));

    let clone = held[0].clone();
    let pin = clone.pin();
    manager.block_registry().touch(last);
    assert_eq!(manager.match_into(hashes, held), REQUEST);
    drop((clone, pin));
    held.clear();

    // The blocks are inactive now.
    let found = manager.match_into(hashes, held);
    manager.release_from(held);
    drop(manager.match_one(last));

    assert!(manager.allocate_into(REQUEST, fresh));
    manager.free_from(fresh);
    drop(manager.allocate_one().expect("many are free"));
    found
}

/// Runs a pool for some rounds, so that everything has been used.
const WARM: u64 = 4 * (BLOCKS / REQUEST) as u64;

#[test]
fn the_no_heap_methods_take_nothing() {
    let _turn = turn();
    for (policy, tracker) in configurations() {
        let manager = manager(policy, tracker);
        let requests: Vec<_> = (0..3 * WARM).map(|number| chain(number, REQUEST)).collect();
        let (warm, steady) = requests.split_at(WARM as usize);
        let mut buffers = Buffers::new();
        for hashes in warm {
            serve(&manager, hashes, &mut buffers);
        }
        let evictions = manager.metrics().snapshot().evictions;
        let ((), counted) = tally(|| {
            for hashes in steady {
                assert_eq!(serve(&manager, hashes, &mut buffers), REQUEST);
            }
        });
        let evictions = manager.metrics().snapshot().evictions - evictions;
        assert!(evictions >= (steady.len() * REQUEST) as u64);
        assert_eq!(
            counted.allocations, 0,
            "{policy:?}, tracker {tracker}: {counted:?}"
        );
    }
}

/// Blocks of every priority come and go. Some directives end, others are replaced, and there are more
/// than are applied one by one.
#[test]
fn directives_take_nothing_after_the_first() {
    let _turn = turn();
    for (policy, tracker) in configurations() {
        let manager = manager(policy, tracker);
        let requests: Vec<_> = (0..3 * WARM).map(|number| chain(number, REQUEST)).collect();
        let (warm, steady) = requests.split_at(WARM as usize);
        let mut buffers = Buffers::new();
        let mut retain_and_serve = |requests: &[Vec<SequenceHash>]| {
            for (number, hashes) in (0_u64..).zip(requests) {
                let block = number * REQUEST as u64 % 101;
                let priority = Priority::new(block as u8).expect("at most 100");
                let retention = match number % 3 {
                    0 => Retention::new(priority),
                    1 => Retention::new(priority).for_duration(Duration::from_millis(1)),
                    _ => Retention::new(priority).for_duration(Duration::from_secs(3_600)),
                };
                serve(&manager, hashes, &mut buffers);
                manager.set_retention(hashes, .., retention);
                // Content of earlier requests, if it is still there.
                let earlier = &requests[number as usize * 7 % requests.len()];
                manager.set_retention(earlier, .., Retention::default());
            }
        };
        retain_and_serve(warm);
        let ((), counted) = tally(|| retain_and_serve(steady));
        assert_eq!(
            counted.allocations, 0,
            "{policy:?}, tracker {tracker}: {counted:?}"
        );
    }
}

/// Of two threads, one may find the policy plane held and search for victims without it, which
/// allocates nothing either.
#[test]
fn the_no_heap_methods_take_nothing_on_two_threads() {
    const THREADS: u64 = 2;

    let _turn = turn();
    for (policy, tracker) in configurations() {
        let manager = manager(policy, tracker);
        let barrier = Barrier::new(THREADS as usize);
        let counted: u64 = thread::scope(|scope| {
            let serve_all = |thread: u64| {
                let (manager, barrier) = (&manager, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let requests: Vec<_> = (0..3 * WARM)
                        .map(|number| chain(thread << 32 | number, REQUEST))
                        .collect();
                    let (warm, steady) = requests.split_at(WARM as usize);
                    let mut buffers = Buffers::new();
                    for hashes in warm {
                        serve(manager, hashes, &mut buffers);
                    }
                    let ((), counted) = tally(|| {
                        for hashes in steady {
                            serve(manager, hashes, &mut buffers);
                        }
                    });
                    counted.allocations
                })
            };
            let threads: Vec<_> = (0..THREADS).map(serve_all).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(counted, 0, "{policy:?}, tracker {tracker}");
    }
}

/// `allocate_blocks`, `match_blocks`, `match_blocks_scattered`, `register_blocks` and
/// `check_presence` allocate once each: the vector that they return. A match that finds nothing
/// returns an empty one, and allocates nothing.
#[test]
fn the_drop_in_methods_take_what_they_return() {
    let _turn = turn();
    for (policy, tracker) in configurations() {
        let manager = manager(policy, tracker);
        let one = |what: &str, allocations: u64| {
            assert_eq!(allocations, 1, "{policy:?}, tracker {tracker}: {what}");
        };
        for number in 0..2 * WARM {
            let is_warm = number >= WARM;
            let hashes = chain(number, REQUEST);
            let (missed, for_miss) = tally(|| manager.match_blocks(&hashes));
            assert!(missed.is_empty());
            let (blocks, for_blocks) = tally(|| manager.allocate_blocks(REQUEST).unwrap());
            let (staged, for_stages): (Vec<_>, _) = {
                let mut staged = Vec::with_capacity(REQUEST);
                let ((), counted) = tally(|| {
                    let complete = (blocks.into_iter().zip(&hashes))
                        .map(|(block, &hash)| block.stage(hash, 16).unwrap());
                    staged.extend(complete);
                });
                (staged, counted)
            };
            let (registered, for_registered) = tally(|| manager.register_blocks(staged));
            let (matched, for_matched) = tally(|| manager.match_blocks(&hashes));
            let (scattered, for_scattered) = tally(|| manager.match_blocks_scattered(&hashes));
            assert_eq!((matched.len(), scattered.len()), (REQUEST, REQUEST));
            let (presence, for_presence) =
                tally(|| manager.block_registry().check_presence::<Gpu>(&hashes));
            assert!(presence.iter().all(|&(_, is_present)| is_present));
            let ((), for_drops) = tally(|| drop((registered, matched, scattered)));
            if is_warm {
                assert_eq!(for_miss.allocations, 0, "{policy:?}: match_blocks, a miss");
                one("allocate_blocks", for_blocks.allocations);
                one("register_blocks", for_registered.allocations);
                one("match_blocks", for_matched.allocations);
                one("match_blocks_scattered", for_scattered.allocations);
                one("check_presence", for_presence.allocations);
                assert_eq!(for_stages.allocations, 0);
                assert_eq!(for_drops.allocations, 0);
            }
        }
        assert!(manager.metrics().snapshot().evictions >= (WARM as usize * REQUEST) as u64);
    }
}
