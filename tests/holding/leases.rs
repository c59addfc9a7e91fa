//! Leases through the manager, with the real clock: a lease of zero duration has already
//! expired, and a day is longer than any test runs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use kvbm_lockfree::leases::{LeaseError, LeaseId};
use kvbm_lockfree::{BlockManager, BlockRegistry};

use crate::rng::{Rng, seed};
use crate::{Manager, manager, register};

const BLOCKS: usize = 4;
const DAY: Option<Duration> = Some(Duration::from_secs(86_400));
const EXPIRED: Option<Duration> = Some(Duration::ZERO);

#[test]
fn a_lease_holds_its_blocks_until_it_is_released() {
    let manager = manager(BLOCKS);
    let blocks = register(&manager, [1, 2]);
    let ids: Vec<_> = blocks.iter().map(|block| block.block_id()).collect();
    let lease = manager.lease(blocks, "a", DAY).unwrap();
    assert_eq!((lease.owner(), lease.block_ids()), ("a", &ids[..]));
    assert!(lease.remaining().unwrap() <= DAY);
    assert_eq!(manager.available_blocks(), 2);

    // Guards belong to their caller and outlive the lease.
    let guards = lease.to_guards().unwrap();
    assert_eq!(
        guards
            .iter()
            .map(|block| block.block_id())
            .collect::<Vec<_>>(),
        ids
    );
    assert_eq!(lease.release(), Ok(()));
    assert_eq!(manager.available_blocks(), 2);
    drop(guards);
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(manager.expire_leases(), 0);
    manager.audit().unwrap();
}

#[test]
fn a_handle_that_is_dropped_releases_and_one_that_is_detached_does_not() {
    let manager = manager(BLOCKS);
    drop(manager.lease(register(&manager, [1]), "a", None).unwrap());
    assert_eq!(manager.available_blocks(), BLOCKS);

    let id = manager
        .lease(register(&manager, [2]), "a", None)
        .unwrap()
        .detach();
    assert_eq!(manager.available_blocks(), BLOCKS - 1);
    manager.renew_lease(id, DAY).unwrap();
    assert!(manager.holders()[0].remaining.is_some());
    manager.release_lease(id).unwrap();
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(manager.release_lease(id), Err(LeaseError::Expired(id)));
    assert_eq!(manager.renew_lease(id, DAY), Err(LeaseError::Expired(id)));
}

/// Every way to allocate, in a situation where it would otherwise be refused.
#[test]
fn an_allocation_takes_the_blocks_of_leases_that_have_expired() {
    type Allocate = fn(&Manager) -> usize;
    let ways: [Allocate; 5] = [
        |manager| {
            manager
                .allocate_blocks(BLOCKS)
                .map_or(0, |blocks| blocks.len())
        },
        |manager| {
            let blocks = manager.allocate_blocks_with_evictions(BLOCKS);
            blocks.map_or(0, |(_, evicted)| evicted.len())
        },
        |manager| {
            let mut blocks = Vec::new();
            let _ = manager.allocate_into(BLOCKS, &mut blocks);
            blocks.len()
        },
        |manager| {
            let (mut blocks, mut evicted) = (Vec::new(), Vec::new());
            let _ = manager.allocate_into_with_evictions(BLOCKS, &mut blocks, &mut evicted);
            evicted.len()
        },
        |manager| {
            let allocate = || manager.allocate_one();
            std::iter::from_fn(allocate).collect::<Vec<_>>().len()
        },
    ];
    for (way, allocate) in ways.into_iter().enumerate() {
        let manager = manager(BLOCKS);
        let blocks = register(&manager, 0..BLOCKS as u64);
        let lease = manager.lease(blocks, "forgetful", DAY).unwrap();
        assert_eq!(allocate(&manager), 0, "way {way}");
        lease.renew(EXPIRED).unwrap();
        // The client never returns.
        std::mem::forget(lease);
        assert_eq!(allocate(&manager), BLOCKS, "way {way}");
        assert_eq!(manager.expire_leases(), 0);
        manager.audit().unwrap();
    }
}

