//! Managers that are dropped while their guards live on, on other threads.

use std::any::Any;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use kvbm_lockfree::{BlockManager, ImmutableBlock, SequenceHash, WeakBlock};

use crate::rng::{self, Rng};
use crate::{BLOCK_SIZE, DUPLICATIONS, cases, chain, manager};

const THREADS: u64 = 6;
const BLOCKS: usize = 48;

/// What a thread leaves to be dropped by another thread.
type Bag = Mutex<Vec<Box<dyn Any + Send>>>;

/// Counts how many times each attachment has been dropped.
struct Attached {
    drops: Arc<Vec<AtomicU32>>,
    number: usize,
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.drops[self.number].fetch_add(1, Relaxed);
    }
}

/// What threads share during one life of a manager.
struct Life {
    bag: Bag,
    drops: Arc<Vec<AtomicU32>>,
    attached: AtomicU32,
}

impl Life {
    fn attach(&self, block: &ImmutableBlock<()>) {
        let number = self.attached.fetch_add(1, Relaxed) as usize;
        let drops = Arc::clone(&self.drops);
        let attached = Attached { drops, number };
        let handle = block.registration_handle();
        handle.attach(attached).expect("never attached as unique");
    }

    fn leave(&self, rng: &mut Rng, guard: impl Any + Send) {
        let mut bag = self.bag.lock().expect("no thread failed");
        bag.push(Box::new(guard));
        let other = rng.pick(&mut bag).filter(|_| rng.below(2) == 0);
        drop(bag);
        drop(other);
    }

    /// Registers blocks and attaches values, then drops its reference to the manager, which is the
    /// last on one of the threads, and continues with the guards.
    fn live(&self, manager: Arc<BlockManager<()>>, mut rng: Rng) {
        let hashes = chain(rng.next() % 4, 4);
        let (mut held, mut weak) = (Vec::new(), Vec::new());
        if let Some(blocks) = manager.allocate_blocks(hashes.len()) {
            let staged = blocks
                .into_iter()
                .zip(&hashes)
                .map(|(block, &hash)| block.stage(hash, BLOCK_SIZE).expect("the size fits"));
            manager.register_into(staged, &mut held);
        }
        for block in &held {
            self.attach(block);
            weak.push(block.downgrade());
        }
        let mut exclusive = Vec::new();
        let _ = manager.allocate_into(2, &mut exclusive);
        if rng.below(2) == 0 {
            held.clear();
        }
        drop(manager);

        // From here on, there may be no manager.
        for block in exclusive {
            let block = block.stage(SequenceHash::root(99), BLOCK_SIZE);
            let block = block.expect("the size fits");
            match rng.below(3) {
                0 => self.leave(&mut rng, block),
                1 => self.leave(&mut rng, block.reset()),
                _ => drop(block),
            }
        }
        for _ in 0..12 {
            self.share(&mut rng, &mut held, &weak);
        }
        self.leave(&mut rng, held);
        self.leave(&mut rng, weak);
    }

    fn share(&self, rng: &mut Rng, held: &mut Vec<ImmutableBlock<()>>, weak: &[WeakBlock<()>]) {
        if !weak.is_empty() {
            let weak = &weak[rng.below(weak.len())];
            if let Some(block) = weak.upgrade() {
                assert_eq!(block.sequence_hash(), weak.sequence_hash());
                self.attach(&block);
                held.push(block);
            }
        }
        if let Some(block) = rng.pick(held) {
            assert!(block.use_count() >= 1);
            match rng.below(3) {
                0 => self.leave(rng, block.pin()),
                1 => self.leave(rng, block.clone()),
                _ => self.leave(rng, block.registration_handle()),
            }
        }
    }
}

/// Six threads use a manager and drop it at different times. They continue to share, upgrade and
/// attach, and they drop each other's guards. In the end, all blocks have been returned, no hash is
/// registered, and each attachment has been dropped once.
#[test]
fn guards_outlive_their_manager_on_any_thread() {
    let seed = rng::seed();
    assert!(BLOCKS >= THREADS as usize * 6, "nobody is refused");
    for (number, (policy, duplication, end)) in cases(10).enumerate() {
        println!("{policy:?}, {duplication:?}");
        let mut life = 0;
        // Runs at least once, however short the time limit.
        while life == 0 || Instant::now() < end {
            let manager = Arc::new(manager(policy, BLOCKS, duplication));
            let (registry, metrics) = (manager.block_registry().clone(), manager.metrics().clone());
            let shared = Life {
                bag: Mutex::default(),
                drops: Arc::new((0..1024).map(|_| AtomicU32::new(0)).collect()),
                attached: AtomicU32::new(0),
            };
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    let part = number as u64 + DUPLICATIONS.len() as u64 * 7 * (life * 8 + thread);
                    let (shared, manager) = (&shared, Arc::clone(&manager));
                    scope.spawn(move || shared.live(manager, Rng::of(seed, part)));
                }
                drop(manager);
            });
            let Life {
                bag,
                drops,
                attached,
            } = shared;
            thread::spawn(move || drop(bag)).join().expect("no panic");

            let snapshot = metrics.snapshot();
            assert_eq!(snapshot.inflight_mutable, 0, "{policy:?}");
            assert_eq!(snapshot.inflight_immutable, 0, "{policy:?}");
            let returned = snapshot.reset_pool_size + snapshot.inactive_pool_size;
            assert_eq!(returned, BLOCKS as i64, "{policy:?}");
            assert_eq!(registry.registered_count(), 0, "{policy:?}");
            let attached = attached.into_inner() as usize;
            assert!(attached > 0, "{policy:?}: nothing was attached");
            for (number, drops) in drops[..attached].iter().enumerate() {
                assert_eq!(drops.load(Relaxed), 1, "{policy:?}, attachment {number}");
            }
            life += 1;
        }
    }
}
