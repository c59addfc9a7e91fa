//! The scenes: how a thread gets to each step, and what it delays there.

use std::sync::Arc;
use std::time::Duration;

use crate::SequenceHash;
use crate::blocks::ImmutableBlock;
use crate::retention::{Priority, Retention};
use crate::sync::limits::{BACKLOG, LEASE_PIECE};

use super::Step;
use super::scene::{CHAIN, Gpu, Plan, Setting, World};

/// What is unavailable while a thread is suspended at a step, in addition to the blocks that it
/// holds or has reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldUp {
    /// The audit, which reports `Busy`.
    Audit,
    /// A match of the subject.
    Match,
    /// The memory of registry entries that have ended.
    Memory,
}

/// A step, a way to get there, and what is held up at it, with the reasons.
pub(super) struct Scene {
    pub(super) step: Step,
    /// What distinguishes this way from others to the same step.
    pub(super) way: &'static str,
    /// Returns whether this way exists in a setting.
    pub(super) is_in: fn(&Setting) -> bool,
    pub(super) plan: fn(&Arc<World>) -> Plan,
    pub(super) held_up: &'static [(HeldUp, &'static str)],
}

const PLANE: (HeldUp, &str) = (HeldUp::Audit, "the thread holds the plane");
const UNDECIDED: (HeldUp, &str) = (HeldUp::Match, "its registration has not returned");
const EVICTED: (HeldUp, &str) = (HeldUp::Match, "the thread is about to return the block");
const RESET: (HeldUp, &str) = (HeldUp::Match, "the block is being freed");
const GUARD: (HeldUp, &str) = (HeldUp::Memory, "the thread holds an epoch guard");

const fn scene(step: Step, plan: fn(&Arc<World>) -> Plan) -> Scene {
    Scene {
        step,
        way: "",
        is_in: |_| true,
        plan,
        held_up: &[],
    }
}

impl Scene {
    const fn way(self, way: &'static str) -> Self {
        Self { way, ..self }
    }

    const fn only(self, is_in: fn(&Setting) -> bool) -> Self {
        Self { is_in, ..self }
    }

    const fn holds_up(self, held_up: &'static [(HeldUp, &'static str)]) -> Self {
        Self { held_up, ..self }
    }
}

macro_rules! at {
    ($($step:ident),+) => { const { &[$(Step::$step),+] } };
}

