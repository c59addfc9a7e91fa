//! Every scene under several settings, and the one allocation that waits.

use std::sync::Arc;

use crate::AuditError;
use crate::blocks::BlockDuplicationPolicy::{Allow, Reject};
use crate::policy::{LeafOrder, PolicyKind};

use super::Step;
use super::actor::{Actor, Home, Say};
use super::others::{Known, do_everything, do_half};
use super::scene::{Setting, Suspended, World};
use super::table::{HeldUp, SCENES, Scene, register_promised};

/// Blocks of one shard, whose freelist has summaries.
const FEW: usize = 96;
/// Blocks of as many shards as there are cores.
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

fn play_all(policy: PolicyKind) {
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

#[test]
fn least_recently_released() {
    play_all(PolicyKind::Lru);
}

#[test]
fn by_frequency() {
    play_all(PolicyKind::MultiLru);
}

#[test]
fn by_lineage() {
    play_all(PolicyKind::Lineage(LeafOrder::Tick));
}

#[test]
fn by_worth() {
    play_all(PolicyKind::Lrfu { half_life: None });
}

#[test]
fn by_frequency_behind_a_window() {
    play_all(PolicyKind::TinyLfu { window: None });
}

#[test]
fn every_step_has_a_scene() {
    let mut has_scene = [false; Step::COUNT];
    for scene in SCENES {
        has_scene[scene.step as usize] = true;
    }
    assert_eq!(has_scene.iter().position(|&has| !has), None);
}

/// An allocation that has been promised every available block gets the one too whose hash a
/// suspended thread is registering anew.
#[test]
fn an_allocation_does_not_wait_for_a_registration() {
    let world = Arc::new(World::new(Setting {
        policy: PolicyKind::Lru,
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
