//! Tests of the table, with times that the tests choose.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

use super::{ExpiryStep, Lease, LeaseError, LeaseTable, PIECE};

const BLOCKS: usize = 8;
const SECOND: Duration = Duration::from_secs(1);

type Manager = BlockManager<()>;

fn manager() -> Manager {
    manager_of(BLOCKS)
}

fn manager_of(blocks: usize) -> Manager {
    Manager::builder()
        .block_count(blocks)
        .registry(BlockRegistry::new())
        .build()
        .expect("valid")
}

/// Returns a guard of a block that holds the `n`th content.
fn block(manager: &Manager, n: u64) -> ImmutableBlock<()> {
    let block = manager.allocate_one().expect("a block is available");
    let hash = SequenceHash::root(n);
    manager.register_block(block.stage(hash, manager.block_size()).expect("its size"))
}

/// Returns a manager, the current time, and a table created at that time.
fn set_up() -> (Manager, Instant, Arc<LeaseTable<()>>) {
    let now = Instant::now();
    (manager(), now, LeaseTable::new(now))
}

/// Releases everything that has expired, without waiting. Returns whether it has.
fn try_expire(table: &LeaseTable<()>, clock: impl Fn() -> Instant) -> bool {
    loop {
        match table.try_expire_one(&clock) {
            ExpiryStep::Released => {}
            ExpiryStep::NoneDue => return table.is_quiet(),
            ExpiryStep::Busy => return false,
        }
    }
}

fn expired<T: crate::BlockMetadata>(lease: &Lease<T>) -> LeaseError {
    LeaseError::Expired(lease.id())
}

#[test]
fn a_lease_expires_when_its_time_is_up() {
    let (manager, now, table) = set_up();
    let lease = table.add(vec![block(&manager, 1)], "a".into(), Some(SECOND), now);
    let last = now + SECOND - Duration::from_nanos(1);
    assert_eq!(
        table.remaining(lease.id(), last),
        Ok(Some(Duration::from_nanos(1)))
    );
    assert_eq!(
        table.to_guards(lease.id(), last).map(|held| held.len()),
        Ok(1)
    );
    assert_eq!(table.expire(last), 0);
    assert_eq!(manager.available_blocks(), BLOCKS - 1);

    // It has expired, although its blocks are still held.
    let up = now + SECOND;
    let id = lease.id();
    assert_eq!(table.remaining(id, up), Err(expired(&lease)));
    assert_eq!(table.renew(id, Some(SECOND), up), Err(expired(&lease)));
    assert_eq!(table.to_guards(id, up).unwrap_err(), expired(&lease));
    assert_eq!(manager.available_blocks(), BLOCKS - 1);
    assert_eq!(table.expire(up), 1);
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(table.expire(up), 0);
    // Time does not go back, but a thread may arrive late with an earlier reading.
    assert_eq!(table.renew(id, Some(SECOND), now), Err(expired(&lease)));
    assert_eq!(lease.release(), Err(LeaseError::Expired(id)));
}

#[test]
fn releasing_an_expired_lease_frees_its_blocks() {
    let (manager, now, table) = set_up();
    let lease = table.add(vec![block(&manager, 1)], "a".into(), Some(SECOND), now);
    let id = lease.detach();
    assert_eq!(
        table.release(id, now + SECOND),
        Err(LeaseError::Expired(id))
    );
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(table.release(id, now), Err(LeaseError::Expired(id)));
}

#[test]
fn a_renewal_counts_from_its_own_time() {
    let (manager, now, table) = set_up();
    let lease = table.add(vec![block(&manager, 1)], "a".into(), Some(SECOND * 10), now);
    let id = lease.id();
    // Sooner, later, never, and at some time again.
    for (at, duration, until) in [
        (1, Some(2), Some(3)),
        (2, Some(20), Some(22)),
        (21, None, None),
        (1000, Some(1), Some(1001)),
    ] {
        let at = now + SECOND * at;
        table
            .renew(id, duration.map(|seconds| SECOND * seconds), at)
            .unwrap();
        let remaining = until.map(|until| now + SECOND * until - at);
        assert_eq!(table.remaining(id, at), Ok(remaining));
    }
    assert_eq!(table.expire(now + SECOND * 1000), 0);
    assert_eq!(table.expire(now + SECOND * 1001), 1);
}

