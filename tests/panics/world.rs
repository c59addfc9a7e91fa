//! One or two managers with user code everywhere it can be.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use kvbm_lockfree::blocks::{BlockDuplicationPolicy, BlockRegistrationHandle};
use kvbm_lockfree::events::EventsManager;
use kvbm_lockfree::leases::Lease;
use kvbm_lockfree::manager::BlockManagerConfigBuilder;
use kvbm_lockfree::metrics::BlockPoolMetrics;
use kvbm_lockfree::{
    BlockManager, BlockMetadata, BlockRegistry, CompleteBlock, ImmutableBlock, LifecyclePinRef,
    MutableBlock, SequenceHash, WeakBlock,
};

use crate::fuse::Fuse;
use crate::ledger::{Ledger, Other, Owner, Value};
use crate::mirror::Mirror;
use crate::operation::Operation;
use crate::place::Place;
use crate::user::{BatchTracker, Emission, Lru, Tracker, Wired};

/// More hashes than are touched together.
pub const BLOCKS: u64 = 40;
pub const BLOCK_SIZE: usize = 16;
/// The numbers of the hashes that operations use.
pub const HASHES: u64 = 160;

#[derive(Clone)]
pub struct Gpu;
#[derive(Clone)]
pub struct Disk;

/// The managers on the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiers {
    One,
    /// A second one without blocks.
    Two,
    /// A second one that has some of the first one's contents.
    TwoThatShare,
}

/// Returns hash number `n`. The hashes form sequences of four blocks.
pub fn hash(n: u64) -> SequenceHash {
    let position = n % 4;
    SequenceHash::new(1 + n, (position > 0).then_some(n), position)
}

pub fn hashes(numbers: Range<u64>) -> Vec<SequenceHash> {
    numbers.map(hash).collect()
}

/// What exists while an operation runs: what it may use, and where it stores its results.
pub struct World {
    place: Place,
    tiers: Tiers,
    low: usize,
    duplication: BlockDuplicationPolicy,
    pub reset_on_release: bool,
    pub fuse: Arc<Fuse>,
    pub ledger: Arc<Ledger>,
    spared: Arc<Mutex<BTreeSet<u128>>>,
    pub events: Option<Arc<EventsManager>>,
    pub mirror: Option<Mirror>,
    pub registry: Option<BlockRegistry>,
    pub manager: Option<BlockManager<Gpu>>,
    pub second: Option<BlockManager<Disk>>,
    pub metrics: Arc<BlockPoolMetrics>,
    pub mutable: Vec<MutableBlock<Gpu>>,
    pub complete: Vec<CompleteBlock<Gpu>>,
    pub immutable: Vec<ImmutableBlock<Gpu>>,
    pub pins: Vec<LifecyclePinRef>,
    pub weak: Vec<WeakBlock<Gpu>>,
    pub handles: Vec<BlockRegistrationHandle>,
    pub leases: Vec<Lease<Gpu>>,
    pub evicted: Vec<SequenceHash>,
    /// The results of the operation other than blocks.
    pub said: Vec<String>,
}

impl World {
    pub fn new(
        place: Place,
        operation: &Operation,
        tiers: Tiers,
        events: bool,
        fuse: Arc<Fuse>,
    ) -> Self {
        let ledger = Arc::new(Ledger::default());
        let spared = Arc::default();
        let life = |owner, at| Value::new(owner, &ledger, (place == at).then_some(&fuse));
        let wired = || Wired {
            place,
            fuse: Arc::clone(&fuse),
        };

        let events = events.then(|| {
            let emission = Emission {
                wired: wired(),
                spared: Arc::clone(&spared),
                _life: life(Owner::Emission, Place::EmissionDrop),
            };
            let events = EventsManager::builder()
                .policy(Arc::new(emission))
                .channel_capacity(1 << 12)
                .build();
            Arc::new(events)
        });
        let mirror = events.as_deref().map(Mirror::new);

        let mut builder = BlockRegistry::builder();
        if place.is_of_tracker() {
            let tracker = Tracker {
                wired: wired(),
                counts: Mutex::default(),
                _life: life(Owner::Tracker, Place::TrackerDrop),
            };
            builder = match place {
                Place::TrackerTouchAll => {
                    builder.frequency_tracker(Arc::new(BatchTracker(tracker)))
                }
                _ => builder.frequency_tracker(Arc::new(tracker)),
            };
        }
        if let Some(events) = &events {
            builder = builder.event_manager(Arc::clone(events));
        }
        let registry = builder.build();

        let mut world = Self {
            place,
            tiers,
            low: operation.low,
            duplication: operation.duplication,
            reset_on_release: operation.reset_on_release,
            fuse,
            ledger,
            spared,
            events,
            mirror,
            manager: None,
            second: (tiers != Tiers::One).then(|| {
                let builder = builder_on(&registry, BlockDuplicationPolicy::Allow);
                builder.with_lru_backend().build().expect("it is valid")
            }),
            registry: Some(registry),
            metrics: Arc::new(BlockPoolMetrics::new(String::new())),
            mutable: Vec::new(),
            complete: Vec::new(),
            immutable: Vec::new(),
            pins: Vec::new(),
            weak: Vec::new(),
            handles: Vec::new(),
            leases: Vec::new(),
            evicted: Vec::new(),
            said: Vec::new(),
        };
        let manager = world.builder().build().expect("it is valid");
        world.metrics = Arc::clone(manager.metrics());
        world.manager = Some(manager);
        world
    }