#[rustfmt::skip]
pub(super) const SCENES: &[Scene] = &[
    // Allocation.
    scene(Step::CreditsReserved, |w| evict(w, at![CreditsReserved], CHAIN)),
    scene(Step::FreeTaken, |w| {
        w.fill();
        drop(w.take(CHAIN));
        let world = Arc::clone(w);
        Plan::new(at![FreeTaken], move || world.take(2 * CHAIN)).takes(2 * CHAIN)
    }),
    scene(Step::PlaneHeld, |w| evict(w, at![PlaneHeld], 1)).holds_up(&[PLANE]),
    scene(Step::PlaneHeld, |w| {
        let hash = *w.fill().last().expect("blocks are available");
        // The block is already queued, so its release applies the queued releases first.
        let block = w.find(hash);
        Plan::new(at![PlaneHeld], move || drop(block)).takes(1).subject(hash, true)
    }).way("by a release").holds_up(&[PLANE]),
    scene(Step::PlaneHeld, |w| {
        // The last of these releases finds the log too long.
        let blocks: Vec<_> = w.hashes(BACKLOG as usize).into_iter().map(|hash| w.register(hash)).collect();
        Plan::new(at![PlaneHeld], move || drop(blocks)).takes(1)
    }).way("by the release that makes the log too long").holds_up(&[PLANE]),
    scene(Step::PlaneHeld, |w| {
        let hashes = w.fill();
        let world = Arc::clone(w);
        Plan::new(at![PlaneHeld], move || {
            world.manager.set_retention(&hashes, .., Retention::new(Priority::HIGHEST))
        })
    }).way("by the last of many directives").holds_up(&[PLANE]),
    scene(Step::QueuedTaken, |w| evict(w, at![QueuedTaken], 1)).holds_up(&[PLANE]),
    scene(Step::VictimsPopped, |w| evict(w, at![VictimsPopped], 1)).holds_up(&[PLANE]),
    scene(Step::VictimsInHand, |w| evict(w, at![VictimsInHand], 1)),
    scene(Step::VictimVacated, |w| evict_subject(w, at![VictimVacated])).holds_up(&[EVICTED]),
    scene(Step::LinkDead, |w| evict_subject(w, at![LinkDead])).holds_up(&[EVICTED]),
    scene(Step::Unlinked, |w| evict_subject(w, at![Unlinked])).holds_up(&[EVICTED]),
    scene(Step::VictimVacated, |w| {
        w.fill();
        let world = Arc::clone(w);
        Plan::new(at![VictimVacated], move || world.manager.reset_inactive_pool().is_ok()).takes(1)
    }).way("by reset_inactive_pool"),
    scene(Step::Searching, |w| {
        w.suspend_besides(|w| evict(w, at![PlaneHeld], 1));
        let world = Arc::clone(w);
        Plan::new(at![Searching], move || world.take(1)).takes(2)
    }).holds_up(&[PLANE]),
    scene(Step::VictimVacated, |w| {
        w.suspend_besides(|w| evict(w, at![PlaneHeld], 1));
        let world = Arc::clone(w);
        Plan::new(at![Searching, VictimVacated], move || world.take(1)).takes(2)
    }).way("by a sweep").holds_up(&[PLANE]),

    // The freelist. The other blocks are freed by another thread on the same shard.
    scene(Step::LeafSet, |w| {
        let mut rest = w.take_all();
        let block = rest.pop();
        Plan::new(at![LeafSet], move || drop(block)).takes(1).aside(rest)
    }),
    scene(Step::LeafEmptied, |w| take_only(w, at![LeafEmptied])),
    scene(Step::HintCleared, |w| take_only(w, at![HintCleared])),
    scene(Step::Freed, |w| {
        let block = w.take(1);
        Plan::new(at![Freed], move || drop(block)).takes(1)
    }),
    scene(Step::LeafSet, |w| free_batch(w, at![LeafSet])).way("in a batch"),
    scene(Step::Freed, |w| free_batch(w, at![Freed])).way("in a batch"),

    // Registration.
    scene(Step::Pending, |w| register(w, at![Pending])).holds_up(&[UNDECIDED]),
    scene(Step::LinkPrepared, |w| register(w, at![LinkPrepared])).holds_up(&[UNDECIDED]),
    scene(Step::Linked, |w| register(w, at![Linked])).holds_up(&[UNDECIDED]),
    scene(Step::PrimaryPinned, |w| register_again(w, at![PrimaryPinned])),
    scene(Step::Refused, |w| register_again(w, at![Refused])).only(|s| !s.allows_duplicates()),
    scene(Step::Discarded, |w| register_promised(w, at![Discarded])).holds_up(&[UNDECIDED]),

    // Clearing.
    scene(Step::EraBegun, |w| {
        w.fill();
        let world = Arc::clone(w);
        Plan::new(at![EraBegun], move || world.manager.clear_inactive_pool())
    }),
    scene(Step::ErasRenewed, |w| {
        w.fill();
        let world = Arc::clone(w);
        Plan::new(at![ErasRenewed], move || world.manager.clear_inactive_pool())
    }),
    scene(Step::StretchTaken, |w| {
        w.fill();
        w.manager.clear_inactive_pool();
        let world = Arc::clone(w);
        Plan::new(at![StretchTaken], move || world.take(2)).takes(2)
    }),
    scene(Step::Discarded, |w| register_cleared(w, at![Discarded])).way("cleared"),

    // Directives: the manager's first. The other threads then give more.
    scene(Step::DirectivesMade, |w| {
        let hash = w.fill()[CHAIN];
        let world = Arc::clone(w);
        Plan::new(at![DirectivesMade], move || {
            world.manager.set_retention(&[hash], .., Retention::new(Priority::LOWEST))
        })
    }),
    scene(Step::DirectiveGiven, |w| {
        let hash = w.fill()[CHAIN];
        let world = Arc::clone(w);
        Plan::new(at![DirectiveGiven], move || {
            world.manager.set_retention(&[hash], .., Retention::new(Priority::LOWEST))
        })
    }),

    // Leases.
    scene(Step::LeaseTaken, |w| {
        let hashes = w.fill()[..CHAIN].to_vec();
        let held = w.manager.match_blocks(&hashes);
        let lease = w.manager.lease(held, "gone", Some(Duration::ZERO));
        lease.expect("blocks of the manager").detach();
        let world = Arc::clone(w);
        Plan::new(at![LeaseTaken], move || world.manager.expire_leases())
            .takes(CHAIN).subject(hashes[0], true)
    }),
    scene(Step::LeaseLeft, |w| {
        let hashes = w.fill();
        let held: Vec<_> = w.manager.match_blocks_scattered(&hashes).into_iter().flatten().collect();
        assert!(held.len() > LEASE_PIECE, "more than a piece");
        let lease = w.manager.lease(held, "gone", Some(Duration::ZERO));
        lease.expect("blocks of the manager").detach();
        let world = Arc::clone(w);
        Plan::new(at![LeaseLeft], move || world.manager.expire_leases()).subject(hashes[0], true)
    }),

    // Matching.
    scene(Step::EraUnread, |w| {
        let (world, hash) = (Arc::clone(w), w.fill()[0]);
        Plan::new(at![EraUnread], move || world.manager.match_blocks_scattered(&[hash]))
            .subject(hash, true)
    }),
    scene(Step::Pinning, |w| find(w, at![Pinning])),
    scene(Step::Pinned, |w| find(w, at![Pinned])),
    scene(Step::MatchUnsettled, |w| {
        let hashes = w.fill()[..CHAIN].to_vec();
        let (world, subject) = (Arc::clone(w), hashes[CHAIN - 1]);
        Plan::new(at![MatchUnsettled], move || world.manager.match_blocks(&hashes))
            .takes(CHAIN).subject(subject, true)
    }),
    scene(Step::Pinning, |w| {
        let (weak, hash) = { let block = w.register(w.hash()); (block.downgrade(), block.sequence_hash()) };
        Plan::new(at![Pinning], move || weak.upgrade()).takes(1).subject(hash, true)
    }).way("by an upgrade"),

    // Release.
    scene(Step::Unpinning, |w| {
        let (block, hash) = inactive(w);
        let clone = block.clone();
        Plan::new(at![Unpinning], move || { drop(block); clone }).takes(1).subject(hash, true)
    }),
    scene(Step::Unpinned, |w| release(w, at![Unpinned])),
    scene(Step::Queued, |w| release(w, at![Queued])),
    scene(Step::Unpinned, |w| release_batch(w, at![Unpinned])).way("in a batch"),
    scene(Step::Queued, |w| release_batch(w, at![Queued])).way("in a batch"),
    scene(Step::Unpinned, |w| {
        let (block, hash) = inactive(w);
        release_late(block).takes(1).subject(hash, true)
    }).way("that was one of two"),
    scene(Step::ResetVacated, |w| reset(w, at![ResetVacated])).holds_up(&[RESET]),
    scene(Step::LinkDead, |w| reset(w, at![LinkDead])).way("by a reset").holds_up(&[RESET]),
    scene(Step::Unlinked, |w| reset(w, at![Unlinked])).way("by a reset").holds_up(&[RESET]),
    scene(Step::Freed, |w| reset(w, at![Freed])).way("by a reset").holds_up(&[RESET]),
    scene(Step::ResetVacated, |w| {
        let hash = w.fill()[CHAIN];
        let block = w.register(hash);
        Plan::new(at![ResetVacated], move || drop(block)).takes(2).subject(hash, true)
    }).way("of a duplicate").only(Setting::allows_duplicates),

    // Credits.
    scene(Step::ShardFrozen, |w| fold(w, at![ShardFrozen])),
    scene(Step::ShardFolded, |w| fold(w, at![ShardFolded])),
    scene(Step::TakenFromCentral, |w| {
        w.fill();
        let aside = w.take(3 * CHAIN);
        let (world, count) = (Arc::clone(w), w.manager.available_blocks());
        Plan::new(at![TakenFromCentral], move || world.take(count)).takes(count).aside(aside)
    }),
    scene(Step::ShardGranted, |w| unfold(w, at![ShardGranted])),
    scene(Step::ShardWithdrawn, |w| unfold(w, at![ShardWithdrawn])),

    // The registry.
    scene(Step::EntryCounted, |w| handle(w, at![EntryCounted])).holds_up(&[GUARD]),
    scene(Step::EntryInserted, |w| handle(w, at![EntryInserted])).holds_up(&[GUARD]),
    scene(Step::HandleMade, |w| handle(w, at![HandleMade])),
    scene(Step::HandleMade, |w| {
        let world = Arc::clone(w);
        let hash = w.active.sequence_hash();
        Plan::new(at![HandleMade], move || world.active.downgrade()).subject(hash, true)
    }).way("by a downgrade"),
    scene(Step::HandleReleased, |w| drop_handle(w, at![HandleReleased])).holds_up(&[GUARD]),
    scene(Step::EntryDead, |w| drop_handle(w, at![EntryDead])).holds_up(&[GUARD]),
    scene(Step::EntryRemoved, |w| drop_handle(w, at![EntryRemoved])).holds_up(&[GUARD]),
    scene(Step::EntryDead, |w| {
        let hash = victim(w);
        drop(w.registry.register_sequence_hash(hash));
        let world = Arc::clone(w);
        Plan::new(at![EntryDead], move || world.take(1)).takes(1).subject(hash, false)
    }).way("by an eviction").holds_up(&[EVICTED, GUARD]),
    scene(Step::MarkerClaimed, |w| mark(w, at![MarkerClaimed])).holds_up(&[GUARD]),
    scene(Step::MarkerLinked, |w| mark(w, at![MarkerLinked])).holds_up(&[GUARD]),
];