#[test]
fn leases_expire_in_the_order_of_their_time_and_no_other_does() {
    let (manager, now, table) = set_up();
    let leases: Vec<_> = [5, 1, 3, 3]
        .into_iter()
        .zip(1..)
        .map(|(seconds, n)| {
            let until = Some(SECOND * seconds);
            table.add(vec![block(&manager, n)], n.to_string().into(), until, now)
        })
        .collect();
    let owners = || -> Vec<String> {
        let holders = table.holders(now);
        holders
            .iter()
            .map(|holder| holder.owner.to_string())
            .collect()
    };
    for (second, left) in [
        (0, vec!["1", "2", "3", "4"]),
        (1, vec!["1", "3", "4"]),
        (2, vec!["1", "3", "4"]),
        (4, vec!["1"]),
        (5, vec![]),
    ] {
        let now = now + SECOND * second;
        assert!(try_expire(&table, || now), "second {second}");
        assert_eq!(owners(), left);
        assert_eq!(manager.available_blocks(), BLOCKS - left.len());
    }
    // No lease is left that could expire, so the clock is not read.
    assert!(try_expire(&table, || unreachable!(
        "no lease has an expiry"
    )));
    drop(leases);
}

#[test]
fn the_clock_is_read_only_if_a_lease_can_expire() {
    let (manager, now, table) = set_up();
    let asked = AtomicUsize::new(0);
    let clock = || {
        asked.fetch_add(1, Ordering::Relaxed);
        now
    };
    let endless = table.add(vec![block(&manager, 1)], "a".into(), None, now);
    assert!(try_expire(&table, clock));
    let too_long = table.add(
        vec![block(&manager, 2)],
        "b".into(),
        Some(Duration::MAX),
        now,
    );
    assert!(try_expire(&table, clock));
    assert_eq!(table.remaining(too_long.id(), now), Ok(None));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let short = table.add(vec![block(&manager, 3)], "c".into(), Some(SECOND), now);
    assert!(try_expire(&table, clock));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    table.release(short.id(), now).unwrap();
    assert!(try_expire(&table, clock));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    drop((endless, too_long, short));
}

#[test]
fn a_time_before_the_table_is_its_beginning() {
    let now = Instant::now();
    let table: Arc<LeaseTable<()>> = LeaseTable::new(now + SECOND);
    let lease = table.add(Vec::new(), "a".into(), Some(SECOND), now);
    assert_eq!(table.remaining(lease.id(), now), Ok(Some(SECOND)));
}

#[test]
fn holders_say_since_when_and_until_when() {
    let (manager, now, table) = set_up();
    let held = block(&manager, 7);
    let id = held.block_id();
    let before = std::time::SystemTime::now();
    let lease = table.add(vec![held.clone(), held], "a".into(), Some(SECOND * 9), now);
    let endless = table.add(Vec::new(), "b".into(), None, now);
    let holders = table.holders(now + SECOND * 2);
    assert_eq!(holders.len(), 2);
    let first = &holders[0];
    assert_eq!((first.lease, first.owner.as_ref()), (lease.id(), "a"));
    assert_eq!(first.blocks, [(id, SequenceHash::root(7)); 2]);
    assert_eq!(first.held_for, SECOND * 2);
    assert_eq!(first.remaining, Some(SECOND * 7));
    assert!(before <= first.since && first.since + SECOND * 7 <= first.until.unwrap());
    let second = &holders[1];
    assert_eq!((second.lease, second.owner.as_ref()), (endless.id(), "b"));
    assert_eq!((second.until, second.remaining), (None, None));
    assert_eq!(table.leased(), 1);
}

/// An expiry on behalf of an allocation does not wait for a thread that holds the mutex.
#[test]
fn try_expire_does_not_wait_for_the_mutex() {
    let (manager, now, table) = set_up();
    let lease = table.add(vec![block(&manager, 1)], "a".into(), Some(SECOND), now);
    let (lock, locked) = mpsc::channel();
    let (unlock, unlocked) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let table = &table;
        scope.spawn(move || {
            let _held = table.lock();
            lock.send(()).unwrap();
            // Blocks until the other end is dropped.
            let _ = unlocked.recv();
        });
        locked.recv().unwrap();
        assert!(!try_expire(table, || now + SECOND));
        assert_eq!(manager.available_blocks(), BLOCKS - 1);
        drop(unlock);
    });
    assert!(try_expire(&table, || now + SECOND));
    assert!(table.holders(now).is_empty());
    assert_eq!(manager.available_blocks(), BLOCKS);
    drop(lease);
}

