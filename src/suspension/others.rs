//! The operations of threads that are not suspended, and their expected results.

use std::collections::HashSet;
use std::sync::Arc;

use crate::{BlockManager, SequenceHash};

use super::actor::Say;
use super::scene::{Gpu, World};

/// A second tier.
#[derive(Clone)]
struct Host;

/// What is known about the world while a thread is suspended in it.
#[derive(Clone, Copy)]
pub(super) struct Known {
    /// Blocks that are neither held nor reserved.
    pub(super) available: usize,
    /// The hash that the suspended thread is working on.
    pub(super) subject: Option<SequenceHash>,
    /// Whether a match finds it, if that is known.
    pub(super) is_matched: Option<bool>,
}

/// Performs every operation. Only suspended threads may use the world at the same time.
pub(super) fn do_everything(world: &World, known: Known, say: Say) {
    look(world, known, say);
    match_active(world, say);
    match_subject(world, known, say);
    register(world, known, say);
    allocate(world, known, say);
    evict_and_reset(world, known, say);
    use_registry(world, known, say);
    build_another(world, say);
    refill(world, known, say);
    look(world, known, say);
}

fn look(world: &World, known: Known, say: Say) {
    let manager = &world.manager;
    say("available_blocks");
    assert_eq!(manager.available_blocks(), known.available);
    say("metrics");
    let metrics = manager.metrics().snapshot();
    assert!(metrics.allocations >= metrics.evictions);
    assert!(!format!("{manager:?}").is_empty());
}

fn match_active(world: &World, say: Say) {
    let (manager, active) = (&world.manager, &world.active);
    let (hash, absent) = (active.sequence_hash(), world.hash());
    say("match an active block");
    let block = world.find(hash);
    assert_eq!(block.block_id(), active.block_id());
    assert_eq!(manager.match_blocks(&[hash, absent]).len(), 1);
    assert!(manager.match_blocks_scattered(&[absent, hash])[1].is_some());
    assert_eq!(manager.scan_matches(&[absent, hash], true).len(), 1);
    say("clone and drop");
    drop((block.clone(), block.pin(), block));
    say("downgrade and upgrade");
    let weak = active.downgrade();
    assert_eq!(
        weak.clone().upgrade().unwrap().block_id(),
        active.block_id()
    );
    drop(weak);
    say("check_presence");
    let present = world.registry.check_presence::<Gpu>(&[hash, absent]);
    assert_eq!(present, [(hash, true), (absent, false)]);
}

fn match_subject(world: &World, known: Known, say: Say) {
    let (Some(subject), Some(is_matched)) = (known.subject, known.is_matched) else {
        return;
    };
    say("ask for the subject");
    let present = world.registry.check_presence::<Gpu>(&[subject]);
    assert_eq!(present, [(subject, is_matched)]);
    say("match the subject");
    let block = world.manager.match_one(subject);
    assert_eq!(block.is_some(), is_matched, "a match of the subject");
}

fn register(world: &World, known: Known, say: Say) {
    let (manager, allows) = (&world.manager, world.setting.allows_duplicates());
    say("stage and reset");
    drop(world.complete(world.hash()).reset());

    say("register a new hash");
    let hash = world.hash();
    let block = world.register(hash);
    let weak = block.downgrade();
    assert_eq!(world.find(hash).block_id(), block.block_id());
    say("drop the last guard");
    let id = block.block_id();
    drop(block);
    say("match an inactive block");
    assert_eq!(world.find(hash).block_id(), id);
    say("upgrade to an inactive block");
    assert_eq!(weak.upgrade().unwrap().block_id(), id);
    drop(weak);

    say("register beside an inactive block");
    let block = world.register(hash);
    assert_eq!(block.block_id() != id, allows);
    say("drop a duplicate");
    drop(block);
    say("register beside an active block");
    let (active, hash) = (world.active.block_id(), world.active.sequence_hash());
    let block = world.register(hash);
    assert_eq!(block.block_id() != active, allows);
    let weak = block.downgrade();
    assert_eq!(weak.upgrade().unwrap().block_id(), block.block_id());
    drop((block, weak));

    if let Some(subject) = known.subject {
        say("register the subject");
        let block = world.register(subject);
        assert_eq!(block.sequence_hash(), subject);
        assert_eq!(world.find(subject).sequence_hash(), subject);
        let present = world.registry.check_presence::<Gpu>(&[subject]);
        assert_eq!(present, [(subject, true)]);
        say("drop the subject");
        drop(block);
    }
    assert_eq!(manager.available_blocks(), known.available);
}