type Steps = &'static [Step];

/// Allocates while all blocks are inactive.
fn evict(world: &Arc<World>, steps: Steps, count: usize) -> Plan {
    world.fill();
    let world = Arc::clone(world);
    Plan::new(steps, move || world.take(count)).takes(count)
}

/// Fills the world and returns the hash that will be evicted first.
fn victim(world: &World) -> SequenceHash {
    let hashes = world.fill();
    hashes[if world.setting.is_lineage() {
        CHAIN - 1
    } else {
        0
    }]
}

fn evict_subject(world: &Arc<World>, steps: Steps) -> Plan {
    let subject = victim(world);
    let world = Arc::clone(world);
    Plan::new(steps, move || world.take(1))
        .takes(1)
        .subject(subject, false)
}

/// Takes the only free block, which is also the only one of its shard.
fn take_only(world: &Arc<World>, steps: Steps) -> Plan {
    let mut rest = world.take_all();
    drop(rest.pop());
    let world = Arc::clone(world);
    Plan::new(steps, move || world.take(1)).takes(1).aside(rest)
}

fn register(world: &Arc<World>, steps: Steps) -> Plan {
    world.fill();
    let hash = world.hash();
    let block = world.complete(hash);
    let world = Arc::clone(world);
    Plan::new(steps, move || world.manager.register_block(block))
        .takes(1)
        .subject(hash, false)
}