    /// Returns a builder of a manager with user code at the place under test.
    pub fn builder(&self) -> BlockManagerConfigBuilder<Gpu> {
        let place = self.place;
        let registry = self.registry.as_ref().expect("there is a registry");
        let builder = builder_on(registry, self.duplication)
            .with_default_reset_on_release(self.reset_on_release);
        let life = |owner, at| Value::new(owner, &self.ledger, (place == at).then_some(&self.fuse));
        let builder = if place.is_of_policy() || place == Place::CallbackState {
            builder.with_eviction_policy(Lru {
                wired: Wired {
                    place,
                    fuse: Arc::clone(&self.fuse),
                },
                order: BTreeMap::new(),
                releases: HashMap::new(),
                last: 0,
                // The drop of `Lru` itself calls the fuse.
                _life: Value::new(Owner::Policy, &self.ledger, None),
            })
        } else if place.is_of_tracker() {
            builder.with_multi_lru_backend()
        } else if matches!(place, Place::Attachments | Place::LowCall) {
            builder.with_lineage_backend()
        } else {
            builder.with_lru_backend()
        };
        if !matches!(place, Place::LowCall | Place::LowDrop) {
            return builder;
        }
        let captured = life(Owner::Low, Place::LowDrop);
        let fuse = Arc::clone(&self.fuse);
        builder.with_low_watermark(self.low, move |_low| {
            let _captured = &captured;
            if place == Place::LowCall {
                fuse.call();
            }
        })
    }

    pub fn manager(&self) -> &BlockManager<Gpu> {
        self.manager.as_ref().expect("there is a manager")
    }

    pub fn registry(&self) -> &BlockRegistry {
        self.registry.as_ref().expect("there is a registry")
    }

