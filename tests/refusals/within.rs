//! Whoever stays within the capacity is served, and nothing is stranded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::{BlockManager, ImmutableBlock, MutableBlock};

use crate::policy::Policy;
use crate::rng::Rng;
use crate::{BLOCK_SIZE, THREADS, assert_whole, chain, manager};

/// Blocks in the pool, and how many of them each thread may hold.
const BLOCKS: usize = 512;
const SHARE: usize = BLOCKS / THREADS;

/// Requests of one thread per policy, and the most blocks of one request.
const REQUESTS: usize = 2_000;
const LONGEST: usize = 24;

/// What one thread holds, request by request, and how many blocks that is.
struct Holder<'a> {
    manager: &'a BlockManager<()>,
    policy: Policy,
    rng: Rng,
    requests: Vec<Vec<ImmutableBlock<()>>>,
    held: usize,
}

impl<'a> Holder<'a> {
    fn new(manager: &'a BlockManager<()>, policy: Policy, seed: u64) -> Self {
        Holder {
            manager,
            policy,
            rng: Rng::new(seed),
            requests: Vec::new(),
            held: 0,
        }
    }

    /// Drops random requests until `count` more blocks are within the share.
    fn make_room(&mut self, count: usize) {
        while self.held + count > SHARE {
            let at = self.rng.below(self.requests.len());
            let request = self.requests.swap_remove(at);
            self.held -= request.len();
            drop(request);
        }
    }

    fn hold(&mut self, blocks: Vec<ImmutableBlock<()>>) {
        self.held += blocks.len();
        self.requests.push(blocks);
    }

    /// Publishes a chain that nobody has published before. Duplicates would hold
    /// two blocks each, so there are none.
    fn publish(&mut self, seed: u64) {
        let count = self.rng.between(1, LONGEST);
        self.make_room(count);
        let staged = self
            .allocate(count)
            .into_iter()
            .zip(chain(seed, count))
            .map(|(block, hash)| block.stage(hash, BLOCK_SIZE).expect("the size fits"))
            .collect();
        let registered = self.manager.register_blocks(staged);
        self.hold(registered);
    }

    /// Matches a chain some thread published lately. What is matched counts as
    /// held, even where others hold it too.
    fn reuse(&mut self, seed: u64) {
        self.make_room(LONGEST);
        let matched = self.manager.match_blocks(&chain(seed, LONGEST));
        self.hold(matched);
    }

    /// Allocates and drops, without registering.
    fn borrow(&mut self) {
        let count = self.rng.between(1, SHARE);
        self.make_room(count);
        assert_eq!(self.allocate(count).len(), count);
    }

    /// Must succeed: nobody exceeds their share.
    fn allocate(&self, count: usize) -> Vec<MutableBlock<()>> {
        let (policy, held) = (self.policy, self.held);
        self.manager.allocate_blocks(count).unwrap_or_else(|| {
            panic!("{policy:?}: refused {count} blocks to a thread that holds {held}")
        })
    }
}

fn nobody_is_refused(policy: Policy) {
    let manager = manager(policy, BLOCKS, BlockDuplicationPolicy::Reject);
    let published = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..THREADS as u64 {
            let (manager, published) = (&manager, &published);
            scope.spawn(move || {
                let mut holder = Holder::new(manager, policy, number);
                for _ in 0..REQUESTS {
                    match holder.rng.below(8) {
                        0..=3 => holder.publish(published.fetch_add(1, Ordering::Relaxed)),
                        4..=6 => {
                            let newest = published.load(Ordering::Relaxed);
                            let age = holder.rng.next() % 48;
                            holder.reuse(newest.saturating_sub(age));
                        }
                        _ => holder.borrow(),
                    }
                }
            });
        }
    });
    let snapshot = manager.metrics().snapshot();
    assert!(snapshot.evictions > 0, "{policy:?}: blocks were evicted");
    assert!(
        snapshot.match_blocks_returned > 0,
        "{policy:?}: blocks were reused"
    );
    assert_whole(&manager);
}

#[test]
fn threads_within_their_share_are_never_refused() {
    for policy in Policy::ALL {
        nobody_is_refused(policy);
    }
}

/// Threads that live for one request each, `THREADS` at a time.
const GENERATIONS: u64 = 60;

#[test]
fn short_lived_threads_strand_nothing() {
    for policy in Policy::ALL {
        let manager = manager(policy, BLOCKS, BlockDuplicationPolicy::Reject);
        for generation in 0..GENERATIONS {
            thread::scope(|scope| {
                for number in 0..THREADS as u64 {
                    let manager = &manager;
                    let seed = generation * THREADS as u64 + number;
                    scope.spawn(move || {
                        let mut holder = Holder::new(manager, policy, seed);
                        holder.publish(seed);
                        holder.borrow();
                    });
                }
            });
            assert_eq!(manager.available_blocks(), BLOCKS, "{policy:?}");
        }
        assert_whole(&manager);
    }
}
