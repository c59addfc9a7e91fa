//! The order of eviction after several threads have used a manager, one after another.
//!
//! Each shard of the threads has an order of its own, if the machine has more than one core. So these
//! tests look at what goes first among blocks that were released by different threads.

use std::collections::HashMap;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kvbm_lockfree::eviction::BuiltInPolicy;
use kvbm_lockfree::manager::FrequencyTrackingCapacity;
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

type Manager = BlockManager<()>;

/// Enough blocks for a manager to have shards.
const BLOCKS: usize = 128;

/// The orders of which each shard has one, and whether they are leaf-first.
const ORDERS: [&str; 4] = ["lru", "multi-lru", "lineage-tick", "lineage-fifo"];

fn manager(block_count: usize, policy: &str) -> Arc<Manager> {
    let tracker = FrequencyTrackingCapacity::Small.create_tracker();
    let registry = BlockRegistry::builder().frequency_tracker(tracker).build();
    let policy: BuiltInPolicy = policy.parse().unwrap();
    let builder = Manager::builder()
        .block_count(block_count)
        .block_size(16)
        .registry(registry)
        .with_policy(policy);
    Arc::new(builder.build().unwrap())
}

fn hash(n: u64) -> SequenceHash {
    SequenceHash::root(n)
}

fn register(manager: &Manager, hash: SequenceHash) -> ImmutableBlock<()> {
    let block = manager.allocate_one().expect("a block is available");
    manager.register_block(block.stage(hash, 16).expect("of this size"))
}

/// Evicts blocks one by one, and returns their hashes.
fn evict(manager: &Manager, count: usize) -> Vec<SequenceHash> {
    let mut held = Vec::new();
    let one = |_| {
        let (blocks, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
        held.extend(blocks);
        evicted[0]
    };
    let evicted = (0..count).map(one).collect();
    // The blocks are not to be used again.
    std::mem::forget(held);
    evicted
}

/// Returns the numbers of hashes that [`hash`] has made.
fn numbers(hashes: &[SequenceHash]) -> Vec<u64> {
    let numbers: HashMap<_, _> = (0..4 * BLOCKS as u64).map(|n| (hash(n), n)).collect();
    hashes.iter().map(|hash| numbers[hash]).collect()
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that does what it is told, one job after another.
struct Worker(mpsc::Sender<Job>);

impl Worker {
    fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        thread::spawn(move || todo.into_iter().for_each(|job| job()));
        let worker = Self(jobs);
        // The first use of the crate makes the thread one of a shard: the next one, for the next
        // thread.
        worker.run(|| drop(manager(BLOCKS, "lru").allocate_one()));
        worker
    }

    fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (result, done) = mpsc::channel();
        let job = Box::new(move || result.send(job()).expect("it is waited for"));
        self.0.send(job).expect("the thread is there");
        done.recv().expect("the job has not panicked")
    }
}

/// Threads of different shards, if there are two.
fn workers() -> [Worker; 2] {
    let first = Worker::new();
    for _ in 0..256 {
        let second = Worker::new();
        if are_of_different_shards(&first, &second) {
            return [first, second];
        }
    }
    [first, Worker::new()]
}

/// Finds out whether two threads push onto the same release log: then it is drained when the first has
/// released 63 blocks and the second one more.
fn are_of_different_shards(first: &Worker, second: &Worker) -> bool {
    let manager = manager(BLOCKS, "lru");
    let mut held: Vec<_> = (0..64).map(|n| register(&manager, hash(n))).collect();
    let last = held.pop();
    first.run(move || held.into_iter().for_each(drop));
    second.run(move || drop(last));
    manager.audit().expect("no other thread uses it").queued > 0
}

/// What was released first goes first, whichever thread has released it.
#[test]
fn what_another_thread_has_released_before_goes_first() {
    for policy in ORDERS {
        let [first, second] = workers();
        let manager = manager(BLOCKS, policy);
        let mut held: Vec<_> = (0..BLOCKS as u64)
            .map(|n| register(&manager, hash(n)))
            .collect();
        let newer = held.split_off(10);
        first.run(move || held.into_iter().for_each(drop));
        second.run(move || newer.into_iter().for_each(drop));
        let of = Arc::clone(&manager);
        let evicted = second.run(move || evict(&of, BLOCKS));
        let expected: Vec<u64> = (0..BLOCKS as u64).collect();
        assert_eq!(numbers(&evicted), expected, "{policy}");
        manager.audit().unwrap();
    }
}

/// So does what has a low priority, although its thread released something else before.
#[test]
fn what_is_queued_with_a_low_priority_goes_first() {
    for policy in ORDERS {
        let [first, second] = workers();
        let manager = manager(BLOCKS, policy);
        let mut held: Vec<_> = (0..BLOCKS as u64)
            .map(|n| register(&manager, hash(n)))
            .collect();
        let (low, other) = (held.pop().unwrap(), held.pop().unwrap());
        second.run(move || held.into_iter().for_each(drop));
        let of = Arc::clone(&manager);
        let evicted = first.run(move || {
            drop(other);
            low.set_retention(Retention::new(Priority::LOWEST));
            drop(low);
            evict(&of, 2)
        });
        assert_eq!(numbers(&evicted), [BLOCKS as u64 - 1, 0], "{policy}");
        manager.audit().unwrap();
    }
}

