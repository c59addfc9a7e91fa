//! The callback for falls below the low watermark.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use kvbm_lockfree::manager::LowWatermark;
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};

use crate::rng::{Rng, seed};
use crate::{BLOCK_SIZE, Manager, register};

/// The reports of the callback that the test has not taken yet.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<LowWatermark>>>);

impl Told {
    fn add(&self, low: LowWatermark) {
        self.0.lock().unwrap().push(low);
    }

    fn take(&self) -> Vec<LowWatermark> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn watched(block_count: usize, level: usize) -> (Manager, Told) {
    let told = Told::default();
    let manager = with_callback(block_count, level, {
        let told = told.clone();
        move |low| told.add(low)
    });
    (manager, told)
}

fn with_callback(
    block_count: usize,
    level: usize,
    callback: impl Fn(LowWatermark) + Send + Sync + 'static,
) -> Manager {
    BlockManager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .registry(BlockRegistry::new())
        .with_low_watermark(level, callback)
        .build()
        .expect("the configuration is valid")
}

/// Runs operations of every kind. After each of them, the callback must have been called once
/// if the available blocks fell below the level, and not at all otherwise.
fn exact(block_count: usize, level: usize, operations: usize, rng: &mut Rng) {
    let (manager, told) = watched(block_count, level);
    let (mut mutable, mut held) = (Vec::new(), Vec::new());
    let some = block_count / 4;
    for _ in 0..operations {
        let before = manager.available_blocks();
        // With many hashes missing, a match reserves more blocks than it pins.
        let contents = 2 * block_count;
        let hashes: Vec<_> = (0..rng.between(1, some))
            .map(|_| SequenceHash::root(rng.below(contents) as u64))
            .collect();
        let operation = rng.below(13);
        match operation {
            0 => mutable.extend(
                manager
                    .allocate_blocks(rng.below(some))
                    .into_iter()
                    .flatten(),
            ),
            1 => mutable.extend(manager.allocate_one()),
            2 => drop(manager.allocate_into(rng.below(some), &mut mutable)),
            3 | 4 => {
                let staged = mutable.drain(..).map(|block| {
                    let hash = SequenceHash::root(rng.below(contents) as u64);
                    block.stage(hash, BLOCK_SIZE).expect("of this size")
                });
                manager.register_into(staged, &mut held);
            }
            5 => drop(manager.match_into(&hashes, &mut held)),
            6 => held.extend(manager.match_one(hashes[0])),
            7 => held.extend(
                manager
                    .match_blocks_scattered(&hashes)
                    .into_iter()
                    .flatten(),
            ),
            8 => held.extend(manager.scan_matches(&hashes, false).into_values()),
            9 => {
                // It fails while blocks are held.
                let _ = manager.reset_inactive_pool();
            }
            10 => drop(rng.pick(&mut mutable)),
            11 => drop((0..some).map(|_| rng.pick(&mut held)).collect::<Vec<_>>()),
            _ => manager.release_from(&mut held),
        }
        let after = manager.available_blocks();
        let falls = before >= level && after < level;
        let expected = falls.then_some(LowWatermark {
            available: after,
            level,
        });
        assert_eq!(
            told.take(),
            expected.into_iter().collect::<Vec<_>>(),
            "level {level}: operation {operation}, from {before} to {after}"
        );
        assert_eq!(manager.is_low(), after < level);
    }
    manager.audit().unwrap();
}

#[test]
fn from_one_thread_every_fall_is_told_of_once() {
    let mut rng = Rng::new(seed());
    for level in 0..=24 {
        exact(24, level, 600, &mut rng);
    }
    // Enough blocks for several shards.
    for level in [1, 20, 100, 128, 250, 256] {
        exact(256, level, 2_000, &mut rng);
    }
}

/// In each round, all threads take inactive and free blocks at once. If the round ends below
/// the level, the fall must have been reported.
#[test]
fn threads_that_fall_together_are_told_of() {
    const THREADS: usize = 4;
    const POOL: usize = 256;
    const LEVEL: usize = 100;
    const ROUNDS: u64 = 1_000;
    let (manager, told) = watched(POOL, LEVEL);
    drop(register(&manager, 0..POOL as u64 / 2));
    let _ = told.take();
    let seed = seed();
    let (barrier, falls) = (Barrier::new(THREADS), AtomicUsize::new(0));
    thread::scope(|scope| {
        for part in 0..THREADS {
            let (manager, told, barrier, falls) = (&manager, &told, &barrier, &falls);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let mut rng = Rng::of(seed, round);
                    // Around 156 from all threads together.
                    let count = rng.between(34, 44);
                    let is_matching = part < rng.below(3);
                    let (mut mutable, mut held) = (Vec::new(), Vec::new());
                    barrier.wait();
                    while held.len() + mutable.len() < count {
                        let at = (part * POOL / 8 + held.len()) as u64;
                        let matched =
                            is_matching.then(|| manager.match_one(SequenceHash::root(at)));
                        match matched.flatten() {
                            Some(block) => held.push(block),
                            None => mutable.extend(manager.allocate_one()),
                        }
                    }
                    if barrier.wait().is_leader() {
                        let available = manager.available_blocks();
                        let told = told.take();
                        assert!(told.iter().all(|low| low.available < LEVEL));
                        if available < LEVEL {
                            assert_ne!(told, [], "round {round}: {available} left");
                            falls.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    barrier.wait();
                    drop((mutable, held));
                    barrier.wait();
                }
            });
        }
    });
    let falls = falls.load(Ordering::Relaxed);
    assert!(
        (1..ROUNDS as usize).contains(&falls),
        "{falls} falls tell nothing"
    );
    manager.audit().unwrap();
}

