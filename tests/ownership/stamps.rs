//! Exclusive blocks are exclusive, and registered blocks keep their content.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::{
    BlockId, BlockManager, CompleteBlock, ImmutableBlock, LifecyclePinRef, MutableBlock,
    SequenceHash, WeakBlock,
};

use crate::policy::Policy;
use crate::rng::Rng;
use crate::{BLOCK_SIZE, THREADS, assert_whole, chain, manager};

/// Operations of one thread on one pool.
const OPERATIONS: usize = 5_000;

/// Guards of one kind that a thread holds before it drops some. In the small pool
/// allocations are often refused, which is as it should be there.
const HOLD: usize = 12;

/// Chains all threads draw their hashes from, and the length of each.
const CHAINS: u64 = 24;
const CHAIN_LENGTH: usize = 6;

/// Who owns each block, and what it holds.
struct Stamps {
    /// Zero unless some thread holds the block exclusively.
    owners: Vec<AtomicU64>,
    /// The stamp of the hash under which the block was last registered.
    contents: Vec<AtomicU64>,
}

impl Stamps {
    fn new(block_count: usize) -> Self {
        let zeros = || (0..block_count).map(|_| AtomicU64::new(0)).collect();
        Stamps {
            owners: zeros(),
            contents: zeros(),
        }
    }

    fn claim(&self, id: BlockId, owner: u64) {
        let previous = self.owners[id].swap(owner, Ordering::Relaxed);
        assert_eq!(previous, 0, "block {id} was handed out while owned");
    }

    fn give_up(&self, id: BlockId, owner: u64) {
        let previous = self.owners[id].swap(0, Ordering::Relaxed);
        assert_eq!(previous, owner, "block {id} changed hands while owned");
    }

    fn write(&self, id: BlockId, hash: SequenceHash) {
        self.contents[id].store(content(hash), Ordering::Relaxed);
    }

    fn assert_holds(&self, id: BlockId, hash: SequenceHash) {
        let found = self.contents[id].load(Ordering::Relaxed);
        assert_eq!(found, content(hash), "block {id} does not hold {hash:?}");
    }

    fn assert_readable(&self, block: &ImmutableBlock<()>) {
        let id = block.block_id();
        self.assert_holds(id, block.sequence_hash());
        let owner = self.owners[id].load(Ordering::Relaxed);
        assert_eq!(owner, 0, "block {id} is owned and registered");
    }
}

/// Folds a hash to a stamp, never zero.
fn content(hash: SequenceHash) -> u64 {
    let bits = hash.as_u128();
    (bits as u64 ^ (bits >> 64) as u64) | 1
}

/// An exclusive guard and the stamp its block carries.
struct Owned<G> {
    guard: G,
    stamp: u64,
}

/// One thread: what it holds, and its random choices.
struct Worker<'a> {
    manager: &'a BlockManager<()>,
    stamps: &'a Stamps,
    rng: Rng,
    next_stamp: u64,
    mutable: Vec<Owned<MutableBlock<()>>>,
    complete: Vec<Owned<CompleteBlock<()>>>,
    immutable: Vec<ImmutableBlock<()>>,
    weak: Vec<WeakBlock<()>>,
    pins: Vec<LifecyclePinRef>,
}

impl<'a> Worker<'a> {
    fn new(manager: &'a BlockManager<()>, stamps: &'a Stamps, number: u64) -> Self {
        Worker {
            manager,
            stamps,
            rng: Rng::new(number),
            next_stamp: (number + 1) << 32,
            mutable: Vec::new(),
            complete: Vec::new(),
            immutable: Vec::new(),
            weak: Vec::new(),
            pins: Vec::new(),
        }
    }

    fn run(mut self) {
        for _ in 0..OPERATIONS {
            self.step();
            self.shed();
        }
        while !self.mutable.is_empty() {
            self.drop_mutable();
        }
        while !self.complete.is_empty() {
            self.drop_complete();
        }
    }

    fn step(&mut self) {
        match self.rng.below(20) {
            0..=2 => self.allocate(),
            3..=5 => self.stage(),
            6 => self.register_one(),
            7..=8 => self.register_batch(),
            9..=10 => self.match_prefix(),
            11 => self.match_scattered(),
            12 => self.scan(),
            13 => self.share(),
            14 => self.upgrade(),
            15 => self.drop_mutable(),
            16 => self.reset_or_drop_complete(),
            17..=18 => self.drop_shared(),
            _ => self.look_around(),
        }
    }

