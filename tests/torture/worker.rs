//! Random operations on a pool, with every guard recorded.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{
    BlockManager, CompleteBlock, ImmutableBlock, LifecyclePinRef, MutableBlock, SequenceHash,
    WeakBlock,
};

use crate::rng::Rng;
use crate::stamps::{Claim, Read, Stamps};
use crate::{BLOCK_SIZE, chain};

/// The number of chains from which all threads draw their hashes, and the length of each.
const CHAINS: u64 = 24;
const CHAIN_LENGTH: usize = 6;

/// The token is dropped before the guard: until then, no other thread can have the block.
pub struct Owned<'a, G> {
    claim: Claim<'a>,
    guard: G,
}

/// Dropped in the same order as [`Owned`].
pub struct Shared<'a, G> {
    read: Read<'a>,
    guard: G,
}

/// Counts how often things happened that a test must cover.
#[derive(Default, Debug)]
pub struct Covered {
    pub refused: AtomicU64,
    pub evicted: AtomicU64,
    pub duplicates: AtomicU64,
    pub existing: AtomicU64,
    pub upgraded: AtomicU64,
    pub pinned: AtomicU64,
}

/// The guards that a thread holds.
#[derive(Default)]
pub struct Held<'a> {
    mutable: Vec<Owned<'a, MutableBlock<()>>>,
    complete: Vec<Owned<'a, CompleteBlock<()>>>,
    pub immutable: Vec<Shared<'a, ImmutableBlock<()>>>,
    weak: Vec<WeakBlock<()>>,
    pins: Vec<Shared<'a, LifecyclePinRef>>,
}

impl Held<'_> {
    /// Returns whether there is a guard of each kind.
    pub fn is_of_every_kind(&self) -> bool {
        !(self.mutable.is_empty()
            || self.complete.is_empty()
            || self.immutable.is_empty()
            || self.weak.is_empty()
            || self.pins.is_empty())
    }
}

/// A thread's guards and its random choices.
pub struct Worker<'a> {
    pub manager: &'a BlockManager<()>,
    stamps: &'a Stamps,
    covered: &'a Covered,
    pub rng: Rng,
    /// The number of guards of each kind that it keeps from one operation to the next.
    hold: usize,
    pub held: Held<'a>,
}

impl<'a> Worker<'a> {
    pub fn new(
        manager: &'a BlockManager<()>,
        stamps: &'a Stamps,
        covered: &'a Covered,
        rng: Rng,
        hold: usize,
    ) -> Self {
        Worker {
            manager,
            stamps,
            covered,
            rng,
            hold,
            held: Held::default(),
        }
    }

    /// Creates another worker on the same pool, with its own guards and random choices.
    pub fn fork(&mut self) -> Self {
        let rng = Rng::new(self.rng.next());
        Worker::new(self.manager, self.stamps, self.covered, rng, self.hold)
    }

    pub fn run(&mut self, operations: usize) {
        for _ in 0..operations {
            self.step();
            self.shed();
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
            13..=14 => self.share(),
            15 => self.upgrade(),
            16 => self.give_up_exclusive(),
            17..=18 => self.drop_shared(),
            19 if self.rng.below(2) == 0 => self.retain(),
            _ => self.look_around(),
        }
    }

    /// Drops guards until at most `hold` of each kind are left.
    fn shed(&mut self) {
        fn shed<G>(rng: &mut Rng, guards: &mut Vec<G>, most: usize) {
            while guards.len() > most {
                rng.pick(guards);
            }
        }
        let (rng, held) = (&mut self.rng, &mut self.held);
        shed(rng, &mut held.mutable, self.hold);
        shed(rng, &mut held.complete, self.hold);
        shed(rng, &mut held.immutable, self.hold);
        shed(rng, &mut held.weak, self.hold);
        shed(rng, &mut held.pins, self.hold / 2);
    }

