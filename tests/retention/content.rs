//! A directive belongs to one content, and never applies to a later one in the same block.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kvbm_lockfree::eviction::{BuiltInPolicy, EvictionPolicy, InactiveBlock};

use super::*;

/// The number of tenancies after which the low bits of the generation wrap around.
const ROUND: u64 = 1 << 16;

/// Makes the only block of a pool hold each of these contents in turn.
fn pass(manager: &Manager, contents: std::ops::Range<u64>) {
    for content in contents {
        drop(register(manager, hash(content)));
    }
}

#[test]
fn the_lowest_priority_holds_in_the_first_tenancy() {
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(3, |builder| builder.with_policy(policy));
        let lowest = Retention::new(Priority::LOWEST);
        cache(&manager, &[hash(0), hash(1), hash(2)]);
        assert_eq!(manager.set_retention(&[hash(2)], .., lowest), 1);
        let block = manager.match_one(hash(2)).unwrap();
        assert_eq!(block.retention(), lowest, "{policy}");
        drop(block);
        assert_eq!(evict(&manager, 1).1, [hash(2)], "{policy}");
    }
}

#[test]
fn the_lowest_priority_holds_in_every_tenancy() {
    let manager = manager(1, Builder::with_lru_backend);
    let lowest = Retention::new(Priority::LOWEST);
    for round in 0..2 {
        pass(&manager, 2 + round * ROUND..2 + (round + 1) * ROUND - 1);
        for content in 0..3 {
            let block = register(&manager, hash(content));
            assert_eq!(block.retention(), Retention::default());
            block.set_retention(lowest);
            assert_eq!(block.retention(), lowest);
        }
    }
}

/// The policy never lists the block, because it is freed as soon as it is released.
#[test]
fn a_directive_ends_with_its_content() {
    for given in [
        priority(100),
        priority(0),
        priority(60).for_duration(Duration::from_secs(3_600)),
    ] {
        let builder = builder(1).with_lru_backend();
        let manager = builder.with_default_reset_on_release(true).build().unwrap();
        register(&manager, hash(0)).set_retention(given);
        for content in 1..2 * ROUND + 3 {
            let block = register(&manager, hash(content));
            assert_eq!(block.retention(), Retention::default(), "content {content}");
        }
    }
}

/// The next victims get the first directives, in an order from which victims have been taken already.
#[test]
fn the_first_directives_are_for_the_next_victims() {
    let manager = manager(200, Builder::with_lru_backend);
    let hashes: Vec<_> = (0..200).map(hash).collect();
    cache(&manager, &hashes);
    let (_first, evicted) = evict(&manager, 1);
    assert_eq!(evicted, hashes[..1]);
    assert_eq!(manager.set_retention(&hashes[1..25], .., priority(100)), 24);
    let (_rest, evicted) = evict(&manager, 199);
    assert_eq!(evicted[..175], hashes[25..]);
    assert_eq!(evicted[175..], hashes[1..25]);
}

/// A policy that counts how often it is told of a priority, and keeps the last one.
struct Told {
    order: Vec<usize>,
    told: Arc<AtomicUsize>,
    last: Arc<Mutex<Option<Priority>>>,
}

impl EvictionPolicy for Told {
    fn insert(&mut self, block: InactiveBlock) {
        self.order.push(block.block_id);
    }

    fn remove(&mut self, block_id: usize) {
        self.order.retain(|&other| other != block_id);
    }

    fn pop(&mut self) -> Option<usize> {
        (!self.order.is_empty()).then(|| self.order.remove(0))
    }

    fn set_priority(&mut self, _block_id: usize, priority: Priority) {
        self.told.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap() = Some(priority);
    }
}

#[test]
fn a_priority_that_is_over_is_not_told_of_again() {
    let (told, last) = (Arc::new(AtomicUsize::new(0)), Arc::default());
    let policy = Told {
        order: Vec::new(),
        told: Arc::clone(&told),
        last: Arc::clone(&last),
    };
    let manager = builder(2).with_eviction_policy(policy).build().unwrap();
    cache(&manager, &[hash(0)]);
    let short = priority(80).for_duration(Duration::from_millis(20));
    assert_eq!(manager.set_retention(&[hash(0)], .., short), 1);
    // Applies everything that is queued and evicts nothing, since a block is free.
    let apply = || drop(manager.reset_inactive_pool());
    // The policy learns of the release and of the priority before it looks for victims.
    let keep = register(&manager, hash(1));
    let match_and_release = || drop(manager.match_one(hash(0)).unwrap());
    match_and_release();
    std::thread::sleep(Duration::from_millis(40));
    match_and_release();
    let before = told.load(Ordering::Relaxed);
    for _ in 0..100 {
        match_and_release();
        match_and_release();
    }
    assert_eq!(told.load(Ordering::Relaxed), before);
    assert_eq!(
        manager.match_one(hash(0)).unwrap().retention(),
        Retention::default()
    );
    drop(keep);
    apply();
}
