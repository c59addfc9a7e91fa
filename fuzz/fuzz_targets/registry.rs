//! A registry behaves like a map from hashes to reference-counted handles, even if hashes
//! collide in its table.
//!
//! Handles are registered, looked up, cloned and dropped; values and callbacks are attached to
//! them; and a manager's blocks come and go under the same hashes. After each operation,
//! everything that the registry reports must agree with the model: what is registered, what is
//! present, how often it was touched, and what is attached. Attachments and callbacks must
//! live exactly as long as their hash is registered.
//!
//! When built for fuzzing, the crate keeps only two bits of its keyed hashes. The twelve
//! hashes thus have four keyed values and share buckets, in which they are distinguished by
//! the hash itself.

#![no_main]

mod draw;
mod garbage;
mod hashes;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arbitrary::{Arbitrary, Unstructured};
use kvbm_lockfree::blocks::{BlockDuplicationPolicy, BlockRegistrationHandle};
use kvbm_lockfree::tinylfu::FrequencyTracker;
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash, WeakBlock};
use libfuzzer_sys::fuzz_target;

use draw::Draw;

const MAX_OPS: usize = 96;
const NODES: usize = 12;

/// The metadata type of the only tier.
#[derive(Clone)]
struct Device;

/// A metadata type that no tier has.
#[derive(Clone)]
struct Host;

/// Picks are taken modulo the number of choices.
#[derive(Debug)]
enum Op {
    Register {
        nodes: Vec<usize>,
    },
    Lookup {
        node: usize,
        touch: bool,
        hold: bool,
    },
    Touch {
        node: usize,
    },
    CloneHandle {
        pick: usize,
    },
    DropHandle {
        pick: usize,
    },
    DropHandles,
    Attach {
        pick: usize,
        unique: bool,
        kind: Kind,
    },
    Change {
        pick: usize,
        kind: Kind,
    },
    OnTouch {
        pick: usize,
    },
    FireTouch {
        pick: usize,
    },
    Publish {
        node: usize,
    },
    Fetch {
        node: usize,
    },
    DropBlock {
        pick: usize,
    },
    TakeHandle {
        pick: usize,
    },
    Downgrade {
        pick: usize,
    },
    DropWeak {
        pick: usize,
    },
    Evict,
    DropManager,
}

/// One of the two attached types.
#[derive(Debug, Clone, Copy)]
enum Kind {
    A,
    B,
}

#[derive(Debug)]
struct Case {
    ops: Vec<Op>,
}

fuzz_target!(|case: Case| {
    let mut world = World::new();
    for op in &case.ops {
        world.apply(op);
        world.settle();
        world.check();
    }
    drop(world);
    garbage::free();
});

/// A value of one of the attached types, which counts how many exist.
struct Value<const KIND: usize> {
    number: usize,
    alive: Arc<AtomicUsize>,
}

impl<const KIND: usize> Value<KIND> {
    fn new(number: usize, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Relaxed);
        Value {
            number,
            alive: Arc::clone(alive),
        }
    }
}

impl<const KIND: usize> Drop for Value<KIND> {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

/// Records every touch.
#[derive(Default)]
struct Touches(Mutex<Vec<u128>>);

impl FrequencyTracker<u128> for Touches {
    fn touch(&self, key: u128) {
        self.0.lock().unwrap().push(key);
    }