/// Frees all blocks except those used by the rest of the world, in one call.
fn free_batch(world: &Arc<World>, steps: Steps) -> Plan {
    let mut rest = world.take_all();
    let mut blocks = rest.split_off(rest.len() - CHAIN);
    let world = Arc::clone(world);
    Plan::new(steps, move || world.manager.free_from(&mut blocks))
        .takes(CHAIN)
        .aside(rest)
}

/// Releases a chain in one call.
fn release_batch(world: &Arc<World>, steps: Steps) -> Plan {
    let hashes = world.fill()[..CHAIN].to_vec();
    let mut held = world.manager.match_blocks(&hashes);
    let world = Arc::clone(world);
    Plan::new(steps, move || world.manager.release_from(&mut held))
        .takes(CHAIN)
        .subject(hashes[0], true)
}

/// Registers a hash that has an inactive block.
fn register_again(world: &Arc<World>, steps: Steps) -> Plan {
    let hash = world.fill()[CHAIN];
    let block = world.complete(hash);
    let world = Arc::clone(world);
    Plan::new(steps, move || world.manager.register_block(block))
        .takes(2)
        .subject(hash, true)
}

/// Registers a hash that has an inactive block while an allocation has reserved all available
/// blocks, including that one.
pub(super) fn register_promised(world: &Arc<World>, steps: Steps) -> Plan {
    let hash = *world.fill().last().unwrap();
    let aside = world.take(3 * CHAIN);
    let block = world.complete(hash);
    let promised = world.manager.available_blocks();
    world.suspend_besides(move |world| {
        let world = Arc::clone(world);
        Plan::new(at![CreditsReserved], move || world.take(promised))
    });
    let world = Arc::clone(world);
    Plan::new(steps, move || world.manager.register_block(block))
        .takes(promised + 1)
        .aside(aside)
        .subject(hash, false)
}

