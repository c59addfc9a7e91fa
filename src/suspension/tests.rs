//! Plays every scene in several settings, and some longer scenes.

use std::sync::Arc;

use crate::blocks::BlockDuplicationPolicy::{Allow, Reject};
use crate::eviction::BuiltInPolicy;
use crate::{AuditError, SequenceHash};

use super::Step;
use super::actor::{Actor, Home, Say};
use super::others::{Known, do_everything, do_half};
use super::scene::{CHAIN, Plan, Setting, Suspended, World};
use super::table::{HeldUp, SCENES, Scene, register_promised};

/// The number of blocks in a pool with one shard, whose freelist has summaries.
const FEW: usize = 96;
/// The number of blocks in a pool with as many shards as there are cores.
const MANY: usize = 256;

fn play(scene: &'static Scene, setting: Setting) {
    let world = Arc::new(World::new(setting));
    let (suspended, mut scenery) = Suspended::new(&world, scene.plan);
    let at = suspended.index;
    let on = |home, act: fn(&World, Known, Say), known| {
        let world = Arc::clone(&world);
        Actor::new(home, at, move |say| act(&world, known, say))
    };
    let aside = std::mem::replace(&mut scenery.aside, Box::new(()));
    Actor::new(Home::Same, at, move |_| drop(aside)).watch();

    let holds_up = |what| scene.held_up.iter().any(|&(held_up, _)| held_up == what);
    let mut known = Known {
        available: setting.blocks - 1 - scenery.takes,
        subject: scenery.subject.map(|(hash, _)| hash),
        is_matched: scenery.subject.map(|(_, is_matched)| is_matched),
    };
    if holds_up(HeldUp::Match) {
        assert_eq!(known.is_matched, Some(false));
    }
    on(Home::Same, do_everything, known).watch();
    known.is_matched = None;
    on(Home::Other, do_everything, known).watch();
    let both = [Home::Same, Home::Other].map(|home| on(home, do_half, known));
    both.into_iter().for_each(Actor::watch);
    assert_eq!(world.manager.available_blocks(), known.available);
    if holds_up(HeldUp::Audit) {
        assert_eq!(world.manager.audit(), Err(AuditError::Busy));
    }
    if holds_up(HeldUp::Memory) {
        assert!(world.registry.pending_garbage() > 0);
    }

    suspended.finish();
    world.take_besides().into_iter().for_each(Suspended::finish);
    let world = Arc::into_inner(world).expect("all other threads are gone");
    world.close();
}

fn named(name: &str) -> BuiltInPolicy {
    name.parse().expect("it is built in")
}

