//! Models of whole managers of one to three blocks: pairs of operations that meet on one block
//! or one hash. Every model ends with an audit.

use std::sync::Arc;

use super::{explore, explore_up_to, spawn};
use crate::blocks::{BlockDuplicationPolicy, ImmutableBlock, MutableBlock};
use crate::{BlockManager, BlockRegistry, SequenceHash};

type Manager = BlockManager<()>;

/// The eviction policy of a model's manager.
#[derive(Clone, Copy)]
enum Backend {
    Lru,
    Lineage,
}

fn manager(blocks: usize, backend: Backend, duplication: BlockDuplicationPolicy) -> Arc<Manager> {
    let builder = Manager::builder()
        .block_count(blocks)
        .block_size(1)
        .duplication_policy(duplication)
        .registry(BlockRegistry::new());
    let manager = match backend {
        Backend::Lru => builder.with_lru_backend(),
        Backend::Lineage => builder.with_lineage_backend(),
    };
    Arc::new(manager.build().expect("a valid configuration"))
}

fn pool(blocks: usize, backend: Backend) -> Arc<Manager> {
    manager(blocks, backend, BlockDuplicationPolicy::Allow)
}

fn hash(value: u64) -> SequenceHash {
    SequenceHash::root(value)
}

fn register(manager: &Manager, block: MutableBlock<()>, hash: SequenceHash) -> ImmutableBlock<()> {
    let complete = block.stage(hash, 1).expect("of this size");
    let block = manager.register_block(complete);
    assert_eq!(block.sequence_hash(), hash);
    block
}

/// Registers a block and releases it, so that it is inactive.
fn cache(manager: &Manager, hash: SequenceHash) {
    let block = manager.allocate_one().expect("a block is free");
    drop(register(manager, block, hash));
}

/// Checks the invariants, once all threads are done and `held` blocks are held.
fn assert_whole(manager: &Manager, held: usize) {
    let report = manager.audit().expect("the invariants hold");
    assert_eq!(manager.available_blocks(), manager.total_blocks() - held);
    assert_eq!(report.exclusive + report.active, held);
}

/// The only block is either matched or evicted: exactly one of the two.
fn match_against_eviction(backend: Backend) {
    explore(move || {
        let manager = pool(1, backend);
        cache(&manager, hash(1));
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.match_one(hash(1))
        });
        let allocated = manager.allocate_one();
        let matched = other.join().unwrap();
        assert!(
            allocated.is_some() != matched.is_some(),
            "{allocated:?} and {matched:?}"
        );
        assert_whole(&manager, 1);
    });
}

#[test]
fn match_against_eviction_lru() {
    match_against_eviction(Backend::Lru);
}

#[test]
fn match_against_eviction_lineage() {
    match_against_eviction(Backend::Lineage);
}

/// Two matches of one inactive block, with a block to spare: both get it, and it costs one
/// credit.
fn match_against_match(backend: Backend) {
    explore(move || {
        let manager = pool(2, backend);
        cache(&manager, hash(1));
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.match_one(hash(1)).expect("it is there")
        });
        let own = manager.match_one(hash(1)).expect("it is there");
        let other = other.join().unwrap();
        assert_eq!(own.block_id(), other.block_id());
        assert_whole(&manager, 1);
        drop((own, other));
        assert_whole(&manager, 0);
    });
}

#[test]
fn match_against_match_lru() {
    match_against_match(Backend::Lru);
}

#[test]
fn match_against_match_lineage() {
    match_against_match(Backend::Lineage);
}

/// The last guard is dropped during another match: the block stays where the policy can find
/// it.
fn release_against_match(backend: Backend) {
    explore(move || {
        let manager = pool(1, backend);
        cache(&manager, hash(1));
        let held = manager.match_one(hash(1)).expect("it is there");
        let other = spawn(1, move || drop(held));
        let matched = manager.match_one(hash(1));
        assert!(matched.is_some(), "it was never away");
        other.join().unwrap();
        assert_whole(&manager, 1);
        drop(matched);
        assert_whole(&manager, 0);
        assert!(manager.allocate_one().is_some());
    });
}

#[test]
fn release_against_match_lru() {
    release_against_match(Backend::Lru);
}

#[test]
fn release_against_match_lineage() {
    release_against_match(Backend::Lineage);
}