#[test]
fn an_allocation_ends_no_more_leases_than_it_needs() {
    let manager = manager(BLOCKS);
    for block in register(&manager, 0..BLOCKS as u64) {
        manager
            .lease(vec![block], "gone", EXPIRED)
            .unwrap()
            .detach();
    }
    let first = manager.allocate_blocks(1).expect("a lease has expired");
    let others = manager.allocate_blocks(2).expect("two more have");
    assert_eq!((first.len(), others.len()), (1, 2));
    assert_eq!(manager.expire_leases(), BLOCKS - 3);
}

/// The number of blocks that an allocation or a count releases at once.
const PIECE: usize = 64;

#[test]
fn an_allocation_releases_no_more_of_a_lease_than_it_needs() {
    const POOL: usize = 1_000;
    let manager = manager(POOL);
    let blocks = register(&manager, 0..POOL as u64);
    manager.lease(blocks, "gone", EXPIRED).unwrap().detach();
    let active = || manager.audit().unwrap().active;
    let one = manager.allocate_one().expect("a lease has expired");
    assert_eq!(active(), POOL - PIECE);
    let many = manager.allocate_blocks(300).expect("a lease has expired");
    assert!((POOL - 301 - PIECE..=POOL - 301).contains(&active()));
    assert_eq!(manager.available_blocks(), POOL - 301);
    let rest = manager.allocate_blocks(POOL - 301).expect("so it said");
    assert_eq!(active(), 0);
    assert!(manager.allocate_one().is_none());
    assert_eq!(manager.expire_leases(), 0, "it has ended");
    drop((one, many, rest));
    assert_eq!(manager.available_blocks(), POOL);
}

/// A block that something else holds as well counts as available until its turn comes. The count is
/// exact as soon as the lease has ended, and an allocation gets what there is at any time.
#[test]
fn what_others_hold_as_well_counts_until_its_turn() {
    const POOL: usize = 200;
    let manager = manager(POOL);
    let blocks = register(&manager, 0..POOL as u64);
    let shared = blocks[..150].to_vec();
    manager.lease(blocks, "gone", EXPIRED).unwrap().detach();
    let counts: Vec<_> = (0..4).map(|_| manager.available_blocks()).collect();
    assert!(
        counts.is_sorted_by(|a, b| a >= b) && counts[0] <= POOL,
        "{counts:?}"
    );
    assert_eq!(counts[3], POOL - 150);
    assert_eq!(manager.expire_leases(), 0);
    drop(shared);

    let blocks = manager.match_blocks_scattered(
        &(0..POOL as u64)
            .map(kvbm_lockfree::SequenceHash::root)
            .collect::<Vec<_>>(),
    );
    let blocks: Vec<_> = blocks.into_iter().flatten().collect();
    let _shared = blocks[..150].to_vec();
    manager.lease(blocks, "gone", EXPIRED).unwrap().detach();
    assert!(manager.allocate_blocks(POOL - 150 + 1).is_none());
    let all = manager.allocate_blocks(POOL - 150);
    assert_eq!(all.expect("as many are there").len(), 50);
}

#[test]
fn what_asks_for_the_available_blocks_counts_those_of_expired_leases() {
    let manager = manager(BLOCKS);
    let lease = |manager: &Manager| {
        manager
            .lease(register(manager, [1, 2]), "a", EXPIRED)
            .unwrap()
    };
    let first = lease(&manager);
    assert_eq!(manager.available_blocks(), BLOCKS);
    let second = lease(&manager);
    assert!(manager.holders().is_empty());
    assert_eq!(manager.expire_leases(), 0);
    let third = lease(&manager);
    assert_eq!(manager.expire_leases(), 1);
    let fourth = lease(&manager);
    assert_eq!(manager.unleased_blocks(), 0);
    for lease in [first, second, third, fourth] {
        let id = lease.id();
        assert_eq!(lease.to_guards().unwrap_err(), LeaseError::Expired(id));
        assert_eq!(lease.renew(DAY), Err(LeaseError::Expired(id)));
        assert_eq!(lease.release(), Err(LeaseError::Expired(id)));
    }
}