/// Blocks that are enough for two pieces and a bit, leased until `now + SECOND`.
fn set_up_large() -> (Manager, Instant, Arc<LeaseTable<()>>, Lease<()>) {
    let manager = manager_of(LARGE);
    let now = Instant::now();
    let table = LeaseTable::new(now);
    let blocks = (0..LARGE as u64).map(|n| block(&manager, n)).collect();
    let lease = table.add(blocks, "a".into(), Some(SECOND), now);
    (manager, now, table, lease)
}

const LARGE: usize = 2 * PIECE + 3;

/// What has not been released counts as available, and a lease whose first piece is gone is gone,
/// even for a thread that arrives late with an earlier time.
#[test]
fn a_large_lease_ends_in_pieces() {
    let (manager, now, table, lease) = set_up_large();
    let (up, id) = (now + SECOND, lease.id());
    let held = || LARGE - manager.available_blocks();
    assert_eq!(table.add_expired(|| now, || 5), 5, "it has not expired yet");

    assert_eq!(table.try_expire_one(|| up), ExpiryStep::Released);
    assert_eq!(held(), LARGE - PIECE);
    assert!(table.holders(now).is_empty());
    assert_eq!(table.renew(id, Some(SECOND * 9), now), Err(expired(&lease)));
    assert_eq!(table.to_guards(id, now).unwrap_err(), expired(&lease));

    let available = || manager.available_blocks();
    assert_eq!(table.add_expired(|| up, available), LARGE);
    assert_eq!(held(), LARGE - 2 * PIECE);
    assert_eq!(table.add_expired(|| up, available), LARGE);
    assert_eq!(held(), 0);
    assert!(try_expire(&table, || unreachable!("nothing is left")));
    assert_eq!(lease.release(), Err(LeaseError::Expired(id)));
    manager.audit().unwrap();
}

/// One call releases a piece, however many leases that takes, and counts the others.
#[test]
fn many_small_leases_are_counted_together() {
    const LEASES: usize = 3 * PIECE;
    let manager = manager_of(LEASES);
    let now = Instant::now();
    let table = LeaseTable::new(now);
    for n in 0..LEASES as u64 {
        // All have expired at `now + SECOND`, except the last one.
        let until = SECOND + Duration::from_nanos(n / (LEASES as u64 - 1));
        table
            .add(vec![block(&manager, n)], "a".into(), Some(until), now)
            .detach();
    }
    let available = || manager.available_blocks();
    for pieces in 1..=2 {
        assert_eq!(table.add_expired(|| now + SECOND, available), LEASES - 1);
        assert_eq!(available(), pieces * PIECE);
    }
    assert_eq!(table.expire(now + SECOND), PIECE - 1);
    assert_eq!(table.expire(now + SECOND * 2), 1);
    assert_eq!(available(), LEASES);
}

#[test]
fn releasing_or_dropping_a_lease_in_pieces_frees_what_is_left() {
    for drops in [false, true] {
        let (manager, now, table, lease) = set_up_large();
        assert_eq!(table.try_expire_one(|| now + SECOND), ExpiryStep::Released);
        if drops {
            drop(lease);
        } else {
            let id = lease.id();
            assert_eq!(table.release(id, now), Err(LeaseError::Expired(id)));
        }
        assert_eq!(manager.available_blocks(), LARGE);
        assert!(try_expire(&table, || unreachable!("nothing is left")));
    }
    let (manager, now, table, lease) = set_up_large();
    assert_eq!(table.try_expire_one(|| now + SECOND), ExpiryStep::Released);
    table.end();
    assert_eq!(manager.available_blocks(), LARGE);
    drop(lease);
}