/// The last guard is dropped while an allocation looks for a victim.
fn release_against_eviction(backend: Backend) {
    explore(move || {
        let manager = pool(2, backend);
        cache(&manager, hash(1));
        cache(&manager, hash(2));
        let held = manager.match_one(hash(1)).expect("it is there");
        let other = spawn(1, move || drop(held));
        let allocated = manager.allocate_one().expect("the other one is inactive");
        other.join().unwrap();
        assert_whole(&manager, 1);
        let second = manager
            .allocate_one()
            .expect("the released one is inactive");
        assert_ne!(allocated.block_id(), second.block_id());
        assert_whole(&manager, 2);
    });
}

#[test]
fn release_against_eviction_lru() {
    release_against_eviction(Backend::Lru);
}

#[test]
fn release_against_eviction_lineage() {
    release_against_eviction(Backend::Lineage);
}

/// Two blocks are released together while one of them is matched.
fn batch_release_against_match(backend: Backend) {
    explore(move || {
        let manager = pool(2, backend);
        cache(&manager, hash(1));
        cache(&manager, hash(2));
        let mut held = manager.match_blocks(&[hash(1), hash(2)]);
        assert_eq!(held.len(), 2);
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.release_from(&mut held)
        });
        let matched = manager.match_one(hash(1));
        other.join().unwrap();
        assert_whole(&manager, usize::from(matched.is_some()));
        drop(matched);
        assert_whole(&manager, 0);
        assert_eq!(
            manager.allocate_blocks(2).map(|blocks| blocks.len()),
            Some(2)
        );
    });
}

#[test]
fn batch_release_against_match_lru() {
    batch_release_against_match(Backend::Lru);
}

#[test]
fn batch_release_against_match_lineage() {
    batch_release_against_match(Backend::Lineage);
}

/// A match reserves two inactive blocks together while an allocation wants one: the allocation
/// is refused only if the match gets everything.
fn batch_match_against_eviction(backend: Backend) {
    explore(move || {
        let manager = pool(2, backend);
        cache(&manager, hash(1));
        cache(&manager, hash(2));
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            // The second of equal hashes ends a look-ahead.
            move || manager.match_blocks(&[hash(1), hash(1), hash(2)])
        });
        let allocated = manager.allocate_one();
        let matched = other.join().unwrap();
        assert!(
            allocated.is_some() || matched.len() == 3,
            "refused, with {matched:?}"
        );
        let different = [0, 1, 1, 2][matched.len()];
        assert_whole(&manager, different + usize::from(allocated.is_some()));
    });
}

#[test]
fn batch_match_against_eviction_lru() {
    batch_match_against_eviction(Backend::Lru);
}

#[test]
fn batch_match_against_eviction_lineage() {
    batch_match_against_eviction(Backend::Lineage);
}

/// Two blocks are freed together while one is allocated.
#[test]
fn batch_free_against_allocation() {
    explore(|| {
        let manager = pool(2, Backend::Lru);
        let mut blocks = manager.allocate_blocks(2).expect("all are free");
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.free_from(&mut blocks)
        });
        let allocated = manager.allocate_one();
        other.join().unwrap();
        assert_whole(&manager, usize::from(allocated.is_some()));
        drop(allocated);
        assert_eq!(
            manager.allocate_blocks(2).map(|blocks| blocks.len()),
            Some(2)
        );
    });
}

/// Two guards of one block are dropped at the same time.
#[test]
fn release_against_release() {
    explore(|| {
        let manager = pool(1, Backend::Lru);
        // Never released before, so it has not been queued yet.
        let block = manager.allocate_one().expect("a block is free");
        let one = register(&manager, block, hash(1));
        let two = one.clone();
        let other = spawn(1, move || drop(one));
        drop(two);
        other.join().unwrap();
        assert_whole(&manager, 0);
        assert!(manager.allocate_one().is_some());
    });
}

/// Two blocks are registered under one hash.
fn register_against_register(duplication: BlockDuplicationPolicy) {
    explore(move || {
        let manager = manager(2, Backend::Lru, duplication);
        let mut blocks = manager.allocate_blocks(2).expect("both are free");
        let block = blocks.pop().expect("two");
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || register(&manager, block, hash(1))
        });
        let own = register(&manager, blocks.pop().expect("two"), hash(1));
        let other = other.join().unwrap();
        let held = match duplication {
            BlockDuplicationPolicy::Allow => 2,
            BlockDuplicationPolicy::Reject => 1,
        };
        assert_eq!(own.block_id() == other.block_id(), held == 1);
        assert_whole(&manager, held);
        drop((own, other));
        assert_whole(&manager, 0);
    });
}

#[test]
fn register_against_register_allow() {
    register_against_register(BlockDuplicationPolicy::Allow);
}

#[test]
fn register_against_register_reject() {
    register_against_register(BlockDuplicationPolicy::Reject);
}