    fn count(&self, key: u128) -> u32 {
        let touches = self.0.lock().unwrap();
        touches.iter().filter(|&&touch| touch == key).count() as u32
    }
}

/// The model of a type's attachments, whose kind is fixed by the first one.
#[derive(Clone, Default)]
enum Attached {
    #[default]
    Nothing,
    Unique(usize),
    Multiple(Vec<usize>),
}

impl Attached {
    fn len(&self) -> usize {
        match self {
            Attached::Nothing => 0,
            Attached::Unique(_) => 1,
            Attached::Multiple(values) => values.len(),
        }
    }
}

/// The model of what a registered hash carries.
#[derive(Clone, Default)]
struct Carried {
    attached: [Attached; 2],
    callbacks: Vec<usize>,
}

/// A registry with a manager, the guards and handles taken from them, and the model.
struct World {
    hashes: Vec<SequenceHash>,
    registry: BlockRegistry,
    manager: Option<BlockManager<Device>>,
    handles: Vec<BlockRegistrationHandle>,
    blocks: Vec<ImmutableBlock<Device>>,
    weak: Vec<WeakBlock<Device>>,
    /// The callbacks that ran, with their arguments.
    called: Arc<Mutex<Vec<(usize, SequenceHash)>>>,
    /// The values and callbacks that exist, by node.
    alive: Vec<Arc<AtomicUsize>>,
    /// The number of the next value or callback.
    next: usize,
    /// Model: whether the tier holds the node's hash.
    present: [bool; NODES],
    /// Model: how often the node's hash was touched.
    touched: [u32; NODES],
    /// Model: what the node's hash carries.
    carried: Vec<Carried>,
}

impl World {
    fn new() -> Self {
        let hashes = hashes::hashes();
        assert_eq!(hashes.len(), NODES);
        let registry = BlockRegistry::builder()
            .frequency_tracker(Arc::new(Touches::default()))
            .build();
        // One block more than there are hashes: nothing is ever evicted, so the model needs no
        // policy.
        let manager = BlockManager::builder()
            .block_count(NODES + 1)
            .registry(registry.clone())
            .duplication_policy(BlockDuplicationPolicy::Reject)
            .build()
            .expect("the configuration is valid");
        World {
            hashes,
            registry,
            manager: Some(manager),
            handles: Vec::new(),
            blocks: Vec::new(),
            weak: Vec::new(),
            called: Arc::default(),
            alive: (0..NODES).map(|_| Arc::default()).collect(),
            next: 0,
            present: [false; NODES],
            touched: [0; NODES],
            carried: vec![Carried::default(); NODES],
        }
    }

    fn node(&self, hash: SequenceHash) -> usize {
        let at = self.hashes.iter().position(|&other| other == hash);
        at.expect("one of the hashes")
    }

    fn is_held(&self, hash: SequenceHash) -> bool {
        self.handles.iter().any(|handle| handle.seq_hash() == hash)
            || self.weak.iter().any(|weak| weak.sequence_hash() == hash)
    }

    fn is_registered(&self, node: usize) -> bool {
        self.present[node] || self.is_held(self.hashes[node])
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Register { ref nodes } => self.register(nodes),
            Op::Lookup { node, touch, hold } => {
                let hash = self.hashes[node];
                let found = self.registry.match_sequence_hash(hash, touch);
                assert_eq!(found.is_some(), self.is_registered(node));
                self.touched[node] += u32::from(touch && found.is_some());
                if hold {
                    self.handles.extend(found);
                }
            }
            Op::Touch { node } => {
                self.registry.touch(self.hashes[node]);
                self.touched[node] += 1;
            }
            Op::CloneHandle { pick: at } => self.handles.extend(pick(&self.handles, at).cloned()),
            Op::DropHandle { pick } => drop(take(&mut self.handles, pick)),
            Op::DropHandles => self.handles.clear(),
            Op::Attach { pick, unique, kind } => match kind {
                Kind::A => self.attach::<0>(pick, unique),
                Kind::B => self.attach::<1>(pick, unique),
            },
            Op::Change { pick, kind } => match kind {
                Kind::A => self.change::<0>(pick),
                Kind::B => self.change::<1>(pick),
            },
            Op::OnTouch { pick } => self.on_touch(pick),
            Op::FireTouch { pick: at } => {
                if let Some(handle) = pick(&self.handles, at) {
                    handle.touch();
                    let hash = handle.seq_hash();
                    let callbacks = self.carried[self.node(hash)].callbacks.iter();
                    let called = std::mem::take(&mut *self.called.lock().unwrap());
                    assert!(
                        called
                            .into_iter()
                            .eq(callbacks.map(|&number| (number, hash)))
                    );
                }
            }
            Op::Publish { node } => self.publish(node),
            Op::Fetch { node } => {
                if let Some(manager) = &self.manager {
                    let found = manager.match_one(self.hashes[node]);
                    assert_eq!(found.is_some(), self.present[node]);
                    self.touched[node] += u32::from(found.is_some());
                    self.blocks.extend(found);
                }
            }
            Op::DropBlock { pick } => drop(take(&mut self.blocks, pick)),
            Op::TakeHandle { pick: at } => {
                let handle = pick(&self.blocks, at).map(ImmutableBlock::registration_handle);
                self.handles.extend(handle);
            }
            Op::Downgrade { pick: at } => {
                let weak = pick(&self.blocks, at).map(ImmutableBlock::downgrade);
                self.weak.extend(weak);
            }
            Op::DropWeak { pick } => drop(take(&mut self.weak, pick)),
            Op::Evict => {
                if let Some(manager) = &self.manager {
                    assert_eq!(
                        manager.reset_inactive_pool().is_ok(),
                        self.blocks.is_empty()
                    );
                    self.present = [false; NODES];
                    for block in &self.blocks {
                        self.present[self.node(block.sequence_hash())] = true;
                    }
                }
            }
            Op::DropManager => self.manager = None,
        }
    }