/// A block is evicted before its parent, although another thread has released the parent.
#[test]
fn a_child_goes_before_its_parent() {
    for policy in ["lineage-tick", "lineage-fifo"] {
        let [first, second] = workers();
        let manager = manager(BLOCKS, policy);
        let chain = [
            SequenceHash::new(7, None, 0),
            SequenceHash::new(8, Some(7), 1),
        ];
        let of = Arc::clone(&manager);
        let (both, rest) = first.run(move || {
            let both = chain.map(|hash| register(&of, hash));
            let rest: Vec<_> = (0..126).map(|n| register(&of, hash(1_000 + n))).collect();
            (both, rest)
        });
        let of = Arc::clone(&manager);
        let parent = second.run(move || of.match_one(chain[0]).unwrap());
        first.run(move || drop(both));
        second.run(move || drop(parent));
        let of = Arc::clone(&manager);
        let evicted = second.run(move || evict(&of, 2));
        assert_eq!(evicted, [chain[1], chain[0]], "{policy}");
        drop(rest);
        manager.audit().unwrap();
    }
}

/// A priority that has expired is noticed, although no thread of the shard comes by.
#[test]
fn what_has_expired_in_another_shard_is_evicted_in_its_turn() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let shards = cores.next_power_of_two().min(64);
    // More than may be evicted before that.
    let half = 2 * shards + 62;
    for policy in ["lru", "multi-lru", "lineage-tick"] {
        let [first, second] = workers();
        for [expires, stays] in [[&first, &second], [&second, &first]] {
            let manager = manager(2 * half, policy);
            let of = Arc::clone(&manager);
            expires.run(move || {
                let held: Vec<_> = (0..half as u64).map(|n| register(&of, hash(n))).collect();
                let highest = Retention::new(Priority::HIGHEST);
                for block in held {
                    block.set_retention(highest.for_duration(Duration::from_millis(10)));
                }
            });
            let of = Arc::clone(&manager);
            stays.run(move || {
                let numbers = half as u64..2 * half as u64;
                let held: Vec<_> = numbers.map(|n| register(&of, hash(n))).collect();
                held.into_iter().for_each(drop);
            });
            thread::sleep(Duration::from_millis(50));
            let of = Arc::clone(&manager);
            let evicted = stays.run(move || evict(&of, half));
            let evicted = numbers(&evicted);
            let late = evicted.iter().filter(|&&number| number >= half as u64);
            assert!(late.count() <= shards + 1, "{policy}: {evicted:?}");
            manager.audit().unwrap();
        }
    }
}

/// A directive reaches a block of another shard before the next victim is taken.
#[test]
fn a_directive_for_a_block_of_another_shard_comes_in_time() {
    for policy in ORDERS {
        let [first, second] = workers();
        let manager = manager(BLOCKS, policy);
        let of = Arc::clone(&manager);
        first.run(move || {
            drop(
                (0..BLOCKS as u64)
                    .map(|n| register(&of, hash(n)))
                    .collect::<Vec<_>>(),
            )
        });
        let of = Arc::clone(&manager);
        let evicted = second.run(move || {
            let lowest = Retention::new(Priority::LOWEST);
            assert_eq!(of.set_retention(&[hash(100)], .., lowest), 1);
            let mut evicted = evict(&of, 1);
            // Now there are priorities.
            assert_eq!(of.set_retention(&[hash(50)], .., lowest), 1);
            let highest = Retention::new(Priority::HIGHEST);
            assert_eq!(of.set_retention(&[hash(0)], .., highest), 1);
            evicted.extend(evict(&of, 2));
            evicted
        });
        assert_eq!(numbers(&evicted), [100, 50, 1], "{policy}");
        manager.audit().unwrap();
    }
}

/// A single thread has exactly one order, whichever shard it is of, also with directives.
#[test]
fn one_thread_has_one_order() {
    for worker in workers() {
        let evicted = worker.run(|| {
            let manager = manager(BLOCKS, "lru");
            let kept = register(&manager, hash(0));
            for n in 1..BLOCKS as u64 {
                drop(register(&manager, hash(n)));
            }
            let mut evicted = evict(&manager, 1);
            kept.set_retention(Retention::new(Priority::new(90).unwrap()));
            evicted.extend(evict(&manager, 1));
            let used = [6, 100].map(|n| manager.match_one(hash(n)).unwrap());
            used.into_iter().for_each(drop);
            evicted.extend(evict(&manager, BLOCKS - 3));
            manager.audit().unwrap();
            evicted
        });
        let others = (1..BLOCKS as u64).filter(|n| ![6, 100].contains(n));
        let expected: Vec<u64> = others.chain([6, 100]).collect();
        assert_eq!(numbers(&evicted), expected);
    }
}

/// An allocation of everything takes the blocks of all shards in order, although they take turns.
#[test]
fn a_large_allocation_takes_from_all_shards_in_order() {
    for policy in ["lru", "multi-lru", "lineage-tick"] {
        let workers = workers();
        let manager = manager(4 * BLOCKS, policy);
        for n in 0..4 * BLOCKS as u64 {
            let of = Arc::clone(&manager);
            workers[n as usize % 2].run(move || drop(register(&of, hash(n))));
        }
        let of = Arc::clone(&manager);
        let (_blocks, evicted) = workers[0].run(move || {
            let taken = of.allocate_blocks_with_evictions(4 * BLOCKS);
            taken.expect("all are available")
        });
        // Of two logs, each has fewer than 64 that may have been released before what is first on the
        // other.
        for (place, number) in (0..).zip(numbers(&evicted)) {
            assert!(
                u64::abs_diff(place, number) <= 128,
                "{policy}: {number} at {place}"
            );
        }
        assert_eq!(manager.metrics().plane_fallbacks(), 0);
    }
}