#[test]
fn a_level_of_zero_is_none_and_one_above_the_pool_is_refused() {
    let (manager, told) = watched(4, 0);
    let _all = manager.allocate_blocks(4).unwrap();
    assert!(manager.allocate_one().is_none() && !manager.is_low());
    assert_eq!(told.take(), []);

    let refused = BlockManager::<()>::builder()
        .block_count(4)
        .registry(BlockRegistry::new())
        .with_low_watermark(5, |_| {})
        .build();
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("low watermark must be at most the block count"),
        "{message}"
    );
    assert!(!crate::manager(4).is_low());
}

#[test]
fn a_panic_of_the_callback_goes_no_further() {
    let calls = Arc::new(AtomicUsize::new(0));
    let manager = with_callback(4, 4, {
        let calls = Arc::clone(&calls);
        move |_| {
            calls.fetch_add(1, Ordering::Relaxed);
            panic!("of the user's");
        }
    });
    for round in 1..=3 {
        let blocks = manager.allocate_blocks(2).expect("4 are free");
        assert_eq!((blocks.len(), calls.load(Ordering::Relaxed)), (2, round));
    }
    manager.audit().unwrap();
}

/// The callback uses every kind of operation, and causes another fall while it runs.
#[test]
fn the_callback_may_use_the_manager() {
    static DEPTH: AtomicUsize = AtomicUsize::new(0);
    let manager: Arc<OnceLock<Weak<Manager>>> = Arc::default();
    let (weak, told) = (Arc::clone(&manager), Told::default());
    let telling = told.clone();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keeping = Arc::clone(&kept);
    let watched = Arc::new(with_callback(8, 4, move |low| {
        telling.add(low);
        let manager = weak.get().and_then(Weak::upgrade).expect("it is in use");
        manager.audit().expect("nothing is under way");
        let _ = manager.reset_inactive_pool();
        drop(register(&manager, [5]));
        assert_eq!(manager.match_blocks(&[SequenceHash::root(5)]).len(), 1);
        // Lets the number rise and fall again, once.
        let mut kept = keeping.lock().unwrap();
        if DEPTH.fetch_add(1, Ordering::Relaxed) == 0 {
            kept.clear();
            assert!(!manager.is_low());
            drop(kept);
            let again = manager.allocate_blocks(2).expect("5 are available");
            keeping.lock().unwrap().extend(again);
        }
    }));
    manager.set(Arc::downgrade(&watched)).unwrap();
    kept.lock()
        .unwrap()
        .extend(watched.allocate_blocks(2).unwrap());
    let blocks = watched.allocate_blocks(3).unwrap();
    let low = LowWatermark {
        available: 3,
        level: 4,
    };
    assert_eq!(told.take(), [low, low]);
    assert_eq!(DEPTH.load(Ordering::Relaxed), 2);
    drop(blocks);
    watched.audit().unwrap();
}

/// Blocks of expired leases count as available, so they cause no report.
#[test]
fn what_has_expired_is_no_fall() {
    let (manager, told) = watched(4, 3);
    let expired = Some(Duration::ZERO);
    let _lease = manager
        .lease(register(&manager, [1]), "a", expired)
        .unwrap();
    let _block = manager.allocate_one().unwrap();
    assert_eq!((told.take(), manager.available_blocks()), (vec![], 3));
    let _another = manager.allocate_one().unwrap();
    assert_eq!(
        told.take(),
        [LowWatermark {
            available: 2,
            level: 3
        }]
    );
}

/// Nor do those of a lease that is too large to be released at once. When they are used up, the fall
/// is reported.
#[test]
fn a_large_lease_that_has_expired_is_no_fall_until_it_is_used_up() {
    const POOL: usize = 400;
    const LEVEL: usize = 50;
    let (manager, told) = watched(POOL, LEVEL);
    let leased = register(&manager, 0..POOL as u64);
    assert_eq!(told.take().len(), 1);
    let lease = manager.lease(leased, "a", Some(Duration::ZERO)).unwrap();
    lease.detach();
    let mut blocks = Vec::new();
    for available in (LEVEL..POOL).rev() {
        blocks.push(manager.allocate_one().expect("a lease has expired"));
        assert_eq!(told.take(), [], "{available} are left");
        assert!(!manager.is_low());
    }
    blocks.push(manager.allocate_one().expect("a lease has expired"));
    let low = LowWatermark {
        available: LEVEL - 1,
        level: LEVEL,
    };
    assert_eq!(told.take(), [low]);
    assert!(manager.is_low());
}

#[test]
fn what_an_upgrade_takes_is_noticed_with_the_next_operation() {
    let (manager, told) = watched(4, 4);
    let block = register(&manager, [1]).remove(0);
    let weak = block.downgrade();
    drop(block);
    let _ = told.take();
    let _block = weak.upgrade().expect("it is inactive");
    assert!(manager.is_low());
    assert_eq!(told.take(), []);
    assert!(manager.match_blocks(&[SequenceHash::root(2)]).is_empty());
    assert_eq!(
        told.take(),
        [LowWatermark {
            available: 3,
            level: 4
        }]
    );
}
