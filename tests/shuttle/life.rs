//! One run: its threads, their operations, and what must hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::tinylfu::TinyLFUTracker;
use kvbm_lockfree::{
    BlockManager, BlockMetadata, BlockRegistry, CompleteBlock, ImmutableBlock, LifecyclePinRef,
    MutableBlock, SequenceHash, WeakBlock,
};
use shuttle::thread;

use crate::policy::{Policy, with_policy};
use crate::rng::Rng;

const BLOCKS: usize = 4;
const THREADS: u64 = 3;
const OPERATIONS: usize = 8;

#[derive(Clone)]
struct Memory;

#[derive(Clone)]
struct Disk;

/// A pool with a record of each block's owner, readers and content. The record uses standard
/// atomics, which are no scheduling points.
struct Tier<T: BlockMetadata> {
    manager: BlockManager<T>,
    owned: Vec<AtomicU64>,
    read: Vec<AtomicU64>,
    content: Vec<AtomicU64>,
}

impl<T: BlockMetadata> Tier<T> {
    fn new(policy: Policy, duplication: BlockDuplicationPolicy, registry: &BlockRegistry) -> Self {
        let builder = BlockManager::builder()
            .block_count(BLOCKS)
            .block_size(1)
            .duplication_policy(duplication)
            .registry(registry.clone());
        let manager = with_policy!(kvbm_lockfree, builder, policy).build();
        let zeros = || (0..BLOCKS).map(|_| AtomicU64::new(0)).collect();
        Tier {
            manager: manager.expect("the configuration is valid"),
            owned: zeros(),
            read: zeros(),
            content: zeros(),
        }
    }

    fn claim(&self, block: &MutableBlock<T>) {
        let id = block.block_id();
        assert_eq!(self.owned[id].swap(1, Relaxed), 0, "block {id} is owned");
        assert_eq!(self.read[id].load(Relaxed), 0, "block {id} is read");
    }

    fn give_up(&self, id: usize) {
        assert_eq!(self.owned[id].swap(0, Relaxed), 1, "block {id} was lost");
    }

    fn begin(&self, id: usize, hash: SequenceHash) {
        self.read[id].fetch_add(1, Relaxed);
        self.check(id, hash);
    }

    fn check(&self, id: usize, hash: SequenceHash) {
        assert_eq!(self.owned[id].load(Relaxed), 0, "block {id} is owned");
        let found = self.content[id].load(Relaxed);
        assert_eq!(found, stamp(hash), "block {id} does not hold {hash:?}");
    }

    fn end(&self, id: usize, hash: SequenceHash) {
        self.check(id, hash);
        self.read[id].fetch_sub(1, Relaxed);
    }

    /// Checks a pool of which nothing is held while no thread is running.
    fn assert_whole(&self) {
        self.manager.audit().expect("the pool is consistent");
        assert_eq!(self.manager.available_blocks(), BLOCKS);
        let all = self.manager.allocate_blocks(BLOCKS).expect("all are there");
        drop(all);
        self.manager.audit().expect("the pool is consistent");
    }
}

fn stamp(hash: SequenceHash) -> u64 {
    let bits = hash.as_u128();
    (bits as u64 ^ (bits >> 64) as u64) | 1
}

/// What one thread holds of one tier.
struct Held<T: BlockMetadata> {
    tier: Arc<Tier<T>>,
    mutable: Vec<MutableBlock<T>>,
    complete: Vec<CompleteBlock<T>>,
    immutable: Vec<ImmutableBlock<T>>,
    pins: Vec<LifecyclePinRef>,
    weak: Vec<WeakBlock<T>>,
}

impl<T: BlockMetadata> Held<T> {
    fn new(tier: Arc<Tier<T>>) -> Self {
        Held {
            tier,
            mutable: Vec::new(),
            complete: Vec::new(),
            immutable: Vec::new(),
            pins: Vec::new(),
            weak: Vec::new(),
        }
    }

    fn step(&mut self, rng: &mut Rng) {
        let root = SequenceHash::root(rng.next() % 2);
        let hashes = [root, root.extend(7)];
        let hash = hashes[rng.below(2)];
        match rng.below(12) {
            0..=2 => self.publish(rng, hash),
            3 => self.allocate(rng),
            4 => {
                for block in self.tier.manager.match_blocks(&hashes) {
                    self.keep(block);
                }
            }
            5 => {
                if let Some(weak) = self.weak.last()
                    && let Some(block) = weak.upgrade()
                {
                    assert_eq!(block.sequence_hash(), weak.sequence_hash());
                    self.keep(block);
                }
            }
            6 => {
                if let Some(block) = rng.pick(&mut self.complete) {
                    self.mutable.push(block.reset());
                }
            }
            7 if rng.below(2) == 0 => self.tier.manager.clear_inactive_pool(),
            7 => drop(self.tier.manager.reset_inactive_pool()),
            8 | 9 => self.share(rng),
            _ => self.drop_some(rng),
        }
    }

