//! A manager, and the threads that are suspended while they use it.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use crate::blocks::BlockDuplicationPolicy;
use crate::eviction::BuiltInPolicy;
use crate::manager::FrequencyTrackingCapacity;
use crate::registry::BlockRegistrationHandle;
use crate::sync::thread::index;
use crate::{BlockManager, BlockRegistry, ImmutableBlock, MutableBlock, SequenceHash};

use super::Step;
use super::gate::{Gate, PATIENCE};

/// The metadata type of the scenes' manager.
#[derive(Clone)]
pub(super) struct Gpu;

/// Anything that is dropped later.
pub(super) type Kept = Box<dyn Any + Send>;

/// The number of tokens per block.
const BLOCK_SIZE: usize = 16;
/// The number of blocks in a chain of hashes, each of which is the parent of the next.
pub(super) const CHAIN: usize = 4;

/// The configuration in which scenes are played.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) policy: BuiltInPolicy,
    pub(super) blocks: usize,
    pub(super) duplicates: BlockDuplicationPolicy,
}

impl Setting {
    pub(super) fn is_lineage(&self) -> bool {
        self.policy.is_leaf_first()
    }

    pub(super) fn allows_duplicates(&self) -> bool {
        self.duplicates == BlockDuplicationPolicy::Allow
    }
}

/// A manager with one active block.
pub(super) struct World {
    pub(super) setting: Setting,
    pub(super) manager: BlockManager<Gpu>,
    pub(super) registry: BlockRegistry,
    pub(super) active: ImmutableBlock<Gpu>,
    /// Ensures that the registry has an entry. Without any, evictions would skip the lookup.
    _handle: BlockRegistrationHandle,
    hashes: AtomicU64,
    /// Threads that a plan needs suspended in addition to its own.
    besides: Mutex<Vec<Suspended>>,
}

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let tracker = FrequencyTrackingCapacity::Small.create_tracker();
        let registry = BlockRegistry::builder().frequency_tracker(tracker).build();
        let builder = BlockManager::builder()
            .block_count(setting.blocks)
            .block_size(BLOCK_SIZE)
            .duplication_policy(setting.duplicates)
            .registry(registry.clone());
        let manager = builder.with_policy(setting.policy).build().unwrap();
        let hash = SequenceHash::new(1, None, 0);
        let block = manager.allocate_one().unwrap();
        let active = manager.register_block(block.stage(hash, BLOCK_SIZE).unwrap());
        Self {
            setting,
            _handle: registry.register_sequence_hash(SequenceHash::new(2, None, 0)),
            manager,
            registry,
            active,
            hashes: AtomicU64::new(3),
            besides: Mutex::default(),
        }
    }

    /// Returns the number of shards of the manager, computed as `StoreRef::new` does.
    pub(super) fn shards(&self) -> usize {
        if self.setting.blocks < 128 {
            return 1;
        }
        let cores = thread::available_parallelism().map_or(1, usize::from);
        cores.next_power_of_two().min(8)
    }

    /// Returns a hash that is used nowhere else.
    pub(super) fn hash(&self) -> SequenceHash {
        SequenceHash::new(self.hashes.fetch_add(1, Ordering::Relaxed), None, 0)
    }

    /// Returns new hashes, in chains.
    pub(super) fn hashes(&self, count: usize) -> Vec<SequenceHash> {
        let first = self.hashes.fetch_add(count as u64, Ordering::Relaxed);
        (0..count as u64)
            .map(|at| {
                let position = at % CHAIN as u64;
                let parent = (position > 0).then_some(first + at - 1);
                SequenceHash::new(first + at, parent, position)
            })
            .collect()
    }

    pub(super) fn take(&self, count: usize) -> Vec<MutableBlock<Gpu>> {
        let available = self.manager.available_blocks();
        self.manager
            .allocate_blocks(count)
            .unwrap_or_else(|| panic!("{count} refused with {available} available"))
    }

    pub(super) fn take_all(&self) -> Vec<MutableBlock<Gpu>> {
        self.take(self.manager.available_blocks())
    }

    pub(super) fn complete(&self, hash: SequenceHash) -> crate::CompleteBlock<Gpu> {
        let block = self.manager.allocate_one().expect("a block is available");
        block.stage(hash, BLOCK_SIZE).unwrap()
    }

    pub(super) fn register(&self, hash: SequenceHash) -> ImmutableBlock<Gpu> {
        self.manager.register_block(self.complete(hash))
    }

    pub(super) fn find(&self, hash: SequenceHash) -> ImmutableBlock<Gpu> {
        self.manager.match_one(hash).expect("it is registered")
    }

    /// Makes every available block registered and inactive. Returns their hashes in the order of
    /// release.
    pub(super) fn fill(&self) -> Vec<SequenceHash> {
        let blocks = self.take_all();
        let hashes = self.hashes(blocks.len());
        let blocks = blocks
            .into_iter()
            .zip(&hashes)
            .map(|(block, &hash)| block.stage(hash, BLOCK_SIZE).unwrap())
            .collect();
        drop(self.manager.register_blocks(blocks));
        hashes
    }

    /// Suspends a thread in addition to the one whose plan asks for it.
    pub(super) fn suspend_besides(
        self: &Arc<Self>,
        plan: impl Fn(&Arc<World>) -> Plan + Send + 'static,
    ) {
        let (suspended, _) = Suspended::new(self, plan);
        self.besides.lock().unwrap().push(suspended);
    }

    pub(super) fn take_besides(&self) -> Vec<Suspended> {
        std::mem::take(&mut self.besides.lock().unwrap())
    }

    /// Releases the active block after all suspended threads have finished. Checks that everything
    /// is in order and nothing is lost.
    pub(super) fn close(self) {
        drop(self.active);
        let blocks = self.setting.blocks;
        assert_eq!(self.manager.available_blocks(), blocks);
        let report = self.manager.audit().expect("the invariants hold");
        let there_are = report.free + report.forgotten + report.inactive;
        assert_eq!(there_are, blocks, "{report:?}");
        self.manager.reset_inactive_pool().expect("none is held");
        self.manager.audit().expect("the invariants hold");
        assert_eq!(self.manager.allocate_blocks(blocks).unwrap().len(), blocks);
        drop(self._handle);
        assert_eq!(self.registry.registered_count(), 0);
    }
}

