//! The operations of users, and what they cause.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockRegistry, SequenceHash};

use crate::place::Cause;
use crate::world::{BLOCKS, Tiers, World, hash, hashes};

use Cause::{
    Access, Accesses, Begin, Build, Count, End, Insert, Low, ManagerEnd, Pop, Refusal, RegistryEnd,
    Remove, Replacement, StoreEnd, Touch,
};

/// An operation, and the state in which it is performed.
pub struct Operation {
    pub name: &'static str,
    /// What it causes.
    pub causes: &'static [Cause],
    /// The number of available blocks at its beginning, which is the low watermark if there is one.
    pub low: usize,
    pub duplication: BlockDuplicationPolicy,
    pub reset_on_release: bool,
    /// Whether its results are in the caller's buffers, where they remain if it panics.
    pub keeps: bool,
    /// Whether leases end. Panics from there are contained.
    pub ends_leases: bool,
    /// Whether blocks are cleared, so that the events' thread may be the one that ends
    /// registrations.
    pub clears: bool,
    /// Whether it applies only with events, or only without.
    pub events: Option<bool>,
    /// Whether it requires a second tier.
    pub takes_two_tiers: bool,
    pub prepare: fn(&mut World),
    pub run: fn(&mut World),
}

impl Operation {
    pub fn is_possible(&self, tiers: Tiers, events: bool) -> bool {
        self.events.is_none_or(|needed| needed == events)
            && (!self.takes_two_tiers || tiers != Tiers::One)
    }
}

const DEFAULT: Operation = Operation {
    name: "",
    causes: &[],
    low: BLOCKS as usize,
    duplication: BlockDuplicationPolicy::Allow,
    reset_on_release: false,
    keeps: false,
    ends_leases: false,
    clears: false,
    events: None,
    takes_two_tiers: false,
    prepare: |_| {},
    run: |_| {},
};