    pub fn allocate(&mut self) {
        let count = self.rng.between(1, self.hold.min(6));
        let Some((blocks, evicted)) = self.manager.allocate_blocks_with_evictions(count) else {
            self.covered.refused.fetch_add(1, Relaxed);
            return;
        };
        assert_eq!(blocks.len(), count);
        self.covered
            .evicted
            .fetch_add(evicted.len() as u64, Relaxed);
        let from_free = count - evicted.len();
        for (block, &hash) in blocks[from_free..].iter().zip(&evicted) {
            self.stamps.assert_held(block.block_id(), hash);
        }
        for guard in blocks {
            let stamp = self.rng.next() | 1;
            let claim = self.stamps.claim(guard.block_id(), stamp);
            self.held.mutable.push(Owned { claim, guard });
        }
    }

    pub fn stage(&mut self) {
        for hash in self.hashes() {
            let Some(Owned { claim, guard }) = self.rng.pick(&mut self.held.mutable) else {
                return;
            };
            let guard = guard.stage(hash, BLOCK_SIZE).expect("the size fits");
            self.held.complete.push(Owned { claim, guard });
        }
    }

    /// Writes the content and ends the exclusive ownership.
    fn seal(block: Owned<'a, CompleteBlock<()>>) -> CompleteBlock<()> {
        block.claim.seal(block.guard.sequence_hash());
        block.guard
    }

    /// Registers one block. If it is a duplicate, its primary is kept with it.
    pub fn register_one(&mut self) {
        let Some(block) = self.rng.pick(&mut self.held.complete) else {
            return;
        };
        let block = Self::seal(block);
        let (id, hash) = (block.block_id(), block.sequence_hash());
        let registered = self.manager.register_block(block);
        assert_eq!(registered.sequence_hash(), hash);
        let (kept, registered) = (registered.block_id() == id, self.shared(registered));
        let found = self.manager.match_one(hash).expect("a holder keeps it");
        let found = self.shared(found);
        let rejects = self.manager.duplication_policy() == &BlockDuplicationPolicy::Reject;
        if !kept {
            assert!(rejects, "a duplicate was not kept");
            self.covered.existing.fetch_add(1, Relaxed);
        }
        if found.guard.block_id() != registered.guard.block_id() {
            assert!(!rejects, "a primary is held, and another one is found");
            self.covered.duplicates.fetch_add(1, Relaxed);
        }
        self.held.immutable.push(registered);
    }

    fn register_batch(&mut self) {
        let batch: Vec<_> = self.held.complete.drain(..).map(Self::seal).collect();
        let hashes: Vec<_> = batch.iter().map(CompleteBlock::sequence_hash).collect();
        let registered = self.manager.register_blocks(batch);
        let returned = registered.iter().map(ImmutableBlock::sequence_hash);
        assert!(returned.eq(hashes), "results are in input order");
        for block in registered {
            self.keep(block);
        }
    }

    /// Registers blocks from an iterator that fails before the last of them.
    pub fn register_until(&mut self, fail: fn() -> !) {
        while self.held.complete.len() < 2 {
            self.run(1);
        }
        let last = self.held.complete.len() - 1;
        let mut registered = Vec::new();
        let blocks = self.held.complete.drain(..).enumerate();
        let sealed = blocks.map(|(at, block)| {
            if at == last {
                fail()
            } else {
                Self::seal(block)
            }
        });
        self.manager.register_into(sealed, &mut registered);
    }

    fn match_prefix(&mut self) {
        let hashes = self.hashes();
        let matched = self.manager.match_blocks(&hashes);
        assert!(matched.len() <= hashes.len());
        for (block, hash) in matched.into_iter().zip(hashes) {
            assert_eq!(block.sequence_hash(), hash);
            self.keep(block);
        }
    }

    fn match_scattered(&mut self) {
        let hashes: Vec<_> = (0..4).flat_map(|_| self.hashes().pop()).collect();
        let matched = self.manager.match_blocks_scattered(&hashes);
        assert_eq!(matched.len(), hashes.len());
        for (block, hash) in matched.into_iter().zip(hashes) {
            if let Some(block) = block {
                assert_eq!(block.sequence_hash(), hash);
                self.keep(block);
            }
        }
    }