    /// Drops guards until no more than `HOLD` of a kind are left.
    fn shed(&mut self) {
        while self.mutable.len() > HOLD {
            self.drop_mutable();
        }
        while self.complete.len() > HOLD {
            self.drop_complete();
        }
        while self.immutable.len() > HOLD {
            let at = self.rng.below(self.immutable.len());
            drop(self.immutable.swap_remove(at));
        }
        self.weak.truncate(HOLD);
        self.pins.truncate(HOLD / 2);
    }

    fn allocate(&mut self) {
        let count = self.rng.between(1, 6);
        let Some((blocks, evicted)) = self.manager.allocate_blocks_with_evictions(count) else {
            return;
        };
        assert_eq!(blocks.len(), count);
        let from_free = count - evicted.len();
        for (block, &hash) in blocks[from_free..].iter().zip(&evicted) {
            self.stamps.assert_holds(block.block_id(), hash);
        }
        for guard in blocks {
            self.next_stamp += 1;
            let stamp = self.next_stamp;
            self.stamps.claim(guard.block_id(), stamp);
            self.mutable.push(Owned { guard, stamp });
        }
    }

    fn stage(&mut self) {
        let hashes = self.hashes();
        for hash in hashes {
            let Some(Owned { guard, stamp }) = pop_random(&mut self.mutable, &mut self.rng) else {
                return;
            };
            let guard = guard.stage(hash, BLOCK_SIZE).expect("the size fits");
            self.complete.push(Owned { guard, stamp });
        }
    }

    /// Writes the content and ends the exclusive ownership.
    fn seal(&self, block: Owned<CompleteBlock<()>>) -> CompleteBlock<()> {
        let Owned { guard, stamp } = block;
        self.stamps.write(guard.block_id(), guard.sequence_hash());
        self.stamps.give_up(guard.block_id(), stamp);
        guard
    }

    fn register_one(&mut self) {
        if let Some(block) = pop_random(&mut self.complete, &mut self.rng) {
            let block = self.seal(block);
            let hash = block.sequence_hash();
            let registered = self.manager.register_block(block);
            assert_eq!(registered.sequence_hash(), hash);
            self.hold(registered);
        }
    }

    fn register_batch(&mut self) {
        let batch: Vec<_> = std::mem::take(&mut self.complete)
            .into_iter()
            .map(|block| self.seal(block))
            .collect();
        let hashes: Vec<_> = batch.iter().map(CompleteBlock::sequence_hash).collect();
        let registered = self.manager.register_blocks(batch);
        let returned = registered.iter().map(ImmutableBlock::sequence_hash);
        assert!(returned.eq(hashes), "results are in input order");
        for block in registered {
            self.hold(block);
        }
    }

    fn match_prefix(&mut self) {
        let hashes = self.hashes();
        let matched = self.manager.match_blocks(&hashes);
        assert!(matched.len() <= hashes.len());
        for (block, hash) in matched.into_iter().zip(hashes) {
            assert_eq!(block.sequence_hash(), hash);
            self.hold(block);
        }
    }

    fn match_scattered(&mut self) {
        let hashes: Vec<_> = (0..4).flat_map(|_| self.hashes().pop()).collect();
        let matched = self.manager.match_blocks_scattered(&hashes);
        assert_eq!(matched.len(), hashes.len());
        for (block, hash) in matched.into_iter().zip(hashes) {
            if let Some(block) = block {
                assert_eq!(block.sequence_hash(), hash);
                self.hold(block);
            }
        }
    }

    fn scan(&mut self) {
        let hashes = self.hashes();
        for (hash, block) in self.manager.scan_matches(&hashes, true) {
            assert_eq!(block.sequence_hash(), hash);
            assert!(hashes.contains(&hash));
            self.hold(block);
        }
    }

    /// Derives another guard from a held block.
    fn share(&mut self) {
        if self.immutable.is_empty() {
            return;
        }
        let block = &self.immutable[self.rng.below(self.immutable.len())];
        match self.rng.below(4) {
            0 => self.immutable.push(block.clone()),
            1 => self.pins.push(block.pin()),
            2 => self.weak.insert(0, block.downgrade()),
            _ => block.set_evict_on_reset(self.rng.below(4) == 0),
        }
    }