/// A request for more blocks than the manager has does not end leases.
#[test]
fn an_allocation_of_more_than_all_blocks_expires_nothing() {
    let manager = manager(BLOCKS);
    let _lease = manager
        .lease(register(&manager, [1]), "a", EXPIRED)
        .unwrap();
    assert!(manager.allocate_blocks(BLOCKS + 1).is_none());
    assert_eq!(manager.expire_leases(), 1);
}

#[test]
fn an_empty_lease_is_a_lease() {
    let manager = manager(BLOCKS);
    let lease = manager.lease(Vec::new(), "a", None).unwrap();
    assert!(lease.to_guards().unwrap().is_empty());
    assert_eq!(manager.holders().len(), 1);
    assert_eq!(lease.remaining(), Ok(None));
    lease.release().unwrap();
}

#[test]
fn blocks_of_another_manager_come_back_and_none_is_leased() {
    let (manager, other) = (manager(BLOCKS), manager(BLOCKS));
    let mut blocks = register(&manager, [1, 2]);
    blocks.extend(register(&other, [3]));
    let ids: Vec<_> = blocks.iter().map(|block| block.block_id()).collect();
    let refused = manager.lease(blocks, "a", None).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("block {} belongs to another manager", ids[2])
    );
    let back: Vec<_> = refused
        .blocks
        .iter()
        .map(|block| block.block_id())
        .collect();
    assert_eq!((refused.block_id, back), (ids[2], ids));
    assert!(manager.holders().is_empty() && other.holders().is_empty());

    // Nor does another manager know the id.
    let lease = manager.lease(Vec::new(), "a", None).unwrap();
    let id = lease.id();
    assert_eq!(other.release_lease(id), Err(LeaseError::Expired(id)));
    assert_eq!(lease.release(), Ok(()));
}

#[test]
fn leases_end_with_their_manager() {
    let registry = BlockRegistry::new();
    let manager = BlockManager::<()>::builder()
        .block_count(BLOCKS)
        .registry(registry.clone())
        .build()
        .unwrap();
    let blocks = register(&manager, [1, 2]);
    let hash = blocks[0].sequence_hash();
    let lease = manager.lease(blocks, "a", None).unwrap();
    let guards = lease.to_guards().unwrap();
    drop(manager);
    let id = lease.id();
    assert_eq!(lease.renew(DAY), Err(LeaseError::Expired(id)));
    assert_eq!(lease.to_guards().unwrap_err(), LeaseError::Expired(id));
    // Guards do not expire.
    assert!(registry.is_registered(hash));
    drop(guards);
    assert!(!registry.is_registered(hash));
}

#[test]
fn holders_and_those_nobody_knows() {
    let manager = manager(8);
    let blocks = register(&manager, [1, 2, 3]);
    let shared = vec![blocks[0].clone()];
    let first = manager.lease(blocks, "first", DAY).unwrap();
    let second = manager.lease(shared, "second", None).unwrap();
    let _guard = register(&manager, [4]);
    let _mutable = manager.allocate_blocks(2).unwrap();
    let owners: Vec<_> = manager
        .holders()
        .into_iter()
        .map(|holder| (holder.lease, holder.owner.to_string(), holder.blocks.len()))
        .collect();
    let expected = [
        (first.id(), "first".into(), 3),
        (second.id(), "second".into(), 1),
    ];
    assert_eq!(owners, expected);
    assert_eq!(manager.unleased_blocks(), 3);
    drop(first);
    assert_eq!(manager.unleased_blocks(), 3);
    drop(second);
    assert_eq!(
        (manager.unleased_blocks(), manager.available_blocks()),
        (3, 5)
    );
}

/// An attachment that counts its drops and panics when it is dropped.
struct Bomb(Arc<AtomicUsize>);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        panic!("dropped");
    }
}