/// A policy gets the blocks in the order in which it would get them at once.
#[test]
fn pieces_keep_the_order_of_eviction() {
    type Builder = crate::manager::BlockManagerConfigBuilder<()>;
    let lru: fn(Builder) -> Builder = |builder| builder.with_lru_backend();
    let lineage: fn(Builder) -> Builder = |builder| builder.with_lineage_backend();
    for (backend, is_leaf_first) in [(lru, false), (lineage, true)] {
        let builder = Manager::builder().block_count(LARGE);
        let manager = backend(builder.registry(BlockRegistry::new()));
        let manager = manager.build().expect("valid");
        let chain: Vec<_> =
            std::iter::successors(Some(SequenceHash::root(0)), |hash| Some(hash.extend(1)))
                .take(LARGE)
                .collect();
        let blocks = manager.allocate_blocks(LARGE).expect("all are free");
        let stage = |(block, &hash): (crate::MutableBlock<()>, _)| {
            block.stage(hash, manager.block_size()).expect("its size")
        };
        let blocks = blocks.into_iter().zip(&chain).map(stage).collect();
        let blocks = manager.register_blocks(blocks);
        let lease = manager.lease(blocks, "a", Some(Duration::ZERO)).unwrap();
        let _ = lease.detach();
        let mut expected = chain;
        if is_leaf_first {
            expected.reverse();
        }
        for hash in expected {
            let (block, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
            assert_eq!(evicted, [hash]);
            std::mem::forget(block);
        }
    }
}

/// Leases without blocks are no work for those that need blocks.
#[test]
fn empty_leases_are_passed_over() {
    let (manager, now, table) = set_up();
    for _ in 0..1_000 {
        table
            .add(Vec::new(), "a".into(), Some(Duration::ZERO), now)
            .detach();
    }
    assert!(try_expire(&table, || unreachable!("none holds a block")));
    let lease = table.add(vec![block(&manager, 1)], "b".into(), Some(SECOND), now);
    assert_eq!(table.try_expire_one(|| now + SECOND), ExpiryStep::Released);
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(table.expire(now + SECOND), 1_000);
    assert!(table.holders(now).is_empty());
    drop(lease);
}

/// A thread that is cloning the guards of a lease when that expires releases its blocks.
#[test]
fn a_lease_whose_guards_are_being_cloned_ends() {
    let (manager, now, table) = set_up();
    let lease = table.add(vec![block(&manager, 1)], "a".into(), Some(SECOND), now);
    let cloning = Arc::clone(&table.lock().live(lease.id(), 0).unwrap().held);
    assert_eq!(table.try_expire_one(|| now + SECOND), ExpiryStep::Released);
    assert_eq!(table.try_expire_one(|| now + SECOND), ExpiryStep::NoneDue);
    assert_eq!(manager.available_blocks(), BLOCKS - 1);
    drop(cloning);
    assert_eq!(manager.available_blocks(), BLOCKS);
    drop(lease);
}

/// Renewals and releases race with expiry: each lease ends once, and a lease whose renewal
/// succeeded still holds its blocks.
#[test]
fn expiry_races_renewal_and_release() {
    for round in 0..300 {
        let (manager, now, table) = set_up();
        let leases: Vec<_> = (0..4)
            .map(|n| {
                table
                    .add(vec![block(&manager, n)], "a".into(), Some(SECOND), now)
                    .detach()
            })
            .collect();
        let up = now + SECOND;
        let late = |n: usize| {
            if (round + n).is_multiple_of(2) {
                up
            } else {
                now
            }
        };
        let (renewed, released, ended) = thread::scope(|scope| {
            let renewing = scope.spawn(|| {
                let renew = |&id: &_| table.renew(id, Some(SECOND * 2), now).is_ok();
                leases.iter().map(renew).collect::<Vec<_>>()
            });
            let releasing = scope.spawn(|| {
                let release = |(n, &id)| table.release(id, late(n)).is_ok();
                leases[2..]
                    .iter()
                    .enumerate()
                    .map(release)
                    .collect::<Vec<_>>()
            });
            let ended = table.expire(up);
            (renewing.join().unwrap(), releasing.join().unwrap(), ended)
        });
        let live: Vec<bool> = leases
            .iter()
            .map(|&id| table.to_guards(id, up).is_ok())
            .collect();
        // The two that were not released: renewed in time, or ended.
        assert_eq!(&live[..2], &renewed[..2]);
        assert_eq!(&live[2..], [false; 2]);
        let expired = renewed[..2].iter().filter(|&&renewed| !renewed).count();
        assert!(
            (expired..=4).contains(&ended),
            "{ended} ended, {released:?} released"
        );
        assert_eq!(
            manager.available_blocks(),
            BLOCKS - live.iter().filter(|&&live| live).count()
        );
        assert_eq!(
            table.expire(now + SECOND * 3),
            live.iter().filter(|&&live| live).count()
        );
        assert_eq!(manager.available_blocks(), BLOCKS);
        manager.audit().unwrap();
    }
}

/// However leases overlap and end, the count is that of the blocks that any of them holds.
#[test]
fn a_block_counts_as_leased_as_long_as_any_lease_holds_it() {
    const MANY: usize = 3 * PIECE;
    let manager = manager_of(MANY);
    let now = Instant::now();
    let table = LeaseTable::new(now);
    let guards: Vec<_> = (0..MANY as u64).map(|n| block(&manager, n)).collect();
    let some = |range: std::ops::Range<usize>| guards[range].to_vec();
    assert_eq!(table.leased(), 0);
    let first = table.add(some(0..MANY), "a".into(), Some(SECOND), now);
    let second = table.add(some(PIECE..MANY), "b".into(), None, now);
    let twice = [some(0..1), some(0..1)].concat();
    let third = table.add(twice, "c".into(), Some(SECOND * 2), now);
    assert_eq!(table.leased(), MANY);
    // The first lease ends in pieces, of which the last is taken by its release.
    let later = now + SECOND;
    table.try_expire_one(|| later);
    let is_leaf_first = manager
        .match_one(SequenceHash::root(0))
        .is_some_and(|guard| {
            let store = guard.hold().store();
            store.is_leaf_first()
        });
    // From its end: the other leases hold those blocks. Otherwise all but one of the first piece.
    let after_first = if is_leaf_first {
        MANY
    } else {
        MANY - PIECE + 1
    };
    assert_eq!(table.leased(), after_first);
    assert_eq!(table.release(first.id(), later), Err(expired(&first)));
    assert_eq!(table.leased(), MANY - PIECE + 1);
    second.release().expect("it has no expiry");
    assert_eq!(table.leased(), 1);
    // A thread that clones the guards keeps them; they are no longer leased.
    let cloned = Arc::clone(&table.lock().live(third.id(), 0).expect("it is held").held);
    assert!(try_expire(&table, || now + SECOND * 2));
    assert_eq!(table.leased(), 0);
    drop(cloned);
    let last = table.add(some(0..2), "d".into(), None, now);
    assert_eq!(table.leased(), 2);
    table.end();
    assert_eq!(table.leased(), 0);
    drop(last);
}

/// The drop of an attachment asks for something that releases the next piece, whose attachments do
/// the same, and so on: the calls do not nest.
#[test]
fn user_code_of_one_piece_does_not_run_within_that_of_another() {
    use std::cell::Cell;
    use std::sync::Weak;

    thread_local! {
        static DEPTH: Cell<usize> = const { Cell::new(0) };
        static DEEPEST: Cell<usize> = const { Cell::new(0) };
        static DROPS: Cell<usize> = const { Cell::new(0) };
    }

    struct Asks(Weak<Manager>);

    impl Drop for Asks {
        fn drop(&mut self) {
            DROPS.set(DROPS.get() + 1);
            DEPTH.set(DEPTH.get() + 1);
            DEEPEST.set(DEEPEST.get().max(DEPTH.get()));
            if let Some(manager) = self.0.upgrade() {
                manager.available_blocks();
            }
            DEPTH.set(DEPTH.get() - 1);
        }
    }

    for (leases, blocks) in [(100, 1), (2, 1_000)] {
        DROPS.set(0);
        let manager = Manager::builder()
            .block_count(leases * blocks)
            .block_size(1)
            .registry(BlockRegistry::new())
            .with_default_reset_on_release(true);
        let manager = Arc::new(manager.build().unwrap());
        let mut contents = 0..;
        for _ in 0..leases {
            let blocks = contents.by_ref().take(blocks).map(|content| {
                let block = block(&manager, content);
                let asks = Asks(Arc::downgrade(&manager));
                assert!(block.registration_handle().attach(asks).is_ok());
                block
            });
            let lease = manager.lease(blocks.collect(), "gone", Some(Duration::ZERO));
            lease.unwrap().detach();
        }
        manager.expire_leases();
        assert_eq!(DROPS.get(), leases * blocks);
        assert_eq!(DEEPEST.get(), 1);
        assert_eq!(manager.available_blocks(), leases * blocks);
    }
}