/// A hash is registered anew while its inactive block is evicted, with no block to spare.
fn register_against_eviction(duplication: BlockDuplicationPolicy) {
    explore(move || {
        let manager = manager(2, Backend::Lru, duplication);
        cache(&manager, hash(1));
        let block = manager.allocate_one().expect("one is free");
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || register(&manager, block, hash(1))
        });
        let allocated = manager.allocate_one();
        let registered = other.join().unwrap();
        let again = manager.match_one(hash(1)).expect("it is registered");
        let duplicate = again.block_id() != registered.block_id();
        drop(again);
        assert!(!duplicate || allocated.is_none());
        let held = 1 + usize::from(duplicate) + usize::from(allocated.is_some());
        assert_whole(&manager, held);
        drop((registered, allocated));
        assert_whole(&manager, 0);
    });
}

#[test]
fn register_against_eviction_allow() {
    register_against_eviction(BlockDuplicationPolicy::Allow);
}

#[test]
fn register_against_eviction_reject() {
    register_against_eviction(BlockDuplicationPolicy::Reject);
}

/// A weak guard is upgraded while its block is evicted and registered under another hash: the
/// upgrade never yields the new content.
#[test]
fn upgrade_against_reuse() {
    explore(|| {
        let manager = pool(1, Backend::Lru);
        let block = manager.allocate_one().expect("a block is free");
        let weak = register(&manager, block, hash(1)).downgrade();
        let other = spawn(1, move || {
            let upgraded = weak.upgrade();
            if let Some(block) = &upgraded {
                assert_eq!(block.sequence_hash(), hash(1));
            }
            (upgraded.is_some(), weak)
        });
        let reused = manager
            .allocate_one()
            .map(|block| register(&manager, block, hash(2)));
        let (upgraded, weak) = other.join().unwrap();
        drop(weak);
        assert!(upgraded || reused.is_some());
        assert_whole(&manager, usize::from(reused.is_some()));
        let registered = manager.block_registry().registered_count();
        assert_eq!(registered, 1);
    });
}

/// Of two allocations that each need more than half, one gets its blocks.
#[test]
fn allocation_against_allocation() {
    explore(|| {
        let manager = pool(3, Backend::Lru);
        cache(&manager, hash(1));
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.allocate_blocks(2)
        });
        let own = manager.allocate_blocks(2);
        let other = other.join().unwrap();
        assert!(own.is_some() != other.is_some());
        assert_whole(&manager, 2);
    });
}

/// A child is evicted before its parent, whatever another thread drains, unless that thread holds the
/// child's order at that moment.
#[test]
fn leaves_first() {
    explore(|| {
        let manager = pool(3, Backend::Lineage);
        let parent = hash(1);
        let child = parent.extend(2);
        let block = manager.allocate_one().expect("three are free");
        let held = register(&manager, block, hash(9));
        // Queued on the release log of another shard than the parent.
        let released = spawn(1, {
            let manager = Arc::clone(&manager);
            move || cache(&manager, child)
        });
        released.join().unwrap();
        cache(&manager, parent);
        // Of the parent's shard.
        let other = spawn(2, move || drop(held));
        let (block, evicted) = manager
            .allocate_blocks_with_evictions(1)
            .expect("two are inactive");
        assert_ne!(evicted, [parent], "its child is inactive");
        other.join().unwrap();
        drop(block);
        assert_whole(&manager, 0);
    });
}

/// The manager and a guard are dropped at the same time: the later one frees the store, once.
#[test]
fn the_manager_is_dropped() {
    explore(|| {
        let manager = pool(1, Backend::Lru);
        let block = manager.allocate_one().expect("a block is free");
        let registry = manager.block_registry().clone();
        let block = register(&manager, block, hash(1));
        let other = spawn(1, move || drop(block));
        drop(manager);
        other.join().unwrap();
        assert!(!registry.is_registered(hash(1)));
    });
}

/// The last handle to a hash is dropped, and its thread checks whether a block has the hash,
/// while another thread evicts a block, stages it under the hash, and drops it: a hash that
/// was never registered keeps no entry.
#[test]
fn a_presence_check_meets_a_block_that_is_only_staged() {
    explore(|| {
        let manager = pool(1, Backend::Lru);
        let core = manager.block_registry().core();
        let bucket = |content| core.key(hash(content)).keyed & 1;
        cache(&manager, hash(1));
        let other = (2..).find(|&content| bucket(content) == bucket(1));
        let other = hash(other.expect("every other one"));
        let handle = manager.block_registry().register_sequence_hash(other);
        let dropper = spawn(1, move || drop(handle));
        let block = manager.allocate_one().expect("one is inactive");
        drop(block.stage(other, 1).expect("of this size"));
        dropper.join().unwrap();
        assert!(core.audit().is_empty());
        assert!(!manager.block_registry().is_registered(other));
        assert_whole(&manager, 0);
    });
}