    fn scan(&mut self) {
        let hashes = self.hashes();
        for (hash, block) in self.manager.scan_matches(&hashes, true) {
            assert_eq!(block.sequence_hash(), hash);
            assert!(hashes.contains(&hash));
            self.keep(block);
        }
    }

    /// Gives directives to hashes that it holds and to others that may be cached.
    fn retain(&mut self) {
        let priority = Priority::new(self.rng.below(101) as u8).expect("at most 100");
        let duration = [None, Some(0), Some(1), Some(3_600_000)][self.rng.below(4)];
        let retention = Retention {
            priority,
            duration: duration.map(Duration::from_millis),
        };
        let hashes = self.hashes();
        let given = self.manager.set_retention(&hashes, .., retention);
        assert!(given <= hashes.len());
        if let Some(Shared { guard, .. }) = self.held.immutable.last() {
            guard.set_retention(retention);
            // Another thread may have given a different one since.
            assert!(guard.retention().priority <= Priority::HIGHEST);
        }
    }

    /// Derives another guard from a held block.
    pub fn share(&mut self) {
        let held = &mut self.held;
        if held.immutable.is_empty() {
            return;
        }
        let block = &held.immutable[self.rng.below(held.immutable.len())].guard;
        match self.rng.below(7) {
            0 | 1 => {
                let block = block.clone();
                self.keep(block);
            }
            2 | 3 => {
                let guard = block.pin();
                let read = self.stamps.read(guard.block_id(), guard.sequence_hash());
                held.pins.push(Shared { read, guard });
                self.covered.pinned.fetch_add(1, Relaxed);
            }
            4 | 5 => held.weak.push(block.downgrade()),
            _ => block.set_evict_on_reset(self.rng.below(4) == 0),
        }
    }

    fn upgrade(&mut self) {
        let Some(weak) = self.rng.pick(&mut self.held.weak) else {
            return;
        };
        if let Some(block) = weak.upgrade() {
            assert_eq!(block.sequence_hash(), weak.sequence_hash());
            self.keep(block);
            self.covered.upgraded.fetch_add(1, Relaxed);
        }
        self.held.weak.push(weak);
    }

    fn give_up_exclusive(&mut self) {
        match self.rng.below(3) {
            0 => drop(self.rng.pick(&mut self.held.mutable)),
            1 => drop(self.rng.pick(&mut self.held.complete)),
            _ => {
                if let Some(Owned { claim, guard }) = self.rng.pick(&mut self.held.complete) {
                    let guard = guard.reset();
                    self.held.mutable.push(Owned { claim, guard });
                }
            }
        }
    }

    fn drop_shared(&mut self) {
        for _ in 0..self.rng.between(1, self.hold) {
            self.rng.pick(&mut self.held.immutable);
        }
        self.rng.pick(&mut self.held.pins);
    }

    /// Reads everything that any thread may read at any time.
    fn look_around(&mut self) {
        assert!(self.manager.available_blocks() <= self.manager.total_blocks());
        for Shared { read, guard } in &self.held.immutable {
            read.assert_intact();
            assert!(guard.use_count() >= 1);
            let handle = guard.registration_handle();
            assert_eq!(handle.seq_hash(), guard.sequence_hash());
        }
        if self.rng.below(8) == 0 {
            // Other threads hold blocks, so the counts need not add up.
            let _ = self.manager.reset_inactive_pool();
        } else if self.rng.below(4) == 0 {
            self.manager.clear_inactive_pool();
        }
    }

    fn shared(&self, guard: ImmutableBlock<()>) -> Shared<'a, ImmutableBlock<()>> {
        let read = self.stamps.read(guard.block_id(), guard.sequence_hash());
        Shared { read, guard }
    }

    pub fn keep(&mut self, block: ImmutableBlock<()>) {
        let block = self.shared(block);
        self.held.immutable.push(block);
    }

    /// Returns a random prefix of a random chain.
    pub fn hashes(&mut self) -> Vec<SequenceHash> {
        let seed = self.rng.next() % CHAINS;
        chain(seed, self.rng.between(1, CHAIN_LENGTH))
    }
}