fn allocate(world: &World, known: Known, say: Say) {
    let (manager, all) = (&world.manager, known.available);
    say("allocate one");
    drop(world.take(1));
    say("allocate half");
    drop(world.take(all / 2));
    say("allocate too many");
    assert!(manager.allocate_blocks(all + 1).is_none());
    say("allocate all");
    let mut blocks = world.take(all);
    let ids: HashSet<_> = blocks.iter().map(|block| block.block_id()).collect();
    assert_eq!(ids.len(), all, "every block is another one");
    assert!(!ids.contains(&world.active.block_id()));
    say("allocate from nothing");
    assert_eq!(manager.available_blocks(), 0);
    assert!(manager.allocate_one().is_none());
    say("match when nothing is available");
    drop(world.find(world.active.sequence_hash()));
    say("drop half");
    blocks.truncate(all / 2);
    assert_eq!(manager.available_blocks(), all - all / 2);
    say("allocate the other half");
    blocks.extend(world.take(all - all / 2));
    assert_eq!(blocks.len(), all);
    say("drop all");
    drop(blocks);
}

fn evict_and_reset(world: &World, known: Known, say: Say) {
    let manager = &world.manager;
    say("register all");
    let hashes = world.fill();
    assert_eq!(hashes.len(), known.available);
    say("match all");
    let blocks = manager.match_blocks(&hashes);
    assert_eq!(blocks.len(), hashes.len());
    say("drop all matched");
    drop(blocks);
    say("evict one");
    drop(world.take(1));
    say("evict several");
    drop(world.take(known.available / 2));
    say("reset_inactive_pool");
    assert!(manager.reset_inactive_pool().is_err(), "a block is active");
    let found = manager.match_blocks_scattered(&hashes);
    assert!(found.iter().all(Option::is_none), "all were reset");
    assert_eq!(manager.available_blocks(), known.available);
}

fn use_registry(world: &World, known: Known, say: Say) {
    let registry = &world.registry;
    say("register hashes");
    for hash in world.hashes(40) {
        let handle = registry.register_sequence_hash(hash);
        let attached = Arc::new(());
        handle.attach_unique(Arc::clone(&attached)).unwrap();
        assert!(registry.is_registered(hash) && !handle.has_block::<Gpu>());
        drop(handle.clone());
        drop(handle);
        assert!(!registry.is_registered(hash));
        assert!(registry.match_sequence_hash(hash, true).is_none());
        assert_eq!(Arc::strong_count(&attached), 1, "the attachment is gone");
    }
    say("a handle of a block");
    let handle = world.active.registration_handle();
    assert!(handle.has_block::<Gpu>());
    drop(handle);
    if let Some(subject) = known.subject {
        say("a handle of the subject");
        let handle = registry.register_sequence_hash(subject);
        assert!(registry.is_registered(subject));
        handle.touch();
        drop(handle);
    }
    assert!(registry.registered_count() > 0);
}

fn build_another(world: &World, say: Say) {
    say("another manager");
    let other = BlockManager::<Host>::builder()
        .block_count(4)
        .block_size(16)
        .registry(world.registry.clone())
        .build()
        .unwrap();
    let hash = world.active.sequence_hash();
    let block = other.allocate_one().unwrap().stage(hash, 16).unwrap();
    let block = other.register_block(block);
    assert!(world.registry.check_presence::<Host>(&[hash])[0].1);
    drop((other, block));
}

/// Leaves the world full of inactive blocks.
fn refill(world: &World, known: Known, say: Say) {
    say("register all again");
    assert_eq!(world.fill().len(), known.available);
}

/// Allocates, registers and matches a quarter of the available blocks, several times. Another thread
/// may do the same concurrently.
pub(super) fn do_half(world: &World, known: Known, say: Say) {
    let share = known.available / 4;
    for _ in 0..20 {
        say("allocate a share");
        let blocks = world.take(share);
        let hashes = world.hashes(share);
        say("register a share");
        let blocks = blocks.into_iter().zip(&hashes);
        let blocks = blocks.map(|(block, &hash)| block.stage(hash, 16).unwrap());
        drop(world.manager.register_blocks(blocks.collect()));
        say("match a share");
        drop(world.manager.match_blocks(&hashes));
        say("a handle");
        drop(world.registry.register_sequence_hash(hashes[0]));
        match_active(world, say);
    }
}