    fn register(&mut self, nodes: &[usize]) {
        let hashes = nodes.iter().map(|&node| self.hashes[node]);
        let handles = self.registry.register_sequence_hashes(hashes);
        for (&node, handle) in nodes.iter().zip(handles) {
            assert_eq!(handle.seq_hash(), self.hashes[node]);
            self.touched[node] += u32::from(!self.is_registered(node));
            self.handles.push(handle);
        }
    }

    fn attach<const KIND: usize>(&mut self, at: usize, unique: bool) {
        let Some(handle) = pick(&self.handles, at) else {
            return;
        };
        let node = self.node(handle.seq_hash());
        let value = Value::<KIND>::new(self.next, &self.alive[node]);
        let attached = &mut self.carried[node].attached[KIND];
        if unique {
            let accepted = handle.attach_unique(value).is_ok();
            assert_eq!(accepted, !matches!(attached, Attached::Multiple(_)));
            if accepted {
                *attached = Attached::Unique(self.next);
            }
        } else {
            let accepted = handle.attach(value).is_ok();
            assert_eq!(accepted, !matches!(attached, Attached::Unique(_)));
            match attached {
                Attached::Nothing => *attached = Attached::Multiple(vec![self.next]),
                Attached::Unique(_) => {}
                Attached::Multiple(values) => values.push(self.next),
            }
        }
        self.next += 1;
    }

    /// Increments every value of a type.
    fn change<const KIND: usize>(&mut self, at: usize) {
        let Some(handle) = pick(&self.handles, at) else {
            return;
        };
        handle
            .get::<Value<KIND>>()
            .with_all_mut(|unique, multiple| {
                unique.into_iter().for_each(|value| value.number += 1);
                multiple.iter_mut().for_each(|value| value.number += 1);
            });
        let node = self.node(handle.seq_hash());
        match &mut self.carried[node].attached[KIND] {
            Attached::Nothing => {}
            Attached::Unique(number) => *number += 1,
            Attached::Multiple(numbers) => numbers.iter_mut().for_each(|number| *number += 1),
        }
    }

    fn on_touch(&mut self, at: usize) {
        let Some(handle) = pick(&self.handles, at) else {
            return;
        };
        let node = self.node(handle.seq_hash());
        let called = Arc::clone(&self.called);
        let value = Value::<2>::new(self.next, &self.alive[node]);
        handle.on_touch(Arc::new(move |hash| {
            // Captures the entire value: the closure must own it, not only its number.
            let value = &value;
            called.lock().unwrap().push((value.number, hash));
        }));
        self.carried[node].callbacks.push(self.next);
        self.next += 1;
    }

    /// Registers a block. If the hash already has one, that one is returned.
    fn publish(&mut self, node: usize) {
        let Some(manager) = &self.manager else {
            return;
        };
        let block = manager.allocate_one().expect("a block for every hash");
        let size = block.block_size();
        let block = block.stage(self.hashes[node], size).expect("of this size");
        self.touched[node] += u32::from(!self.is_registered(node));
        self.blocks.push(manager.register_block(block));
        self.present[node] = true;
    }

    /// Removes from the model what no longer exists.
    fn settle(&mut self) {
        let is_gone = self.manager.is_none() && self.blocks.is_empty() && self.weak.is_empty();
        if is_gone {
            self.present = [false; NODES];
        }
        for node in 0..NODES {
            if !self.is_registered(node) {
                self.carried[node] = Carried::default();
            }
        }
    }