/// All operations, including those that reach no place.
pub fn operations() -> Vec<&'static Operation> {
    [
        ALLOCATIONS,
        CLEARING,
        REGISTRATIONS,
        MATCHES,
        DROPS,
        HANDLES,
        LEASES,
        RETENTION,
        ENDS,
        REST,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All blocks are cached.
fn full(world: &mut World) {
    world.cache(0..BLOCKS);
}

const ALLOCATIONS: &[Operation] = &[
    Operation {
        name: "allocate_one",
        causes: &[End, Insert, Pop, Low],
        prepare: full,
        run: |world| {
            let block = world.manager().allocate_one();
            world.mutable.extend(block);
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_blocks",
        causes: &[End, Insert, Pop, Low],
        prepare: full,
        run: |world| {
            let blocks = world.manager().allocate_blocks(30);
            world.mutable.extend(blocks.into_iter().flatten());
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_into",
        causes: &[End, Insert, Pop, Low],
        keeps: true,
        prepare: full,
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            let is_made = manager.allocate_into(30, &mut world.mutable);
            world.say(is_made);
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_blocks_with_evictions",
        causes: &[End, Insert, Pop, Low],
        prepare: full,
        run: |world| {
            let result = world.manager().allocate_blocks_with_evictions(30);
            let (blocks, evicted) = result.expect("there are as many");
            world.mutable.extend(blocks);
            world.evicted.extend(evicted);
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_into_with_evictions",
        causes: &[End, Insert, Pop, Low],
        keeps: true,
        prepare: full,
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            let (blocks, evicted) = (&mut world.mutable, &mut world.evicted);
            let is_made = manager.allocate_into_with_evictions(30, blocks, evicted);
            world.say(is_made);
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_into after clear_inactive_pool",
        causes: &[End, Insert, Low],
        keeps: true,
        clears: true,
        prepare: full,
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            manager.clear_inactive_pool();
            // Fewer than there are: the events' thread holds one.
            let is_made = manager.allocate_into(30, &mut world.mutable);
            world.say(is_made);
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_into of free, forgotten and cached blocks",
        causes: &[End, Insert, Pop, Low],
        keeps: true,
        clears: true,
        events: Some(false),
        prepare: |world| {
            world.cache(0..10);
            world.immutable = world.register(10..30);
            world.manager().clear_inactive_pool();
            world.immutable.clear();
        },
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            let (blocks, evicted) = (&mut world.mutable, &mut world.evicted);
            let is_made = manager.allocate_into_with_evictions(38, blocks, evicted);
            world.say(is_made);
        },
        ..DEFAULT
    },
];

const CLEARING: &[Operation] = &[
    Operation {
        name: "reset_inactive_pool",
        causes: &[End, Insert, Pop],
        prepare: full,
        run: |world| {
            let is_reset = world.manager().reset_inactive_pool().is_ok();
            world.say(is_reset);
        },
        ..DEFAULT
    },
    Operation {
        name: "reset_inactive_pool after clear_inactive_pool",
        causes: &[End, Insert, Pop],
        clears: true,
        events: Some(false),
        prepare: full,
        run: |world| {
            world.manager().clear_inactive_pool();
            let is_reset = world.manager().reset_inactive_pool().is_ok();
            world.say(is_reset);
        },
        ..DEFAULT
    },
    Operation {
        name: "clear_inactive_pool, and the thread of the events",
        causes: &[End],
        clears: true,
        events: Some(true),
        prepare: full,
        run: |world| world.manager().clear_inactive_pool(),
        ..DEFAULT
    },
    Operation {
        name: "clear_inactive_pool, without events",
        events: Some(false),
        prepare: full,
        run: |world| world.manager().clear_inactive_pool(),
        ..DEFAULT
    },
];

/// Half of the blocks are about to be registered.
fn to_register(world: &mut World) {
    world.complete = world.stage(0..20);
}

/// The same; the other half have the same contents and are inactive.
fn to_register_again(world: &mut World) {
    world.cache(0..20);
    to_register(world);
}

fn register_one(world: &mut World) {
    let block = world.complete.remove(0);
    let block = world.manager().register_block(block);
    world.immutable.push(block);
}

fn register_blocks(world: &mut World) {
    let blocks = std::mem::take(&mut world.complete);
    let blocks = world.manager().register_blocks(blocks);
    world.immutable.extend(blocks);
}

fn register_into(world: &mut World) {
    let manager = world.manager.as_ref().expect("it is there");
    let count = manager.register_into(world.complete.drain(..), &mut world.immutable);
    world.say(count);
}

const REGISTRATIONS: &[Operation] = &[
    Operation {
        name: "register_block",
        causes: &[Access, Begin],
        low: 20,
        prepare: to_register,
        run: register_one,
        ..DEFAULT
    },
    Operation {
        name: "register_blocks",
        causes: &[Access, Begin],
        low: 20,
        prepare: to_register,
        run: register_blocks,
        ..DEFAULT
    },
    Operation {
        name: "register_into",
        causes: &[Access, Begin],
        low: 20,
        keeps: true,
        prepare: to_register,
        run: register_into,
        ..DEFAULT
    },
    Operation {
        name: "register_block of a duplicate",
        causes: &[Insert, Low],
        low: 20,
        prepare: to_register_again,
        run: register_one,
        ..DEFAULT
    },
    Operation {
        name: "register_blocks of duplicates",
        causes: &[Insert, Low],
        low: 20,
        prepare: to_register_again,
        run: register_blocks,
        ..DEFAULT
    },
    Operation {
        name: "register_into of duplicates",
        causes: &[Insert, Low],
        low: 20,
        keeps: true,
        prepare: to_register_again,
        run: register_into,
        ..DEFAULT
    },
    Operation {
        name: "register_block of a duplicate that is rejected",
        causes: &[Insert],
        low: 20,
        duplication: BlockDuplicationPolicy::Reject,
        prepare: to_register_again,
        run: register_one,
        ..DEFAULT
    },
    Operation {
        name: "register_into of duplicates that are rejected",
        causes: &[Insert],
        low: 20,
        keeps: true,
        duplication: BlockDuplicationPolicy::Reject,
        prepare: to_register_again,
        run: register_into,
        ..DEFAULT
    },
    Operation {
        name: "register_block over a forgotten primary",
        causes: &[End, Access, Begin],
        low: 20,
        clears: true,
        prepare: to_register_again,
        run: |world| {
            world.manager().clear_inactive_pool();
            register_one(world);
        },
        ..DEFAULT
    },
    Operation {
        name: "register_blocks over forgotten primaries",
        causes: &[End, Access, Begin],
        low: 20,
        clears: true,
        prepare: to_register_again,
        run: |world| {
            world.manager().clear_inactive_pool();
            register_blocks(world);
        },
        ..DEFAULT
    },
    Operation {
        name: "register_into over forgotten primaries",
        causes: &[End, Access, Begin],
        low: 20,
        clears: true,
        keeps: true,
        prepare: to_register_again,
        run: |world| {
            world.manager().clear_inactive_pool();
            register_into(world);
        },
        ..DEFAULT
    },
    Operation {
        name: "register_blocks in the second tier over what the first has forgotten",
        causes: &[End, Access, Begin],
        clears: true,
        events: Some(false),
        takes_two_tiers: true,
        prepare: |world| world.cache(0..20),
        run: |world| {
            world.manager().clear_inactive_pool();
            world.cache_again_in_second(0..20);
        },
        ..DEFAULT
    },
];

const MATCHES: &[Operation] = &[
    Operation {
        name: "match_one",
        causes: &[Accesses, Insert, Low],
        prepare: full,
        run: |world| {
            let block = world.manager().match_one(hash(0));
            world.immutable.extend(block);
        },
        ..DEFAULT
    },
    Operation {
        name: "match_blocks",
        causes: &[Accesses, Insert, Low],
        prepare: full,
        run: |world| {
            let blocks = world.manager().match_blocks(&hashes(0..BLOCKS));
            world.immutable.extend(blocks);
        },
        ..DEFAULT
    },
    Operation {
        name: "match_into",
        causes: &[Accesses, Insert, Low],
        keeps: true,
        prepare: full,
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            let count = manager.match_into(&hashes(0..BLOCKS), &mut world.immutable);
            world.say(count);
        },
        ..DEFAULT
    },
    Operation {
        name: "match_blocks_scattered",
        causes: &[Access, Insert, Low],
        prepare: full,
        run: |world| {
            let blocks = world.manager().match_blocks_scattered(&hashes(10..50));
            world.immutable.extend(blocks.into_iter().flatten());
        },
        ..DEFAULT
    },
    Operation {
        name: "scan_matches",
        causes: &[Access, Insert, Low],
        prepare: full,
        run: |world| {
            let found = world.manager().scan_matches(&hashes(10..50), true);
            let mut blocks: Vec<_> = found.into_values().collect();
            blocks.sort_by_key(|block| block.sequence_hash().as_u128());
            world.immutable.extend(blocks);
        },
        ..DEFAULT
    },
    Operation {
        name: "WeakBlock::upgrade",
        causes: &[Insert],
        prepare: |world| {
            let blocks = world.register(0..20);
            world.weak = blocks.iter().map(|block| block.downgrade()).collect();
        },
        run: |world| {
            let blocks: Vec<_> = world.weak.iter().map(|weak| weak.upgrade()).collect();
            world.immutable.extend(blocks.into_iter().flatten());
        },
        ..DEFAULT
    },
];

/// Twenty blocks are held and are freed when released.
fn to_be_freed(world: &mut World) {
    world.immutable = world.register(0..20);
    for block in &world.immutable {
        block.set_evict_on_reset(true);
    }
}

/// Twenty blocks are held that have been released before.
fn matched(world: &mut World) {
    full(world);
    world.immutable = world.manager().match_blocks(&hashes(0..20));
}

fn drop_blocks(world: &mut World) {
    world.immutable.clear();
}

fn release_from(world: &mut World) {
    let manager = world.manager.as_ref().expect("it is there");
    manager.release_from(&mut world.immutable);
}

/// Leaves the blocks to be held by their lifecycle pins.
fn pin(world: &mut World) {
    world.pins = world.immutable.iter().map(|block| block.pin()).collect();
    world.immutable.clear();
}

/// Leaves the blocks to be held by their duplicates.
fn duplicate(world: &mut World) {
    let numbers = 0..world.immutable.len() as u64;
    let duplicates = world.stage(numbers);
    let duplicates = world.manager().register_blocks(duplicates);
    world.immutable = duplicates;
}

const DROPS: &[Operation] = &[
    Operation {
        name: "drop of ImmutableBlocks",
        causes: &[Count],
        keeps: true,
        prepare: |world| world.immutable = world.register(0..20),
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of ImmutableBlocks that were matched",
        causes: &[Count, Remove],
        keeps: true,
        prepare: matched,
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of ImmutableBlocks with set_evict_on_reset",
        causes: &[End],
        keeps: true,
        prepare: to_be_freed,
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of ImmutableBlocks with default_reset_on_release",
        causes: &[End],
        keeps: true,
        reset_on_release: true,
        prepare: |world| world.immutable = world.register(0..20),
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "release_from",
        causes: &[Count],
        keeps: true,
        prepare: |world| world.immutable = world.register(0..20),
        run: release_from,
        ..DEFAULT
    },
    Operation {
        name: "release_from of blocks that were matched",
        causes: &[Count, Remove],
        keeps: true,
        prepare: matched,
        run: release_from,
        ..DEFAULT
    },
    Operation {
        name: "release_from with set_evict_on_reset",
        causes: &[End],
        keeps: true,
        prepare: to_be_freed,
        run: release_from,
        ..DEFAULT
    },
    Operation {
        name: "release_from of blocks of which every other has set_evict_on_reset",
        causes: &[End, Count],
        keeps: true,
        prepare: |world| {
            world.immutable = world.register(0..20);
            for block in world.immutable.iter().step_by(2) {
                block.set_evict_on_reset(true);
            }
        },
        run: release_from,
        ..DEFAULT
    },
    Operation {
        name: "drop of LifecyclePinRefs",
        causes: &[Count],
        keeps: true,
        prepare: |world| {
            world.immutable = world.register(0..20);
            pin(world);
        },
        run: |world| world.pins.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of LifecyclePinRefs with set_evict_on_reset",
        causes: &[End],
        keeps: true,
        prepare: |world| {
            to_be_freed(world);
            pin(world);
        },
        run: |world| world.pins.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of duplicates",
        causes: &[Count],
        keeps: true,
        prepare: |world| {
            world.immutable = world.register(0..20);
            duplicate(world);
        },
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of duplicates of primaries with set_evict_on_reset",
        causes: &[End],
        keeps: true,
        prepare: |world| {
            to_be_freed(world);
            duplicate(world);
        },
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "release_from of duplicates of primaries with set_evict_on_reset",
        causes: &[End],
        keeps: true,
        prepare: |world| {
            to_be_freed(world);
            duplicate(world);
        },
        run: release_from,
        ..DEFAULT
    },
    Operation {
        name: "drop of MutableBlocks",
        keeps: true,
        prepare: |world| {
            full(world);
            world.mutable = world.manager().allocate_blocks(20).expect("as many");
        },
        run: |world| world.mutable.clear(),
        ..DEFAULT
    },
    Operation {
        name: "free_from",
        keeps: true,
        prepare: |world| {
            full(world);
            world.mutable = world.manager().allocate_blocks(20).expect("as many");
        },
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            manager.free_from(&mut world.mutable);
        },
        ..DEFAULT
    },
    Operation {
        name: "drop of CompleteBlocks",
        keeps: true,
        prepare: to_register_again,
        run: |world| world.complete.clear(),
        ..DEFAULT
    },
];

/// Some hashes are kept registered only by handles, or by other tiers.
fn handles_alone(world: &mut World) {
    let blocks = world.register(0..10);
    let handles = blocks.iter().map(|block| block.registration_handle());
    world.handles = handles.collect();
    drop(blocks);
    world.manager().reset_inactive_pool().expect("none is held");
}

const HANDLES: &[Operation] = &[
    Operation {
        name: "drop of handles",
        causes: &[End],
        keeps: true,
        prepare: handles_alone,
        run: |world| world.handles.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of handles of forgotten blocks",
        causes: &[End],
        keeps: true,
        events: Some(false),
        prepare: |world| {
            let blocks = world.register(0..10);
            let handles = blocks.iter().map(|block| block.registration_handle());
            world.handles = handles.collect();
            drop(blocks);
            world.manager().clear_inactive_pool();
        },
        run: |world| world.handles.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of WeakBlocks",
        causes: &[End],
        keeps: true,
        prepare: |world| {
            let blocks = world.register(0..10);
            world.weak = blocks.iter().map(|block| block.downgrade()).collect();
            drop(blocks);
            world.manager().reset_inactive_pool().expect("none is held");
        },
        run: |world| world.weak.clear(),
        ..DEFAULT
    },
    Operation {
        name: "clone of a handle",
        keeps: true,
        prepare: handles_alone,
        run: |world| world.handles.push(world.handles[0].clone()),
        ..DEFAULT
    },
    Operation {
        name: "touch of a handle",
        causes: &[Touch],
        prepare: |world| world.handles.push(world.handle(0)),
        run: |world| world.handles[0].touch(),
        ..DEFAULT
    },
    Operation {
        name: "attach_unique in place of another",
        causes: &[Replacement],
        prepare: |world| world.handles.push(world.handle(0)),
        run: |world| {
            let is_attached = world.replace(&world.handles[0]);
            world.say(is_attached);
        },
        ..DEFAULT
    },
    Operation {
        name: "attach or attach_unique, refused",
        causes: &[Refusal],
        prepare: |world| world.handles.push(world.handle(0)),
        run: |world| {
            let is_attached = world.be_refused(&world.handles[0]);
            world.say(is_attached);
        },
        ..DEFAULT
    },
    Operation {
        name: "register_sequence_hash",
        causes: &[Access, Begin],
        run: |world| {
            let handle = world.registry().register_sequence_hash(hash(0));
            world.handles.push(handle);
        },
        ..DEFAULT
    },
    Operation {
        name: "register_sequence_hashes",
        causes: &[Access, Begin],
        run: |world| {
            let handles = world.registry().register_sequence_hashes(hashes(0..20));
            world.handles.extend(handles);
        },
        ..DEFAULT
    },
    Operation {
        name: "register_sequence_hash over a forgotten block",
        causes: &[End, Access, Begin],
        clears: true,
        prepare: |world| world.cache(0..1),
        run: |world| {
            world.manager().clear_inactive_pool();
            let handle = world.registry().register_sequence_hash(hash(0));
            world.handles.push(handle);
        },
        ..DEFAULT
    },
    Operation {
        name: "register_sequence_hashes over forgotten blocks",
        causes: &[End, Access, Begin],
        clears: true,
        prepare: |world| world.cache(0..20),
        run: |world| {
            world.manager().clear_inactive_pool();
            let handles = world.registry().register_sequence_hashes(hashes(0..20));
            world.handles.extend(handles);
        },
        ..DEFAULT
    },
    Operation {
        name: "match_sequence_hash",
        causes: &[Access],
        prepare: |world| world.cache(0..1),
        run: |world| {
            let handle = world.registry().match_sequence_hash(hash(0), true);
            world.handles.extend(handle);
        },
        ..DEFAULT
    },
    Operation {
        name: "BlockRegistry::touch",
        causes: &[Access],
        run: |world| world.registry().touch(hash(0)),
        ..DEFAULT
    },
    Operation {
        name: "BlockRegistry::count",
        causes: &[Count],
        run: |world| {
            let count = world.registry().count(hash(0));
            world.say(count);
        },
        ..DEFAULT
    },
    Operation {
        name: "on_block_registered",
        causes: &[Begin],
        events: Some(true),
        prepare: |world| {
            let handle = BlockRegistry::new().register_sequence_hash(hash(0));
            world.handles.push(handle);
        },
        run: |world| {
            let events = world.events.as_ref().expect("there are events");
            let is_told = events.on_block_registered(&world.handles[0]).is_ok();
            world.say(is_told);
        },
        ..DEFAULT
    },
];

const FOREVER: Option<Duration> = None;
const EXPIRED: Option<Duration> = Some(Duration::ZERO);

/// Two leases hold blocks that are freed when released.
fn lease_for(world: &mut World, duration: Option<Duration>) {
    to_be_freed(world);
    let rest = world.immutable.split_off(10);
    for blocks in [std::mem::take(&mut world.immutable), rest] {
        let lease = world.manager().lease(blocks, "owner", duration);
        world.leases.push(lease.expect("the blocks are its own"));
    }
}

fn lease(world: &mut World) {
    lease_for(world, FOREVER);
}

fn lease_that_is_over(world: &mut World) {
    lease_for(world, EXPIRED);
}

const LEASES: &[Operation] = &[
    Operation {
        name: "Lease::release",
        causes: &[End],
        keeps: true,
        ends_leases: true,
        prepare: lease,
        run: |world| {
            let is_released = world.leases.remove(0).release().is_ok();
            world.say(is_released);
        },
        ..DEFAULT
    },
    Operation {
        name: "Lease::release of blocks that stay",
        causes: &[Count],
        keeps: true,
        ends_leases: true,
        prepare: |world| {
            let blocks = world.register(0..20);
            let lease = world.manager().lease(blocks, "owner", FOREVER);
            world.leases.push(lease.expect("the blocks are its own"));
        },
        run: |world| {
            let is_released = world.leases.remove(0).release().is_ok();
            world.say(is_released);
        },
        ..DEFAULT
    },
    Operation {
        name: "release_lease",
        causes: &[End],
        keeps: true,
        ends_leases: true,
        prepare: lease,
        run: |world| {
            let is_released = world.manager().release_lease(world.leases[0].id()).is_ok();
            world.say(is_released);
        },
        ..DEFAULT
    },
    Operation {
        name: "drop of Leases",
        causes: &[End],
        keeps: true,
        ends_leases: true,
        prepare: lease,
        run: |world| world.leases.clear(),
        ..DEFAULT
    },
    Operation {
        name: "expire_leases",
        causes: &[End],
        keeps: true,
        ends_leases: true,
        prepare: lease_that_is_over,
        run: |world| {
            let count = world.manager().expire_leases();
            world.say(count);
        },
        ..DEFAULT
    },
    Operation {
        name: "available_blocks when leases are over",
        causes: &[End],
        keeps: true,
        ends_leases: true,
        prepare: lease_that_is_over,
        run: |world| {
            let count = world.manager().available_blocks();
            world.say(count);
        },
        ..DEFAULT
    },
    Operation {
        name: "holders when leases are over",
        causes: &[End],
        keeps: true,
        ends_leases: true,
        prepare: lease_that_is_over,
        run: |world| {
            let count = world.manager().holders().len();
            world.say(count);
        },
        ..DEFAULT
    },
    Operation {
        name: "unleased_blocks when leases are over",
        causes: &[End],
        keeps: true,
        ends_leases: true,
        prepare: lease_that_is_over,
        run: |world| {
            let count = world.manager().unleased_blocks();
            world.say(count);
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_into when leases are over",
        causes: &[End, Low],
        low: 1,
        keeps: true,
        ends_leases: true,
        prepare: lease_that_is_over,
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            let is_made = manager.allocate_into(BLOCKS as usize, &mut world.mutable);
            world.say(is_made);
        },
        ..DEFAULT
    },
    Operation {
        name: "drop of the manager with leases",
        causes: &[End, ManagerEnd, StoreEnd],
        keeps: true,
        ends_leases: true,
        prepare: lease,
        run: |world| drop(world.manager.take()),
        ..DEFAULT
    },
];

const LOWEST: Retention = Retention::new(Priority::LOWEST);

const RETENTION: &[Operation] = &[
    Operation {
        name: "BlockManager::set_retention, then allocate_into",
        causes: &[End, Insert, Pop, Low, Cause::Priority],
        keeps: true,
        prepare: full,
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            let count = manager.set_retention(&hashes(0..BLOCKS), .., LOWEST);
            let is_made = manager.allocate_into(30, &mut world.mutable);
            world.say((count, is_made));
        },
        ..DEFAULT
    },
    Operation {
        name: "ImmutableBlock::set_retention, release_from, then allocate_into",
        causes: &[End, Count, Insert, Pop, Low, Cause::Priority],
        low: 40,
        keeps: true,
        prepare: |world| world.immutable = world.register(0..BLOCKS),
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            for block in &world.immutable {
                block.set_retention(LOWEST);
            }
            let guards = &mut world.immutable;
            let released = catch_unwind(AssertUnwindSafe(|| manager.release_from(guards)));
            let is_made = manager.allocate_into(30, &mut world.mutable);
            world.say(is_made);
            if let Err(panic) = released {
                resume_unwind(panic);
            }
        },
        ..DEFAULT
    },
    Operation {
        name: "allocate_into when directives are over",
        causes: &[End, Insert, Pop, Low, Cause::Priority],
        keeps: true,
        prepare: |world| {
            full(world);
            let highest = Retention::new(Priority::HIGHEST).for_duration(Duration::from_millis(1));
            let count = world
                .manager()
                .set_retention(&hashes(0..BLOCKS), .., highest);
            assert_eq!(count, BLOCKS as usize);
            std::thread::sleep(Duration::from_millis(3));
        },
        run: |world| {
            let manager = world.manager.as_ref().expect("it is there");
            let is_made = manager.allocate_into(30, &mut world.mutable);
            world.say(is_made);
        },
        ..DEFAULT
    },
];

