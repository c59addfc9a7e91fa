//! The table, at times of the tests' choosing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

use super::{Lease, LeaseError, LeaseTable};

const BLOCKS: usize = 8;
const SECOND: Duration = Duration::from_secs(1);

type Manager = BlockManager<()>;

fn manager() -> Manager {
    Manager::builder()
        .block_count(BLOCKS)
        .registry(BlockRegistry::new())
        .build()
        .expect("valid")
}

/// A guard of a block that holds the `n`th content.
fn block(manager: &Manager, n: u64) -> ImmutableBlock<()> {
    let block = manager.allocate_one().expect("a block is available");
    let hash = SequenceHash::root(n);
    manager.register_block(block.stage(hash, manager.block_size()).expect("its size"))
}

/// A manager, the time, and a table of that time.
fn set_up() -> (Manager, Instant, Arc<LeaseTable<()>>) {
    let now = Instant::now();
    (manager(), now, LeaseTable::new(now))
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

    // It has expired, though its blocks are still there.
    let up = now + SECOND;
    let id = lease.id();
    assert_eq!(table.remaining(id, up), Err(expired(&lease)));
    assert_eq!(table.renew(id, Some(SECOND), up), Err(expired(&lease)));
    assert_eq!(table.to_guards(id, up).unwrap_err(), expired(&lease));
    assert_eq!(manager.available_blocks(), BLOCKS - 1);
    assert_eq!(table.expire(up), 1);
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(table.expire(up), 0);
    // The time cannot go back, but threads come late with theirs.
    assert_eq!(table.renew(id, Some(SECOND), now), Err(expired(&lease)));
    assert_eq!(lease.release(), Err(LeaseError::Expired(id)));
}

#[test]
fn the_release_of_what_has_expired_lets_go_of_it() {
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
    // Sooner, later, never, and after all.
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
        assert!(table.try_expire(|| now), "second {second}");
        assert_eq!(owners(), left);
        assert_eq!(manager.available_blocks(), BLOCKS - left.len());
    }
    // Nothing is left that could expire, and the clock is not asked.
    assert!(table.try_expire(|| unreachable!("no lease has an expiry")));
    drop(leases);
}

#[test]
fn the_clock_is_asked_only_if_a_lease_can_expire() {
    let (manager, now, table) = set_up();
    let asked = AtomicUsize::new(0);
    let clock = || {
        asked.fetch_add(1, Ordering::Relaxed);
        now
    };
    let endless = table.add(vec![block(&manager, 1)], "a".into(), None, now);
    assert!(table.try_expire(clock));
    let too_long = table.add(
        vec![block(&manager, 2)],
        "b".into(),
        Some(Duration::MAX),
        now,
    );
    assert!(table.try_expire(clock));
    assert_eq!(table.remaining(too_long.id(), now), Ok(None));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let short = table.add(vec![block(&manager, 3)], "c".into(), Some(SECOND), now);
    assert!(table.try_expire(clock));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    table.release(short.id(), now).unwrap();
    assert!(table.try_expire(clock));
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

/// Nobody who allocates waits for a thread that has the mutex.
#[test]
fn an_expiry_that_finds_the_table_taken_goes_on() {
    let (manager, now, table) = set_up();
    let lease = table.add(vec![block(&manager, 1)], "a".into(), Some(SECOND), now);
    let (take, taken) = mpsc::channel();
    let (let_go, gone) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let table = &table;
        scope.spawn(move || {
            let _held = table.lock();
            take.send(()).unwrap();
            // Until the other end is dropped.
            let _ = gone.recv();
        });
        taken.recv().unwrap();
        assert!(!table.try_expire(|| now + SECOND));
        assert_eq!(manager.available_blocks(), BLOCKS - 1);
        drop(let_go);
    });
    assert!(table.try_expire(|| now + SECOND));
    assert!(table.holders(now).is_empty());
    assert_eq!(manager.available_blocks(), BLOCKS);
    drop(lease);
}

/// Renewals and a release against the expiry: each lease ends once, and whoever was told
/// that it lives finds its blocks.
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
        // The two that nobody has released: renewed in time, or ended.
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