/// The only block is matched before its content is cleared, or not at all.
fn clear_against_match(backend: Backend) {
    explore(move || {
        let manager = pool(1, backend);
        cache(&manager, hash(1));
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.match_blocks(&[hash(1)])
        });
        manager.clear_inactive_pool();
        let matched = other.join().unwrap();
        let again = manager.match_blocks(&[hash(1)]);
        // It is found again only if the other thread held it during the clearing.
        assert!(again.is_empty() || !matched.is_empty());
        drop((matched, again));
        assert_whole(&manager, 0);
        manager.clear_inactive_pool();
        assert!(manager.match_blocks(&[hash(1)]).is_empty());
        assert!(!manager.block_registry().is_registered(hash(1)));
        let (_block, evicted) = manager
            .allocate_blocks_with_evictions(1)
            .expect("a cleared block is available");
        assert!(evicted.is_empty());
    });
}

#[test]
fn clear_against_match_lru() {
    clear_against_match(Backend::Lru);
}

#[test]
fn clear_against_match_lineage() {
    clear_against_match(Backend::Lineage);
}

/// An allocation wants a cleared block, which is also in the way of a registration of its
/// hash: the allocation gets it, and the registration goes on.
#[test]
fn a_cleared_block_is_taken_once() {
    explore(|| {
        let manager = pool(2, Backend::Lineage);
        let block = manager.allocate_one().expect("a block is free");
        cache(&manager, hash(1));
        manager.clear_inactive_pool();
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.allocate_blocks_with_evictions(1)
        });
        let block = register(&manager, block, hash(1));
        let (taken, evicted) = other.join().unwrap().expect("one block is not held");
        assert!(manager.block_registry().is_registered(hash(1)));
        assert_whole(&manager, 2);
        assert!(evicted.is_empty());
        assert_ne!(taken[0].block_id(), block.block_id());
        drop((block, taken));
        assert_whole(&manager, 0);
    });
}

/// Two allocations look for cleared blocks, and one of their threads clears again, which
/// visits all blocks itself.
#[test]
fn two_allocations_and_a_clearing_that_visits_all_blocks() {
    // Each allocation looks at the orders of two shards: more would take too long.
    explore_up_to(1, || {
        let manager = pool(2, Backend::Lru);
        cache(&manager, hash(1));
        cache(&manager, hash(2));
        manager.clear_inactive_pool();
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.allocate_one()
        });
        let one = manager.allocate_one().expect("there are two");
        manager.clear_inactive_pool();
        let two = other.join().unwrap().expect("clearing takes no block");
        assert_ne!(two.block_id(), one.block_id());
        assert_whole(&manager, 2);
    });
}

/// A hash is registered anew although it has an inactive block whose credit an allocation has
/// reserved: the allocation takes the block, with or without its content.
#[test]
fn an_inactive_block_without_credit_is_in_the_way() {
    explore(|| {
        let manager = pool(2, Backend::Lineage);
        let block = manager.allocate_one().expect("a block is free");
        cache(&manager, hash(1));
        let other = spawn(1, {
            let manager = Arc::clone(&manager);
            move || manager.allocate_one()
        });
        let block = register(&manager, block, hash(1));
        let taken = other.join().unwrap();
        assert!(manager.block_registry().is_registered(hash(1)));
        assert_eq!(manager.match_blocks(&[hash(1)]).len(), 1);
        // Either the allocation has got a block, or the registration holds both.
        assert_whole(&manager, 2);
        drop((block, taken));
        assert_whole(&manager, 0);
    });
}

/// Two pins are taken off at the same time. Whatever is evicted, registered, released and
/// cleared meanwhile, a cleared block stays cleared.
#[test]
fn two_unpins_and_a_clearing_of_the_next_tenancy() {
    explore(|| {
        let manager = pool(1, Backend::Lru);
        let block = manager.allocate_one().expect("a block is free");
        let one = register(&manager, block, hash(1));
        let two = one.clone();
        let other = spawn(1, move || drop(one));
        drop(two);
        let is_reused = manager.allocate_one().map(|block| {
            drop(register(&manager, block, hash(2)));
            manager.clear_inactive_pool();
            assert!(manager.match_one(hash(2)).is_none());
        });
        other.join().unwrap();
        if is_reused.is_some() {
            assert!(manager.match_one(hash(2)).is_none(), "it was cleared");
        }
        assert_whole(&manager, 0);
    });
}