    /// The hashes whose registrations emit no events because the policy panicked.
    pub fn spared(&self) -> BTreeSet<u128> {
        self.spared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns the user's fuse if the code under test is at this place.
    fn fuse_of(&self, places: &[Place]) -> Option<&Arc<Fuse>> {
        places.contains(&self.place).then_some(&self.fuse)
    }

    /// Attaches values and callbacks to a hash, at least one of which has its drops counted.
    fn furnish(&self, handle: &BlockRegistrationHandle) {
        let owner = Owner::Hash(handle.seq_hash().as_u128());
        let fuse = self.fuse_of(&[
            Place::UniqueAttachment,
            Place::Attachment,
            Place::Attachments,
            Place::CallbackState,
        ]);
        let value = || Value::new(owner, &self.ledger, fuse);
        let attached = match self.place {
            Place::Attachment => handle.attach(value()),
            Place::Attachments => (0..3)
                .try_for_each(|_| handle.attach(value()))
                .and_then(|()| handle.attach_unique(Other::new(value()))),
            Place::CallbackState => {
                let captured = value();
                handle.on_touch(Arc::new(move |_| {
                    let _captured = &captured;
                }));
                Ok(())
            }
            _ => handle.attach_unique(value()),
        };
        attached.expect("nothing else is attached");
        if self.place == Place::TouchCallback {
            for _ in 0..3 {
                let fuse = Arc::clone(&self.fuse);
                handle.on_touch(Arc::new(move |_| fuse.call()));
            }
        }
    }

    fn further_value(&self, handle: &BlockRegistrationHandle) -> Value {
        let owner = Owner::Hash(handle.seq_hash().as_u128());
        let places = [
            Place::UniqueAttachment,
            Place::Attachment,
            Place::Attachments,
        ];
        Value::new(owner, &self.ledger, self.fuse_of(&places))
    }

    /// Replaces the unique attachment.
    pub fn replace(&self, handle: &BlockRegistrationHandle) -> bool {
        let value = self.further_value(handle);
        match self.place {
            Place::Attachment | Place::Attachments => {
                handle.attach_unique(Other::new(value)).is_ok()
            }
            _ => handle.attach_unique(value).is_ok(),
        }
    }

    /// Attaches a value in a way that is refused.
    pub fn be_refused(&self, handle: &BlockRegistrationHandle) -> bool {
        let value = self.further_value(handle);
        match self.place {
            Place::Attachment | Place::Attachments => handle.attach_unique(value).is_ok(),
            _ => handle.attach(value).is_ok(),
        }
    }

    /// Returns blocks with these contents, ready to be registered.
    pub fn stage(&self, numbers: Range<u64>) -> Vec<CompleteBlock<Gpu>> {
        stage(self.manager(), numbers)
    }

    /// Returns such blocks after attaching values to their hashes.
    pub fn register(&self, numbers: Range<u64>) -> Vec<ImmutableBlock<Gpu>> {
        let blocks = register_in(self.manager(), numbers);
        for block in &blocks {
            self.furnish(&block.registration_handle());
        }
        let shares = self.tiers == Tiers::TwoThatShare;
        if let Some(second) = self.second.as_ref().filter(|_| shares) {
            for block in &blocks {
                let n = block.sequence_hash().as_u128();
                let shared = (0..HASHES).find(|&m| hash(m).as_u128() == n && m % 8 >= 4);
                if let Some(n) = shared {
                    drop(register_in(second, n..n + 1));
                }
            }
        }
        blocks
    }

    pub fn second(&self) -> &BlockManager<Disk> {
        self.second.as_ref().expect("there is a second tier")
    }

    /// Caches these contents in the second tier only, with values attached.
    pub fn cache_in_second(&self, numbers: Range<u64>) {
        for block in register_in(self.second(), numbers) {
            self.furnish(&block.registration_handle());
        }
    }

    /// Registers and caches these contents in the second tier.
    pub fn cache_again_in_second(&self, numbers: Range<u64>) {
        drop(register_in(self.second(), numbers));
    }

    /// Caches these contents, so that their blocks are inactive.
    pub fn cache(&self, numbers: Range<u64>) {
        drop(self.register(numbers));
    }

    /// Returns a handle to a hash without blocks, with values attached.
    pub fn handle(&self, n: u64) -> BlockRegistrationHandle {
        let handle = self.registry().register_sequence_hash(hash(n));
        self.furnish(&handle);
        handle
    }

    /// Returns whether the eviction order depends on whether there was a panic.
    pub fn goes_by_panics(&self) -> bool {
        self.place.is_of_policy() || self.place.is_of_tracker()
    }

    /// Returns whether the eviction order changes after a panic.
    pub fn goes_by_faults(&self) -> bool {
        self.place.ends_the_policy()
    }

    pub fn say(&mut self, what: impl std::fmt::Debug) {
        self.said.push(format!("{what:?}"));
    }

    /// Drops what operations have returned, and what they were to use.
    pub fn let_go(&mut self) {
        self.mutable.clear();
        self.complete.clear();
        self.immutable.clear();
        self.pins.clear();
        self.weak.clear();
        self.handles.clear();
        self.leases.clear();
    }
}

fn builder_on<T: BlockMetadata>(
    registry: &BlockRegistry,
    duplication: BlockDuplicationPolicy,
) -> BlockManagerConfigBuilder<T> {
    BlockManager::builder()
        .block_count(BLOCKS as usize)
        .block_size(BLOCK_SIZE)
        .registry(registry.clone())
        .duplication_policy(duplication)
}

fn stage<T: BlockMetadata>(
    manager: &BlockManager<T>,
    numbers: Range<u64>,
) -> Vec<CompleteBlock<T>> {
    let count = (numbers.end - numbers.start) as usize;
    let blocks = manager.allocate_blocks(count).expect("there are as many");
    let stage = |(block, n): (MutableBlock<T>, u64)| {
        block.stage(hash(n), BLOCK_SIZE).expect("of this size")
    };
    blocks.into_iter().zip(numbers).map(stage).collect()
}

fn register_in<T: BlockMetadata>(
    manager: &BlockManager<T>,
    numbers: Range<u64>,
) -> Vec<ImmutableBlock<T>> {
    manager.register_blocks(stage(manager, numbers))
}