fn play_all(policy: BuiltInPolicy) {
    for (blocks, duplicates) in [(FEW, Reject), (MANY, Allow), (FEW, Allow), (MANY, Reject)] {
        let setting = Setting {
            policy,
            blocks,
            duplicates,
        };
        for scene in SCENES.iter().filter(|scene| (scene.is_in)(&setting)) {
            let played = std::panic::catch_unwind(|| play(scene, setting));
            if let Err(panic) = played {
                eprintln!("at {:?} {}, {setting:?}", scene.step, scene.way);
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// One of three tests that share the orders, so that they can run side by side.
fn play_every_third(first: usize) {
    for &policy in BuiltInPolicy::ALL.iter().skip(first).step_by(3) {
        play_all(policy);
    }
}

#[test]
fn every_scene_in_the_first_orders() {
    play_every_third(0);
}

#[test]
fn every_scene_in_the_second_orders() {
    play_every_third(1);
}

#[test]
fn every_scene_in_the_third_orders() {
    play_every_third(2);
}

#[test]
fn every_step_has_a_scene() {
    let mut has_scene = [false; Step::COUNT];
    for scene in SCENES {
        has_scene[scene.step as usize] = true;
    }
    assert_eq!(has_scene.iter().position(|&has| !has), None);
}

/// An allocation that has reserved every available block also gets the one whose hash a suspended
/// thread is about to register.
#[test]
fn an_allocation_does_not_wait_for_a_registration() {
    let world = Arc::new(World::new(Setting {
        policy: named("lru"),
        blocks: FEW,
        duplicates: Allow,
    }));
    let (registers, scenery) = Suspended::new(&world, move |world| {
        register_promised(world, [Step::Discarded].as_slice())
    });
    let allocates = world.take_besides().pop().unwrap();
    allocates.finish();
    registers.finish();
    drop(scenery);
    Arc::into_inner(world)
        .expect("all threads are gone")
        .close();
}

/// A hash whose block was cleared is registered while an allocation has reserved every available
/// block. The old registration ends, and its attachments are dropped.
#[test]
fn a_cleared_hash_begins_anew_without_a_credit() {
    let world = Arc::new(World::new(Setting {
        policy: named("lru"),
        blocks: FEW,
        duplicates: Allow,
    }));
    let hash = *world.fill().last().expect("a block is inactive");
    let block = world.complete(hash);
    let attached = Arc::new(());
    let handle = world.registry.register_sequence_hash(hash);
    handle.attach(Arc::clone(&attached)).expect("the first");
    drop(handle);
    world.manager.clear_inactive_pool();
    let promised = world.manager.available_blocks();
    let (allocates, scenery) = Suspended::new(&world, move |world| {
        let world = Arc::clone(world);
        Plan::new([Step::CreditsReserved].as_slice(), move || {
            world.take(promised)
        })
    });
    let registered = world.manager.register_block(block);
    assert_eq!(Arc::strong_count(&attached), 1, "of the old registration");
    assert_eq!(world.find(hash).block_id(), registered.block_id());
    let handle = registered.registration_handle();
    handle
        .get::<Arc<()>>()
        .with_multiple(|all| assert!(all.is_empty()));
    drop((registered, handle));
    allocates.finish();
    drop(scenery);
    Arc::into_inner(world)
        .expect("all threads are gone")
        .close();
}

/// A block is discarded while a suspended thread has taken it off the release log but not added it
/// to the order. The block stays in reach.
#[test]
fn a_block_is_discarded_while_its_release_is_applied() {
    for policy in ["lru", "lineage-fifo"].map(named) {
        let world = Arc::new(World::new(Setting {
            policy,
            blocks: FEW,
            duplicates: Reject,
        }));
        let hash = *world.fill().last().expect("a block is inactive");
        let block = world.complete(hash);
        // The only queued release.
        drop(world.find(hash));
        let most = world.manager.available_blocks() - CHAIN;
        let (allocates, scenery) = Suspended::new(&world, move |world| {
            let world = Arc::clone(world);
            Plan::new([Step::QueuedTaken].as_slice(), move || world.take(most))
        });
        world.manager.clear_inactive_pool();
        let registered = world.manager.register_block(block);
        assert_eq!(registered.sequence_hash(), hash);
        drop(registered);
        allocates.finish();
        drop(scenery);
        world.manager.audit().expect("every block is in reach");
        Arc::into_inner(world)
            .expect("all threads are gone")
            .close();
    }
}

/// Registers a block, and returns its hash. The block is inactive.
fn inactive(world: &World) -> SequenceHash {
    let hash = world.hash();
    drop(world.register(hash));
    hash
}

fn few(policy: &str) -> Arc<World> {
    Arc::new(World::new(Setting {
        policy: named(policy),
        blocks: FEW,
        duplicates: Allow,
    }))
}

/// A thread that sees a block inactive, and then, after a match and a clearing, the eras, must not
/// take it for cleared: the match came first.
#[test]
fn a_block_is_matched_before_a_clearing_while_it_is_matched() {
    let world = few("lru");
    let hash = inactive(&world);
    let (send, receive) = std::sync::mpsc::channel();
    let (matches, scenery) = Suspended::new(&world, move |world| {
        let world = Arc::clone(world);
        Plan::new(&[Step::EraUnread], move || {
            let found = world.manager.match_blocks_scattered(&[hash]);
            send.send(found[0].is_some()).unwrap();
        })
    });
    let guard = world.find(hash);
    world.manager.clear_inactive_pool();
    matches.finish();
    assert!(receive.recv().unwrap(), "it was registered throughout");
    drop((guard, scenery));
    Arc::into_inner(world).unwrap().close();
}

#[test]
fn a_block_is_matched_before_a_clearing_while_its_last_handle_is_dropped() {
    let world = few("lru");
    let hash = world.hash();
    let block = world.register(hash);
    let handle = block.registration_handle();
    let attached = Arc::new(());
    handle.attach(Arc::clone(&attached)).expect("the first");
    drop(block);
    let (drops, scenery) = Suspended::new(&world, move |_| {
        Plan::new(&[Step::EraUnread], move || drop(handle))
    });
    let guard = world.find(hash);
    world.manager.clear_inactive_pool();
    drops.finish();
    assert_eq!(Arc::strong_count(&attached), 2, "the hash is registered");
    drop((guard, scenery));
    Arc::into_inner(world).unwrap().close();
}