/// All attachments panic when their lease ends: by expiry during another client's allocation,
/// by a release, by a drop during unwinding, and with the manager.
#[test]
fn attachments_that_panic_keep_no_block() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let leased = |manager: &Manager, duration| {
        let blocks = register(manager, 0..BLOCKS as u64);
        for block in &blocks {
            block.set_evict_on_reset(true);
            let bomb = Bomb(Arc::clone(&dropped));
            block.registration_handle().attach(bomb).unwrap();
        }
        manager.lease(blocks, "a", duration).unwrap()
    };
    let manager = manager(BLOCKS);
    let lease = leased(&manager, EXPIRED);
    drop(manager.allocate_blocks(BLOCKS).expect("all are available"));
    drop(lease);
    leased(&manager, DAY).release().unwrap();
    assert_eq!(manager.available_blocks(), BLOCKS);
    let lease = leased(&manager, DAY);
    let unwound = thread::scope(|scope| {
        scope
            .spawn(|| {
                let _lease = lease;
                panic!("of the client's own");
            })
            .join()
    });
    assert!(unwound.is_err());
    assert_eq!(manager.available_blocks(), BLOCKS);
    manager.audit().unwrap();
    let _lease = leased(&manager, None);
    drop(manager);
    assert_eq!(dropped.load(Ordering::Relaxed), 4 * BLOCKS);
}

/// Threads make, renew, release, drop, leak and expire leases while they allocate: no block
/// is lost, and none is handed out twice.
#[test]
fn leases_under_threads() {
    const POOL: usize = 64;
    let manager = manager(POOL);
    let seed = seed();
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for part in 0..4 {
            let (manager, barrier) = (&manager, &barrier);
            scope.spawn(move || {
                let mut rng = Rng::of(seed, part);
                let (mut leases, mut ids): (Vec<_>, Vec<LeaseId>) = (Vec::new(), Vec::new());
                barrier.wait();
                for _ in 0..3_000 {
                    match rng.below(10) {
                        0..=3 => {
                            let count = rng.between(1, 8);
                            let Some(blocks) = manager.allocate_blocks(count) else {
                                leases.clear();
                                continue;
                            };
                            let stage = |block: kvbm_lockfree::MutableBlock<()>| {
                                let hash = kvbm_lockfree::SequenceHash::root(rng.below(200) as u64);
                                block.stage(hash, crate::BLOCK_SIZE).expect("of this size")
                            };
                            let blocks = blocks.into_iter().map(stage).collect();
                            let blocks = manager.register_blocks(blocks);
                            let duration = [EXPIRED, DAY][rng.below(2)];
                            leases.push(manager.lease(blocks, "a", duration).unwrap());
                        }
                        4 => drop(rng.pick(&mut leases)),
                        5 => ids.extend(rng.pick(&mut leases).map(|lease| lease.detach())),
                        6 => {
                            if let Some(id) = rng.pick(&mut ids) {
                                // In either case, the lease is gone afterwards.
                                let _ = manager.release_lease(id);
                                assert!(manager.renew_lease(id, DAY).is_err());
                            }
                        }
                        7 => {
                            if let Some(lease) = leases.last() {
                                let _ = lease.renew([EXPIRED, DAY][rng.below(2)]);
                            }
                        }
                        8 => {
                            if let Some(guards) = leases.last().and_then(|l| l.to_guards().ok()) {
                                let ids: Vec<_> = guards.iter().map(|b| b.block_id()).collect();
                                assert_eq!(ids, leases.last().unwrap().block_ids());
                            }
                        }
                        _ => {
                            manager.expire_leases();
                            assert!(manager.unleased_blocks() <= POOL);
                        }
                    }
                }
                leases.into_iter().for_each(std::mem::forget);
            });
        }
    });
    manager.audit().unwrap();
    // Leaked leases still hold their blocks; expired ones do not.
    let mut leased = HashSet::new();
    for holder in manager.holders() {
        leased.extend(holder.blocks);
        manager.release_lease(holder.lease).unwrap();
    }
    assert!(leased.len() <= POOL);
    assert_eq!(
        (manager.available_blocks(), manager.unleased_blocks()),
        (POOL, 0)
    );
    manager.audit().unwrap();
}
