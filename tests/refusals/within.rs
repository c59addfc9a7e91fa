//! Threads that stay within the capacity are always served.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use kvbm_lockfree::{BlockManager, ImmutableBlock, MutableBlock, WeakBlock};

use crate::policy::Policy;
use crate::rng::{self, Rng};
use crate::{BLOCK_SIZE, assert_whole, chain, manager};

/// The number of blocks that each thread may hold and request, which is also the largest batch.
const SHARE: usize = 64;

/// The length of the longest chain of one request, and how many recent chains are matched.
const LONGEST: usize = 24;
const RECENT: u64 = 48;

/// What a thread holds, per request, and the number of blocks. Matched blocks count in full, even if
/// other threads hold them as well, and from before the match.
struct Holder<'a> {
    manager: &'a BlockManager<()>,
    published: &'a AtomicU64,
    rng: Rng,
    requests: Vec<Vec<ImmutableBlock<()>>>,
    weak: Vec<WeakBlock<()>>,
    held: usize,
}

impl Holder<'_> {
    fn step(&mut self) {
        match self.rng.below(8) {
            0..=2 => self.publish(),
            3..=4 => self.reuse(),
            5 => self.revive(),
            _ => self.borrow(),
        }
    }

    /// Drops random requests until the thread's share has room for `count` more blocks.
    fn make_room(&mut self, count: usize) {
        while self.held + count > SHARE {
            let request = self.rng.pick(&mut self.requests).expect("some are held");
            self.held -= request.len();
        }
    }

    fn hold(&mut self, blocks: Vec<ImmutableBlock<()>>) {
        self.held += blocks.len();
        self.requests.push(blocks);
    }

    /// Publishes a new chain.
    fn publish(&mut self) {
        let count = self.rng.between(1, LONGEST);
        let seed = self.published.fetch_add(1, Relaxed);
        let staged = self
            .allocate(count)
            .into_iter()
            .zip(chain(seed, count))
            .map(|(block, hash)| block.stage(hash, BLOCK_SIZE).expect("the size fits"))
            .collect();
        let registered = self.manager.register_blocks(staged);
        self.weak.push(registered[count - 1].downgrade());
        self.hold(registered);
    }

    /// Matches a chain that some thread has published recently.
    fn reuse(&mut self) {
        self.make_room(LONGEST);
        let newest = self.published.load(Relaxed);
        let seed = newest.saturating_sub(self.rng.next() % RECENT);
        let matched = self.manager.match_blocks(&chain(seed, LONGEST));
        self.hold(matched);
    }

    fn revive(&mut self) {
        self.make_room(1);
        if let Some(weak) = self.rng.pick(&mut self.weak) {
            self.hold(weak.upgrade().into_iter().collect());
        }
    }

    /// Allocates and drops without registering.
    fn borrow(&mut self) {
        let count = self.rng.between(1, SHARE);
        assert_eq!(self.allocate(count).len(), count);
    }

    /// Allocates, which must succeed because no thread exceeds its share.
    fn allocate(&mut self, count: usize) -> Vec<MutableBlock<()>> {
        self.make_room(count);
        let held = self.held;
        self.manager
            .allocate_blocks(count)
            .unwrap_or_else(|| panic!("refused {count} blocks to a thread that holds {held}"))
    }
}

fn nobody_is_refused(threads: u64, requests: usize) {
    let seed = rng::seed();
    for policy in Policy::ALL {
        println!("{policy:?}");
        let manager = manager(policy, threads as usize * SHARE);
        let published = AtomicU64::new(0);
        thread::scope(|scope| {
            for number in 0..threads {
                let mut holder = Holder {
                    manager: &manager,
                    published: &published,
                    rng: Rng::of(seed, number),
                    requests: Vec::new(),
                    weak: Vec::new(),
                    held: 0,
                };
                scope.spawn(move || (0..requests).for_each(|_| holder.step()));
            }
        });
        let snapshot = manager.metrics().snapshot();
        assert!(snapshot.evictions > 0, "{policy:?}: blocks were evicted");
        let returned = snapshot.match_blocks_returned;
        assert!(returned > 0, "{policy:?}: blocks were reused");
        assert_whole(&manager);
    }
}

#[test]
fn eight_threads_within_the_pool_are_never_refused() {
    nobody_is_refused(8, 800);
}

#[test]
fn thirty_two_threads_within_the_pool_are_never_refused() {
    nobody_is_refused(32, 300);
}
