//! Updates of the order that pile up: none is lost, and no call applies all of them.

use std::sync::atomic::AtomicBool;

use super::*;

/// Enough blocks that what is queued for half of them is many times what one call may apply.
const MANY: u64 = 1 << 15;
/// The number of blocks of which a few calls are made.
const FEW: u64 = 64;
/// The maximum number of updates that they apply together: an eighth of what each would apply if
/// it drained the logs.
const APPLIED: u64 = FEW * 16;

/// Counts what the engine tells an order, and can keep the thread that does so.
#[derive(Default)]
struct Gate {
    calls: AtomicU64,
    is_closed: AtomicBool,
    is_reached: AtomicBool,
}

impl Gate {
    fn pass(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        while self.is_closed.load(Ordering::Acquire) {
            self.is_reached.store(true, Ordering::Release);
            thread::yield_now();
        }
    }
}

/// An [`Lru`] behind a gate.
struct Gated {
    lru: Lru,
    gate: Arc<Gate>,
}

impl EvictionPolicy for Gated {
    fn insert(&mut self, block: InactiveBlock) {
        self.gate.pass();
        self.lru.insert(block);
    }

    fn remove(&mut self, block_id: BlockId) {
        self.gate.pass();
        self.lru.remove(block_id);
    }

    fn pop(&mut self) -> Option<BlockId> {
        self.gate.pass();
        self.lru.pop()
    }
}

fn register(manager: &BlockManager<Tier>, hash: SequenceHash) -> ImmutableBlock<Tier> {
    let block = manager.allocate_one().expect("available");
    manager.register_block(block.stage(hash, 1).unwrap())
}

/// Calls `f` while another thread holds the plane.
fn while_held(manager: &BlockManager<Tier>, gate: &Gate, f: impl FnOnce()) {
    /// Opens the gate when it is dropped, also if a test fails.
    struct Closed<'a>(&'a Gate);

    impl Drop for Closed<'_> {
        fn drop(&mut self) {
            self.0.is_closed.store(false, Ordering::Release);
        }
    }

    thread::scope(|scope| {
        gate.is_reached.store(false, Ordering::Release);
        gate.is_closed.store(true, Ordering::Release);
        let _closed = Closed(gate);
        scope.spawn(|| {
            // The log may be so long that not each release drains it.
            while !gate.is_reached.load(Ordering::Acquire) {
                drop(manager.match_one(hash(MANY - 1)));
            }
        });
        while !gate.is_reached.load(Ordering::Acquire) {
            thread::yield_now();
        }
        f();
    });
}

/// Returns a full pool in whose order nothing has been changed while the first half of its blocks
/// was matched and released, with the gate that its policy goes through.
fn after_a_long_hold() -> (BlockManager<Tier>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let policy = Gated {
        lru: Lru::default(),
        gate: Arc::clone(&gate),
    };
    let manager = BlockManager::builder()
        .block_count(MANY as usize)
        .block_size(1)
        .registry(BlockRegistry::new())
        .with_eviction_policy(Box::new(policy))
        .build()
        .unwrap();
    for n in 0..MANY {
        drop(register(&manager, hash(n)));
    }
    while_held(&manager, &gate, || {
        for n in 0..MANY / 2 {
            drop(manager.match_one(hash(n)).expect("it is cached"));
        }
    });
    (manager, gate)
}

/// Returns how often the policy is called meanwhile.
fn calls(gate: &Gate, f: impl FnOnce()) -> u64 {
    let before = gate.calls.load(Ordering::Relaxed);
    f();
    gate.calls.load(Ordering::Relaxed) - before
}

#[test]
fn no_match_or_release_applies_all_that_has_piled_up() {
    let (manager, gate) = after_a_long_hold();
    let singly = calls(&gate, || {
        for n in 0..FEW {
            drop(manager.match_one(hash(n)).expect("it is cached"));
        }
    });
    assert!(singly <= APPLIED, "one by one: {singly}");
    let together = calls(&gate, || {
        let hashes: Vec<_> = (FEW..2 * FEW).map(hash).collect();
        let held = manager.match_blocks_scattered(&hashes);
        let mut held: Vec<_> = held.into_iter().flatten().collect();
        assert_eq!(held.len(), FEW as usize);
        manager.release_from(&mut held);
    });
    assert!(together <= APPLIED, "together: {together}");
    // Whatever has been left is applied in the end.
    let applied = calls(&gate, || {
        for n in 0..MANY {
            drop(manager.match_one(hash(n)).expect("it is cached"));
        }
    });
    assert!(applied > MANY / 2, "{applied}");
    manager.audit().unwrap();
}

/// The blocks at the front of the order have been used again, but the order does not know it yet.
#[test]
fn no_allocation_passes_over_all_that_was_released_again() {
    for count in [1, 32] {
        let (manager, gate) = after_a_long_hold();
        for _ in 0..8 {
            let mut granted = None;
            let asked = calls(&gate, || granted = manager.allocate_blocks(count));
            // Drains of all logs, in each of the batches that pass over candidates.
            assert!(asked <= 4 * APPLIED, "{count}: {asked}");
            assert_eq!(granted.expect("available").len(), count);
        }
        manager.audit().unwrap();
    }
}

/// The blocks at the front of the order are in use, but the order does not know it yet.
#[test]
fn no_allocation_passes_over_all_that_is_in_use() {
    let (manager, gate) = after_a_long_hold();
    let mut held = Vec::new();
    while_held(&manager, &gate, || {
        held.extend((0..MANY / 2).map(|n| manager.match_one(hash(n)).expect("it is cached")));
    });
    let mut fresh = Vec::new();
    for _ in 0..8 {
        let asked = calls(&gate, || assert!(manager.allocate_into(1, &mut fresh)));
        assert!(asked <= 4 * APPLIED, "{asked}");
    }
    manager.audit().unwrap();
}

/// Blocks that were cleared leave the order when they are taken. However many one allocation takes,
/// none of these updates is left when they are released again.
#[test]
fn the_order_is_exact_after_an_allocation_of_many_cleared_blocks() {
    const BLOCKS: u64 = 4_096;
    let manager = BlockManager::<Tier>::builder()
        .block_count(BLOCKS as usize)
        .block_size(1)
        .registry(BlockRegistry::new())
        .with_lru_backend()
        .build()
        .unwrap();
    for n in 0..BLOCKS {
        drop(register(&manager, hash(n)));
    }
    manager.clear_inactive_pool();
    let fresh = manager.allocate_blocks(BLOCKS as usize).expect("cleared");
    let hashes: Vec<_> = (BLOCKS..2 * BLOCKS).map(hash).collect();
    let staged = fresh.into_iter().zip(&hashes);
    let staged = staged.map(|(block, &hash)| block.stage(hash, 1).unwrap());
    let mut held = manager.register_blocks(staged.collect());
    // Those in the middle come first: they are neither the first nor the last that were taken.
    held.rotate_left(BLOCKS as usize / 2);
    let released: Vec<_> = held
        .iter()
        .rev()
        .map(ImmutableBlock::sequence_hash)
        .collect();
    while let Some(block) = held.pop() {
        drop(block);
    }
    let mut fresh = Vec::new();
    for hash in released {
        let (block, evicted) = manager.allocate_blocks_with_evictions(1).expect("inactive");
        assert_eq!(evicted, [hash]);
        fresh.extend(block);
    }
}