    fn check(&self) {
        let present = self.registry.check_presence::<Device>(&self.hashes);
        let absent = self.registry.check_presence::<Host>(&self.hashes);
        for (node, &hash) in self.hashes.iter().enumerate() {
            let is_registered = self.is_registered(node);
            assert_eq!(self.registry.is_registered(hash), is_registered);
            assert_eq!(present[node], (hash, self.present[node]));
            assert_eq!(absent[node], (hash, false));
            assert_eq!(self.registry.count(hash), self.touched[node]);
            let carried = &self.carried[node];
            let alive = carried.attached.iter().map(Attached::len).sum::<usize>();
            let alive = alive + carried.callbacks.len();
            assert_eq!(self.alive[node].load(Relaxed), alive);
        }
        let registered = (0..NODES).filter(|&node| self.is_registered(node));
        assert_eq!(self.registry.registered_count(), registered.count());
        for handle in &self.handles {
            let node = self.node(handle.seq_hash());
            assert_eq!(handle.has_block::<Device>(), self.present[node]);
            assert!(handle.is_from_registry(&self.registry));
            check_attached::<0>(handle, &self.carried[node].attached[0]);
            check_attached::<1>(handle, &self.carried[node].attached[1]);
        }
    }
}

fn check_attached<const KIND: usize>(handle: &BlockRegistrationHandle, model: &Attached) {
    handle.get::<Value<KIND>>().with_all(|unique, multiple| {
        let unique = unique.map(|value| value.number);
        let multiple: Vec<_> = multiple.iter().map(|value| value.number).collect();
        match model {
            Attached::Nothing => assert!(unique.is_none() && multiple.is_empty()),
            Attached::Unique(number) => {
                assert_eq!(unique, Some(*number));
                assert!(multiple.is_empty());
            }
            Attached::Multiple(numbers) => {
                assert_eq!(unique, None);
                assert_eq!(&multiple, numbers);
            }
        }
    });
}

fn pick<G>(guards: &[G], pick: usize) -> Option<&G> {
    guards.get(pick % guards.len().max(1))
}

fn take<G>(guards: &mut Vec<G>, pick: usize) -> Option<G> {
    (!guards.is_empty()).then(|| guards.remove(pick % guards.len()))
}

impl<'b> Arbitrary<'b> for Case {
    fn arbitrary(bytes: &mut Unstructured<'b>) -> arbitrary::Result<Self> {
        Ok(Case {
            ops: Draw(bytes).rest(MAX_OPS, op),
        })
    }
}

fn op(draw: &mut Draw) -> Op {
    let node = |draw: &mut Draw| draw.below(NODES);
    let pick = |draw: &mut Draw| draw.below(16);
    let kind = |draw: &mut Draw| draw.one_of(&[Kind::A, Kind::B]);
    match draw.below(24) {
        0 | 1 => Op::Register {
            nodes: draw.several(5, node),
        },
        2 | 3 => Op::Lookup {
            node: node(draw),
            touch: draw.once_in(2),
            hold: draw.once_in(2),
        },
        4 => Op::Touch { node: node(draw) },
        5 => Op::CloneHandle { pick: pick(draw) },
        6..=8 => Op::DropHandle { pick: pick(draw) },
        9 => Op::DropHandles,
        10 | 11 => Op::Attach {
            pick: pick(draw),
            unique: draw.once_in(2),
            kind: kind(draw),
        },
        12 => Op::Change {
            pick: pick(draw),
            kind: kind(draw),
        },
        13 => Op::OnTouch { pick: pick(draw) },
        14 => Op::FireTouch { pick: pick(draw) },
        15 | 16 => Op::Publish { node: node(draw) },
        17 => Op::Fetch { node: node(draw) },
        18 | 19 => Op::DropBlock { pick: pick(draw) },
        20 => Op::TakeHandle { pick: pick(draw) },
        21 => Op::Downgrade { pick: pick(draw) },
        22 => Op::DropWeak { pick: pick(draw) },
        _ if draw.once_in(4) => Op::DropManager,
        _ => Op::Evict,
    }
}