/// Returns a guard of a block that was inactive, and its hash.
fn inactive(world: &World) -> (ImmutableBlock<Gpu>, SequenceHash) {
    let hash = world.fill()[CHAIN];
    (world.find(hash), hash)
}

fn find(world: &Arc<World>, steps: Steps) -> Plan {
    let hash = world.fill()[CHAIN];
    let world = Arc::clone(world);
    Plan::new(steps, move || world.manager.match_one(hash))
        .takes(1)
        .subject(hash, true)
}

fn release(world: &Arc<World>, steps: Steps) -> Plan {
    let (block, hash) = inactive(world);
    Plan::new(steps, move || drop(block))
        .takes(1)
        .subject(hash, true)
}

/// Drops one of two guards. The other is dropped while the thread is about to do so.
fn release_late(block: ImmutableBlock<Gpu>) -> Plan {
    let other = block.clone();
    Plan::new(at![Unpinning, Unpinned], move || drop(block)).between(other)
}

/// Registers a hash whose block was cleared.
fn register_cleared(world: &Arc<World>, steps: Steps) -> Plan {
    let hash = world.fill()[CHAIN];
    let block = world.complete(hash);
    world.manager.clear_inactive_pool();
    let world = Arc::clone(world);
    Plan::new(steps, move || world.manager.register_block(block)).takes(1)
}

fn reset(world: &Arc<World>, steps: Steps) -> Plan {
    let (block, hash) = inactive(world);
    block.set_evict_on_reset(true);
    Plan::new(steps, move || drop(block))
        .takes(1)
        .subject(hash, false)
}

/// Allocates more blocks than the home shard has credits.
fn fold(world: &Arc<World>, steps: Steps) -> Plan {
    world.fill();
    let (world, all) = (Arc::clone(world), world.manager.available_blocks());
    // By the time the thread continues, blocks have been returned; but perhaps too late for it.
    Plan::new(steps, move || world.manager.allocate_blocks(all))
}

/// Returns credits while all shards are folded and the central balance is empty.
fn unfold(world: &Arc<World>, steps: Steps) -> Plan {
    let mut aside = world.take_all();
    let few = aside.split_off(aside.len() - 32);
    // The home shard is granted its part of the central balance once that is at least a credit.
    let returned = 2 * world.shards();
    Plan::new(steps, move || drop(few))
        .takes(32 - returned)
        .aside(aside)
}

fn handle(world: &Arc<World>, steps: Steps) -> Plan {
    world.fill();
    let hash = world.hash();
    let world = Arc::clone(world);
    Plan::new(steps, move || world.registry.register_sequence_hash(hash)).subject(hash, false)
}

fn drop_handle(world: &Arc<World>, steps: Steps) -> Plan {
    world.fill();
    let hash = world.hash();
    let handle = world.registry.register_sequence_hash(hash);
    Plan::new(steps, move || drop(handle)).subject(hash, false)
}

/// Registers hashes until one of them needs a new bucket.
fn mark(world: &Arc<World>, steps: Steps) -> Plan {
    let world = Arc::clone(world);
    Plan::new(steps, move || {
        world.registry.register_sequence_hashes(world.hashes(100))
    })
}