/// The manager is dropped before its guards.
fn orphan(world: &mut World) {
    world.second = None;
    world.manager = None;
}

/// The registry is dropped with the last of its parts.
fn forsake(world: &mut World) {
    world.events = None;
    world.registry = None;
}

const ENDS: &[Operation] = &[
    Operation {
        name: "drop of the manager",
        causes: &[End, ManagerEnd, StoreEnd],
        keeps: true,
        prepare: full,
        run: |world| drop(world.manager.take()),
        ..DEFAULT
    },
    Operation {
        name: "drop of the second tier's manager",
        causes: &[End],
        keeps: true,
        takes_two_tiers: true,
        prepare: |world| {
            full(world);
            world.cache_in_second(100..120);
        },
        run: |world| drop(world.second.take()),
        ..DEFAULT
    },
    Operation {
        name: "drop of the last MutableBlock after the manager",
        causes: &[End, StoreEnd],
        keeps: true,
        prepare: |world| {
            full(world);
            world.mutable.extend(world.manager().allocate_one());
            orphan(world);
        },
        run: |world| world.mutable.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of the last CompleteBlock after the manager",
        causes: &[End, StoreEnd],
        keeps: true,
        prepare: |world| {
            full(world);
            world.complete = world.stage(100..101);
            orphan(world);
        },
        run: |world| world.complete.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of the last ImmutableBlock after the manager",
        causes: &[End, Count, StoreEnd],
        keeps: true,
        prepare: |world| {
            world.cache(0..20);
            world.immutable = world.register(20..21);
            orphan(world);
        },
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of the last ImmutableBlock after the manager, with set_evict_on_reset",
        causes: &[End, StoreEnd],
        keeps: true,
        prepare: |world| {
            world.cache(0..20);
            world.immutable = world.register(20..21);
            world.immutable[0].set_evict_on_reset(true);
            orphan(world);
        },
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of the last duplicate after the manager",
        causes: &[End, Count, StoreEnd],
        keeps: true,
        prepare: |world| {
            world.cache(10..20);
            world.immutable = world.register(0..1);
            duplicate(world);
            orphan(world);
        },
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of the last LifecyclePinRef after the manager",
        causes: &[End, Count, StoreEnd],
        keeps: true,
        prepare: |world| {
            world.cache(0..20);
            world.immutable = world.register(20..21);
            pin(world);
            orphan(world);
        },
        run: |world| world.pins.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of the last WeakBlock after the manager",
        causes: &[End, StoreEnd],
        keeps: true,
        prepare: |world| {
            let block = world.register(0..1).remove(0);
            world.weak.push(block.downgrade());
            drop(block);
            world.cache(1..20);
            orphan(world);
        },
        run: |world| world.weak.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of an upgraded WeakBlock after the manager",
        causes: &[End, Count, Remove, StoreEnd],
        keeps: true,
        prepare: |world| {
            let block = world.register(0..1).remove(0);
            let weak = block.downgrade();
            drop(block);
            world.cache(1..20);
            orphan(world);
            world.immutable.extend(weak.upgrade());
        },
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of the registry after the manager",
        causes: &[RegistryEnd],
        keeps: true,
        prepare: |world| {
            full(world);
            orphan(world);
            world.events = None;
        },
        run: |world| drop(world.registry.take()),
        ..DEFAULT
    },
    Operation {
        name: "drop of the manager after the registry",
        causes: &[End, ManagerEnd, StoreEnd, RegistryEnd],
        keeps: true,
        prepare: |world| {
            full(world);
            world.second = None;
            forsake(world);
        },
        run: |world| drop(world.manager.take()),
        ..DEFAULT
    },
    Operation {
        name: "drop of the last ImmutableBlock after manager and registry",
        causes: &[End, Count, StoreEnd, RegistryEnd],
        keeps: true,
        prepare: |world| {
            world.cache(0..20);
            world.immutable = world.register(20..21);
            orphan(world);
            forsake(world);
        },
        run: drop_blocks,
        ..DEFAULT
    },
    Operation {
        name: "drop of the last handle after manager and registry",
        causes: &[End, RegistryEnd],
        keeps: true,
        prepare: |world| {
            world.handles.push(world.handle(0));
            orphan(world);
            forsake(world);
        },
        run: |world| world.handles.clear(),
        ..DEFAULT
    },
    Operation {
        name: "drop of the last WeakBlock after manager and registry",
        causes: &[End, StoreEnd, RegistryEnd],
        keeps: true,
        prepare: |world| {
            let block = world.register(0..1).remove(0);
            world.weak.push(block.downgrade());
            drop(block);
            world.cache(1..20);
            orphan(world);
            forsake(world);
        },
        run: |world| world.weak.clear(),
        ..DEFAULT
    },
];

const REST: &[Operation] = &[
    Operation {
        name: "build, and drop of the manager",
        causes: &[Build, ManagerEnd, StoreEnd],
        run: |world| {
            let is_built = world.builder().build().is_ok();
            world.say(is_built);
        },
        ..DEFAULT
    },
    Operation {
        name: "everything that only looks",
        events: Some(false),
        prepare: full,
        run: |world| {
            let manager = world.manager();
            let all: Vec<SequenceHash> = hashes(0..BLOCKS);
            let seen = (
                manager.available_blocks(),
                manager.is_low(),
                manager.audit().is_ok(),
                manager.metrics().snapshot().evictions,
                manager.block_registry().registered_count(),
                manager
                    .block_registry()
                    .check_presence::<crate::world::Gpu>(&all)
                    .len(),
                manager.block_registry().is_registered(all[0]),
            );
            world.say(seen);
        },
        ..DEFAULT
    },
];