    fn upgrade(&mut self) {
        if self.weak.is_empty() {
            return;
        }
        let weak = &self.weak[self.rng.below(self.weak.len())];
        if let Some(block) = weak.upgrade() {
            assert_eq!(block.sequence_hash(), weak.sequence_hash());
            self.hold(block);
        }
    }

    fn drop_mutable(&mut self) {
        if let Some(Owned { guard, stamp }) = pop_random(&mut self.mutable, &mut self.rng) {
            self.stamps.give_up(guard.block_id(), stamp);
        }
    }

    fn drop_complete(&mut self) {
        if let Some(Owned { guard, stamp }) = pop_random(&mut self.complete, &mut self.rng) {
            self.stamps.give_up(guard.block_id(), stamp);
        }
    }

    fn reset_or_drop_complete(&mut self) {
        if self.rng.below(2) == 0 {
            self.drop_complete();
        } else if let Some(Owned { guard, stamp }) = pop_random(&mut self.complete, &mut self.rng) {
            let guard = guard.reset();
            self.mutable.push(Owned { guard, stamp });
        }
    }

    /// Drops shared guards; their content must be intact to the last.
    fn drop_shared(&mut self) {
        for _ in 0..self.rng.between(1, HOLD) {
            if let Some(block) = pop_random(&mut self.immutable, &mut self.rng) {
                self.stamps.assert_readable(&block);
            }
        }
        if let Some(pin) = pop_random(&mut self.pins, &mut self.rng) {
            self.stamps
                .assert_holds(pin.block_id(), pin.sequence_hash());
        }
    }

    /// Reads what any thread may read at any time.
    fn look_around(&mut self) {
        assert!(self.manager.available_blocks() <= self.manager.total_blocks());
        for block in &self.immutable {
            self.stamps.assert_readable(block);
            assert!(block.use_count() >= 1);
            assert_eq!(
                block.registration_handle().seq_hash(),
                block.sequence_hash()
            );
        }
        if self.rng.below(8) == 0 {
            // Other threads hold blocks, so the count may well not add up.
            let _ = self.manager.reset_inactive_pool();
        }
    }

    fn hold(&mut self, block: ImmutableBlock<()>) {
        self.stamps.assert_readable(&block);
        self.immutable.push(block);
    }

    /// A random prefix of a random chain.
    fn hashes(&mut self) -> Vec<SequenceHash> {
        let seed = self.rng.next() % CHAINS;
        chain(seed, self.rng.between(1, CHAIN_LENGTH))
    }
}

impl Drop for Worker<'_> {
    /// A thread that fails gives its stamps back, so that the others do not fail
    /// for what it left behind.
    fn drop(&mut self) {
        if thread::panicking() {
            let mutable = self.mutable.iter().map(|owned| owned.guard.block_id());
            let complete = self.complete.iter().map(|owned| owned.guard.block_id());
            for id in mutable.chain(complete) {
                self.stamps.owners[id].store(0, Ordering::Relaxed);
            }
        }
    }
}

fn pop_random<G>(guards: &mut Vec<G>, rng: &mut Rng) -> Option<G> {
    if guards.is_empty() {
        return None;
    }
    let at = rng.below(guards.len());
    Some(guards.swap_remove(at))
}

fn run(policy: Policy, block_count: usize, duplication: BlockDuplicationPolicy) {
    let manager = manager(policy, block_count, duplication);
    let stamps = Stamps::new(block_count);
    thread::scope(|scope| {
        for number in 0..THREADS as u64 {
            let worker = Worker::new(&manager, &stamps, number);
            scope.spawn(|| worker.run());
        }
    });
    let owned = |owner: &AtomicU64| owner.load(Ordering::Relaxed) != 0;
    assert!(!stamps.owners.iter().any(owned), "{policy:?}");
    let evictions = manager.metrics().snapshot().evictions;
    assert!(evictions > 0, "{policy:?}: the pool was under pressure");
    assert_whole(&manager);
}

#[test]
fn scarce_blocks_with_duplicates_have_one_owner() {
    for policy in Policy::ALL {
        run(policy, 40, BlockDuplicationPolicy::Allow);
    }
}

#[test]
fn scarce_blocks_without_duplicates_have_one_owner() {
    for policy in Policy::ALL {
        run(policy, 40, BlockDuplicationPolicy::Reject);
    }
}

#[test]
fn ample_blocks_with_duplicates_have_one_owner() {
    for policy in Policy::ALL {
        run(policy, 150, BlockDuplicationPolicy::Allow);
    }
}