/// The operation in which a thread is suspended.
pub(super) struct Plan {
    /// The steps at which it stops, one after the other. It stays at the last.
    pub(super) steps: &'static [Step],
    pub(super) run: Box<dyn FnOnce() -> Kept>,
    pub(super) scenery: Scenery,
}

/// What other threads need to know about a suspended thread, and what they must do.
pub(super) struct Scenery {
    /// Dropped by another thread at the first stop, if there is more than one.
    pub(super) between: Kept,
    /// Dropped by another thread on the same shard at the last stop.
    pub(super) aside: Kept,
    /// The number of blocks held and credits reserved at the last stop.
    pub(super) takes: usize,
    /// The hash that the thread is working on, and whether a match finds it.
    pub(super) subject: Option<(SequenceHash, bool)>,
}

impl Plan {
    pub(super) fn new<R: Send + 'static>(
        step: &'static [Step],
        run: impl FnOnce() -> R + 'static,
    ) -> Self {
        Self {
            steps: step,
            run: Box::new(|| Box::new(run())),
            scenery: Scenery {
                between: Box::new(()),
                aside: Box::new(()),
                takes: 0,
                subject: None,
            },
        }
    }

    pub(super) fn takes(mut self, blocks: usize) -> Self {
        self.scenery.takes = blocks;
        self
    }

    pub(super) fn between(mut self, kept: impl Any + Send) -> Self {
        self.scenery.between = Box::new(kept);
        self
    }

    pub(super) fn aside(mut self, kept: impl Any + Send) -> Self {
        self.scenery.aside = Box::new(kept);
        self
    }

    pub(super) fn subject(mut self, hash: SequenceHash, is_matched: bool) -> Self {
        self.scenery.subject = Some((hash, is_matched));
        self
    }
}

/// A thread that is suspended at its last step.
pub(super) struct Suspended {
    gate: Arc<Gate>,
    thread: Option<JoinHandle<()>>,
    /// The thread's number; see `sync::thread`.
    pub(super) index: usize,
}

impl Suspended {
    /// Starts a thread that carries out a plan, and waits until it is suspended.
    pub(super) fn new(
        world: &Arc<World>,
        plan: impl FnOnce(&Arc<World>) -> Plan + Send + 'static,
    ) -> (Self, Scenery) {
        let gate = Arc::new(Gate::default());
        let (send, receive) = mpsc::channel();
        let thread = thread::spawn({
            let (world, gate) = (Arc::clone(world), Arc::clone(&gate));
            move || {
                let plan = plan(&world);
                send.send((plan.scenery, plan.steps, index())).unwrap();
                gate.arm(plan.steps);
                let ended = Ended(&gate);
                let kept = (plan.run)();
                drop(ended);
                drop(kept);
            }
        });
        let (mut scenery, steps, index) = receive.recv().expect("the plan is carried out");
        for (nth, step) in (1..).zip(steps) {
            assert!(gate.wait_for_stop(nth), "{step:?} was not reached");
            if nth < steps.len() {
                scenery.between = Box::new(());
                gate.grant(nth);
            }
        }
        let thread = Some(thread);
        (
            Self {
                gate,
                thread,
                index,
            },
            scenery,
        )
    }

    /// Lets the thread continue.
    pub(super) fn resume(&self) {
        self.gate.grant(usize::MAX);
    }

    pub(super) fn is_done_within(&self, patience: std::time::Duration) -> bool {
        self.gate.wait_for_end(patience)
    }

    /// Lets the thread run to its end.
    pub(super) fn finish(mut self) {
        self.resume();
        assert!(self.is_done_within(PATIENCE), "it does not come to its end");
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        // A failed test must not leave a thread suspended.
        self.resume();
    }
}

/// Signals the end of an operation, even if it panics.
struct Ended<'a>(&'a Arc<Gate>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