    fn allocate(&mut self, rng: &mut Rng) {
        let count = rng.between(1, 2);
        for block in self.tier.manager.allocate_blocks(count).unwrap_or_default() {
            self.tier.claim(&block);
            self.mutable.push(block);
        }
    }

    fn publish(&mut self, rng: &mut Rng, hash: SequenceHash) {
        if self.mutable.is_empty() {
            self.allocate(rng);
        }
        if let Some(block) = self.mutable.pop() {
            self.complete
                .push(block.stage(hash, 1).expect("of this size"));
        }
        if rng.below(4) > 0
            && let Some(block) = self.complete.pop()
        {
            let (id, hash) = (block.block_id(), block.sequence_hash());
            self.tier.content[id].store(stamp(hash), Relaxed);
            self.tier.give_up(id);
            let block = self.tier.manager.register_block(block);
            assert_eq!(block.sequence_hash(), hash);
            self.keep(block);
        }
    }

    fn keep(&mut self, block: ImmutableBlock<T>) {
        self.tier.begin(block.block_id(), block.sequence_hash());
        self.immutable.push(block);
    }

    fn share(&mut self, rng: &mut Rng) {
        let Some(block) = self.immutable.last() else {
            return;
        };
        match rng.below(3) {
            0 => {
                let block = block.clone();
                self.keep(block);
            }
            1 => {
                let pin = block.pin();
                self.tier.begin(pin.block_id(), pin.sequence_hash());
                self.pins.push(pin);
            }
            _ => self.weak.push(block.downgrade()),
        }
    }

    fn drop_some(&mut self, rng: &mut Rng) {
        if let Some(block) = rng.pick(&mut self.mutable) {
            self.tier.give_up(block.block_id());
        }
        if let Some(block) = rng.pick(&mut self.complete) {
            self.tier.give_up(block.block_id());
        }
        if let Some(block) = rng.pick(&mut self.immutable) {
            self.tier.end(block.block_id(), block.sequence_hash());
        }
        if let Some(pin) = rng.pick(&mut self.pins) {
            self.tier.end(pin.block_id(), pin.sequence_hash());
        }
        rng.pick(&mut self.weak);
    }

    fn drop_all(&mut self, rng: &mut Rng) {
        while !(self.mutable.is_empty()
            && self.complete.is_empty()
            && self.immutable.is_empty()
            && self.pins.is_empty()
            && self.weak.is_empty())
        {
            self.drop_some(rng);
        }
    }
}

pub fn run(policy: Policy, duplication: BlockDuplicationPolicy, seed: u64) {
    let registry = BlockRegistry::builder()
        .frequency_tracker(Arc::new(TinyLFUTracker::new(16)))
        .build();
    let memory = Arc::new(Tier::<Memory>::new(policy, duplication, &registry));
    let disk = Arc::new(Tier::<Disk>::new(policy, duplication, &registry));
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (mut memory, mut disk) = (Held::new(memory.clone()), Held::new(disk.clone()));
            let mut rng = Rng::of(seed, number);
            thread::spawn(move || {
                for _ in 0..OPERATIONS {
                    if rng.below(4) > 0 {
                        memory.step(&mut rng);
                    } else {
                        disk.step(&mut rng);
                    }
                }
                memory.drop_all(&mut rng);
                disk.drop_all(&mut rng);
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread fails");
    }
    memory.assert_whole();
    disk.assert_whole();
    orphan(memory, &registry);
    drop(disk);
    assert_eq!(registry.registered_count(), 0);
}

/// A manager is dropped while threads drop and upgrade guards of its blocks.
fn orphan(tier: Arc<Tier<Memory>>, registry: &BlockRegistry) {
    let hash = SequenceHash::root(9);
    let metrics = tier.manager.metrics().clone();
    let blocks = tier.manager.allocate_blocks(2).expect("all are there");
    let [mutable, block] = <[_; 2]>::try_from(blocks).expect("two");
    let block = block.stage(hash, 1).expect("of this size");
    let block = tier.manager.register_block(block);
    let weak = block.downgrade();
    let first = thread::spawn(move || drop(block));
    let second = thread::spawn(move || {
        if let Some(block) = weak.upgrade() {
            assert_eq!(block.sequence_hash(), hash);
        }
        drop(mutable);
    });
    drop(tier);
    first.join().expect("no thread fails");
    second.join().expect("no thread fails");
    assert!(
        !registry.is_registered(hash),
        "no manager is left to find it"
    );
    let snapshot = metrics.snapshot();
    let returned = snapshot.reset_pool_size + snapshot.inactive_pool_size;
    assert_eq!(returned, BLOCKS as i64);
}
