//! Observing changes nothing: functions that read numbers, list things or test for presence hold no
//! block, no credit and no registration, and what they report is plausible at any time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

const BLOCKS: usize = 64;

type Manager = BlockManager<()>;

fn manager(registry: &BlockRegistry) -> Manager {
    Manager::builder()
        .block_count(BLOCKS)
        .block_size(16)
        .registry(registry.clone())
        .with_lru_backend()
        .build()
        .unwrap()
}

fn hash(content: u64) -> SequenceHash {
    SequenceHash::root(content)
}

/// How long each test runs.
const TIME: Duration = Duration::from_millis(400);

/// Runs `work` repeatedly while another thread runs `look` repeatedly.
fn beside(look: impl Fn() + Sync, mut work: impl FnMut(u64)) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                look();
            }
        });
        let start = Instant::now();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut round = 0;
            while start.elapsed() < TIME || round < 50 {
                work(round);
                round += 1;
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}

fn register_all(manager: &Manager, from: u64) -> Vec<ImmutableBlock<()>> {
    let blocks = manager
        .allocate_blocks(BLOCKS)
        .expect("nobody else asks for any");
    let complete = blocks
        .into_iter()
        .zip(from..)
        .map(|(block, content)| block.stage(hash(content), 16).unwrap());
    manager.register_blocks(complete.collect())
}

/// Leases all blocks, ends the lease, and allocates all: there must always be enough.
#[test]
fn no_allocation_is_refused_because_somebody_looks() {
    let registry = BlockRegistry::new();
    let manager = manager(&registry);
    let contents: Vec<_> = (0..BLOCKS as u64).map(hash).collect();
    let look = || {
        manager.holders();
        manager.unleased_blocks();
        manager.available_blocks();
        manager.is_low();
        manager.metrics().snapshot();
        manager.metrics().pending_garbage();
        registry.check_presence::<()>(&contents);
        registry.registered_count();
        registry.is_registered(contents[0]);
    };
    beside(look, |round| {
        let guards = register_all(&manager, round % 2 * BLOCKS as u64);
        let duration = (round % 3 == 0).then_some(Duration::from_secs(3_600));
        let lease = manager.lease(guards, "client", duration).unwrap();
        lease.release().unwrap();
    });
    manager.audit().unwrap();
}

/// Blocks of an expired lease have no owner, even while another thread is releasing them.
#[test]
fn no_allocation_is_refused_while_leases_expire() {
    let registry = BlockRegistry::new();
    let manager = manager(&registry);
    // Many leases that do not expire make the list long.
    let idle: Vec<_> = (0..10_000)
        .map(|_| manager.lease(Vec::new(), "idle", None).unwrap())
        .collect();
    let look = || {
        manager.holders();
        manager.expire_leases();
        manager.available_blocks();
    };
    beside(look, |round| {
        let guards = register_all(&manager, round % 2 * BLOCKS as u64);
        let lease = manager
            .lease(guards, "client", Some(Duration::ZERO))
            .unwrap();
        lease.detach();
    });
    drop(idle);
    manager.audit().unwrap();
}

/// A registration does not last longer because a thread observes it.
#[test]
fn no_registration_lasts_because_somebody_looks() {
    let registry = BlockRegistry::new();
    let contents: Vec<_> = (0..BLOCKS as u64).map(hash).collect();
    let look = || {
        registry.check_presence::<()>(&contents);
        registry.registered_count();
        registry.is_registered(contents[0]);
        registry.match_sequence_hash(hash(u64::from(u32::MAX)), true);
    };
    beside(look, |_| {
        let manager = manager(&registry);
        let guards = register_all(&manager, 0);
        assert_eq!(registry.registered_count(), BLOCKS);
        drop(manager);
        assert_eq!(registry.registered_count(), BLOCKS);
        drop(guards);
        assert!(!contents.iter().any(|&hash| registry.is_registered(hash)));
        assert_eq!(registry.registered_count(), 0);
    });
}

