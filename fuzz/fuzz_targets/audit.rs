//! Whatever a single thread does with two tiers of one registry, the invariants hold after
//! every operation, and no block is lost or counted twice.
//!
//! Operations allocate, match and register in every way, with methods that return collections
//! and with those that fill caller-supplied buffers, over every policy and a user-defined
//! policy that may fail. They also use clones, weak guards, pins, leases, duplicates, reset
//! flags, retention directives, and handles with attachments. Managers are dropped while
//! guards are alive. After each operation, `BlockManager::audit` must pass, and its counts
//! must agree with the guards: `tier` is that model. At the end everything is dropped, which
//! must drop every attachment.
//!
//! Some of the hashes make the published crate panic; see `hashes`. When built for fuzzing,
//! the crate keeps only two bits of its keyed hashes, so that hashes collide in the tables.

#![no_main]

mod custom;
mod draw;
mod garbage;
mod hashes;
#[path = "../../tests/policy/mod.rs"]
mod policy;
mod tier;

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use kvbm_lockfree::blocks::BlockRegistrationHandle;
use kvbm_lockfree::tinylfu::TinyLFUTracker;
use kvbm_lockfree::{BlockRegistry, SequenceHash};
use libfuzzer_sys::fuzz_target;

use custom::Fault;
use draw::Draw;
use policy::OwnPolicy;
use tier::{Config, Op, Order, Tier};

const MAX_OPS: usize = 96;

/// The metadata type of the first tier.
#[derive(Clone)]
struct Device;

/// The metadata type of the second tier.
#[derive(Clone)]
struct Host;

#[derive(Debug)]
struct Case {
    first: Config,
    second: Config,
    ops: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    First(Op),
    Second(Op),
    Register { node: usize },
    Attach { pick: usize },
    DropHandle { pick: usize },
}

fuzz_target!(|case: Case| {
    let mut world = World::new(&case);
    for step in &case.ops {
        world.apply(step);
        world.check();
    }
    let World {
        registry,
        first,
        second,
        handles,
        attached,
        ..
    } = world;
    drop((first, handles, second));
    assert_eq!(registry.registered_count(), 0, "everything is dropped");
    assert_eq!(Arc::strong_count(&attached), 1, "an attachment is left");
    drop(registry);
    garbage::free();
});

struct World {
    hashes: Vec<SequenceHash>,
    registry: BlockRegistry,
    first: Tier<Device>,
    second: Tier<Host>,
    handles: Vec<BlockRegistrationHandle>,
    /// The value that attachments are clones of.
    attached: Arc<()>,
}

impl World {
    fn new(case: &Case) -> Self {
        let registry = BlockRegistry::builder()
            .frequency_tracker(Arc::new(TinyLFUTracker::new(16)))
            .build();
        World {
            hashes: hashes::hashes(),
            first: Tier::new(&case.first, &registry),
            second: Tier::new(&case.second, &registry),
            registry,
            handles: Vec::new(),
            attached: Arc::default(),
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::First(ref op) => self.first.apply(op, &self.hashes, &mut self.handles),
            Step::Second(ref op) => self.second.apply(op, &self.hashes, &mut self.handles),
            Step::Register { node } => {
                let hash = self.hashes[node % self.hashes.len()];
                self.handles
                    .push(self.registry.register_sequence_hash(hash));
            }
            Step::Attach { pick } => {
                if let Some(handle) = tier::pick(&self.handles, pick) {
                    let value = Arc::clone(&self.attached);
                    handle.attach(value).expect("never attached as unique");
                }
            }
            Step::DropHandle { pick } => drop(tier::take(&mut self.handles, pick)),
        }
    }

    fn check(&self) {
        self.first.check();
        self.second.check();
        let mut registered = 0;
        for &hash in &self.hashes {
            let has_handle = self.handles.iter().any(|handle| handle.seq_hash() == hash);
            let present = self.registry.check_presence::<Device>(&[hash])[0].1
                || self.registry.check_presence::<Host>(&[hash])[0].1;
            let is_referred = self.first.refers_to(hash) || self.second.refers_to(hash);
            let is_registered = self.registry.is_registered(hash);
            assert_eq!(is_registered, has_handle || present || is_referred);
            registered += usize::from(is_registered);
            assert!(present || !(self.first.holds(hash) || self.second.holds(hash)));
        }
        assert_eq!(self.registry.registered_count(), registered);
    }
}

impl<'b> Arbitrary<'b> for Case {
    fn arbitrary(bytes: &mut Unstructured<'b>) -> arbitrary::Result<Self> {
        let mut draw = Draw(bytes);
        Ok(Case {
            first: config(&mut draw),
            second: config(&mut draw),
            ops: draw.rest(MAX_OPS, step),
        })
    }
}

fn config(draw: &mut Draw) -> Config {
    Config {
        policy: order(draw),
        block_count: 1 + draw.below(8),
        allow_duplicates: draw.once_in(2),
        reset_on_release: draw.once_in(4),
    }
}

/// Draws an order. The first policies keep their numbers, so that existing inputs keep their
/// meaning.
fn order(draw: &mut Draw) -> Order {
    let policy = draw.below(OwnPolicy::all().count() + 3);
    match OwnPolicy::all().nth(policy) {
        Some(policy) => Order::Own(policy),
        None => {
            let faults = [
                Fault::None,
                Fault::Nothing,
                Fault::Stranger,
                Fault::OutOfRange,
            ];
            Order::Custom(draw.one_of(&faults), draw.below(4))
        }
    }
}

fn step(draw: &mut Draw) -> Step {
    match draw.below(16) {
        0..=7 => Step::First(tier::op(draw)),
        8..=11 => Step::Second(tier::op(draw)),
        12 => Step::Register {
            node: draw.below(16),
        },
        13 => Step::Attach {
            pick: draw.below(16),
        },
        _ => Step::DropHandle {
            pick: draw.below(16),
        },
    }
}