/// Four threads use one block each: no gauge is negative, and no part exceeds its whole.
#[test]
fn gauges_make_sense_at_every_moment() {
    let registry = BlockRegistry::new();
    let manager = manager(&registry);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for own in 0..4 {
            let (manager, is_over) = (&manager, &is_over);
            scope.spawn(move || {
                let mut content = own;
                while !is_over.load(Ordering::Relaxed) {
                    let block = manager.allocate_one().expect("there is one for each");
                    let block = block.stage(hash(content), 16).unwrap().reset();
                    let block = block.stage(hash(content), 16).unwrap();
                    let block = manager.register_block(block);
                    drop((block.clone(), block.pin(), block));
                    drop(manager.match_blocks(&[hash(content)]));
                    drop(manager.scan_matches(&[hash(content), hash(1 << 40)], false));
                    content += 4;
                }
            });
        }
        // The other threads must end even if an assertion fails.
        let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let start = Instant::now();
            let mut before = manager.metrics().snapshot();
            while start.elapsed() < TIME {
                let now = manager.metrics().snapshot();
                for gauge in [
                    now.inflight_mutable,
                    now.reset_pool_size,
                    now.inactive_pool_size,
                ] {
                    assert!((0..=BLOCKS as i64).contains(&gauge), "{now:?}");
                }
                assert!(now.inflight_immutable >= 0, "{now:?}");
                let available = now.reset_pool_size + now.inactive_pool_size;
                assert!(available <= BLOCKS as i64, "{now:?}");
                assert!(
                    now.match_blocks_returned <= now.match_hashes_requested,
                    "{now:?}"
                );
                assert!(
                    now.scan_blocks_returned <= now.scan_hashes_requested,
                    "{now:?}"
                );
                assert!(now.evictions <= now.allocations, "{now:?}");
                assert!(now.allocations_from_reset <= now.allocations, "{now:?}");
                assert!(now.registrations <= now.stagings, "{now:?}");
                assert!(before.allocations <= now.allocations, "{now:?}");
                before = now;
            }
        }));
        is_over.store(true, Ordering::Relaxed);
        if let Err(panic) = looked {
            std::panic::resume_unwind(panic);
        }
    });
    let snapshot = manager.metrics().snapshot();
    assert_eq!(snapshot.inflight_mutable, 0);
    assert_eq!(snapshot.inflight_immutable, 0);
    let available = snapshot.reset_pool_size + snapshot.inactive_pool_size;
    assert_eq!(available, BLOCKS as i64);
    manager.audit().unwrap();
}

/// The counting methods of the metrics change what is shown, but not the gauges.
#[test]
fn counting_by_hand_changes_no_gauge() {
    let registry = BlockRegistry::new();
    let manager = manager(&registry);
    let guards = register_all(&manager, 0);
    let before = manager.metrics().snapshot();
    manager.metrics().inc_allocations(5);
    manager.metrics().inc_allocations_from_reset(5);
    manager.metrics().inc_registrations_by(7);
    manager.metrics().inc_duplicate_blocks();
    manager.metrics().inc_stagings();
    let after = manager.metrics().snapshot();
    assert_eq!(after.allocations, before.allocations + 5);
    assert_eq!(after.registrations, before.registrations + 7);
    assert_eq!(after.inflight_mutable, before.inflight_mutable);
    assert_eq!(after.inflight_immutable, before.inflight_immutable);
    assert_eq!(after.reset_pool_size, before.reset_pool_size);
    assert_eq!(after.inactive_pool_size, before.inactive_pool_size);
    assert_eq!(registry.registered_count(), BLOCKS);
    drop(guards);
    manager.audit().unwrap();
}

/// Checks the number of registered hashes at every stage of a block's life.
#[test]
fn the_registered_are_counted_exactly() {
    let registry = BlockRegistry::new();
    let manager = manager(&registry);
    let count = |expected: usize| assert_eq!(registry.registered_count(), expected);
    count(0);
    let guards = register_all(&manager, 0);
    count(BLOCKS);
    drop(guards);
    count(BLOCKS);
    let block = manager.match_one(hash(0)).unwrap();
    manager.clear_inactive_pool();
    count(1);
    let handles = registry.register_sequence_hashes([hash(0), hash(1), hash(2)]);
    count(3);
    let twin = manager.allocate_one().unwrap().stage(hash(0), 16).unwrap();
    let twin = manager.register_block(twin);
    count(3);
    drop(block);
    count(3);
    drop(twin);
    count(3);
    drop(handles);
    count(1);
    manager.reset_inactive_pool().unwrap();
    count(0);
    let guards = register_all(&manager, 0);
    let second = Manager::builder()
        .block_count(BLOCKS)
        .block_size(16)
        .registry(registry.clone())
        .build()
        .unwrap();
    let others = register_all(&second, 32);
    count(BLOCKS + 32);
    drop((others, second));
    count(BLOCKS);
    drop((guards, manager));
    count(0);
}
