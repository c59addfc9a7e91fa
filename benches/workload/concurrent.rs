//! What the benchmarks with several threads share: the two crates behind one
//! trait, and mixed requests without end.

// Each benchmark uses a part.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use dynamo_tokens::PositionalLineageHash as SequenceHash;

use crate::data::{Policy, Side};
use crate::workload::{BATCH, Requests, chain};

/// Blocks of the pools.
pub const POOL: usize = 10_000;
/// A thread holds its last requests, so many of them.
const IN_FLIGHT: usize = 4;

/// The contents of the pools.
#[derive(Clone)]
pub struct Tier;

/// The manager of either crate.
pub trait Pool: Sized + Send + Sync {
    const SIDE: Side;
    /// The guards of some registered blocks.
    type Held: Send;

    /// A pool whose blocks are all inactive.
    fn full(policy: Policy) -> Self;
    fn match_blocks(&self, hashes: &[SequenceHash]) -> Self::Held;
    /// Matches, allocates what is missing, stages and registers it.
    fn request(&self, hashes: &[SequenceHash]) -> Self::Held;
    fn allocate_and_drop_one(&self);
}

/// The same source against either crate.
macro_rules! side {
    ($side:ident, $krate:ident) => {
        impl Pool for $krate::BlockManager<Tier> {
            const SIDE: Side = Side::$side;
            type Held = Vec<$krate::ImmutableBlock<Tier>>;

            fn full(policy: Policy) -> Self {
                let builder = Self::builder()
                    .block_count(POOL)
                    .block_size(16)
                    .registry($krate::BlockRegistry::new());
                let pool = match policy {
                    Policy::Lru => builder.with_lru_backend(),
                    Policy::LineageTick => builder.with_lineage_backend(),
                }
                .build()
                .unwrap();
                for number in 0..(POOL / BATCH + 1) as u64 {
                    drop(pool.request(&chain(u64::MAX - number)));
                }
                pool
            }

            fn match_blocks(&self, hashes: &[SequenceHash]) -> Self::Held {
                $krate::BlockManager::match_blocks(self, hashes)
            }

            fn request(&self, hashes: &[SequenceHash]) -> Self::Held {
                let mut held = $krate::BlockManager::match_blocks(self, hashes);
                let missing = &hashes[held.len()..];
                let blocks = self
                    .allocate_blocks(missing.len())
                    .expect("the pool is large");
                let complete = blocks
                    .into_iter()
                    .zip(missing)
                    .map(|(block, &hash)| block.stage(hash, 16).unwrap())
                    .collect();
                held.extend(self.register_blocks(complete));
                held
            }

            fn allocate_and_drop_one(&self) {
                drop(self.allocate_blocks(1).expect("the pool is large"));
            }
        }
    };
}

side!(ThisCrate, kvbm_lockfree);
side!(Reference, kvbm_logical);

/// Mixed requests, other ones for each thread; about half of their blocks are hits
/// in a pool of [`POOL`] blocks.
pub struct Mixed {
    requests: Vec<Requests>,
}

impl Mixed {
    /// A list comes round after so many requests, when the pool has long forgotten
    /// those of its blocks that no other request has.
    const COUNT: usize = 4_000;

    pub fn new(threads: usize) -> Self {
        Self {
            requests: (1..=threads as u64)
                .map(|seed| Requests::new(Self::COUNT, seed))
                .collect(),
        }
    }
}

/// How far each thread has come in its list. Each run goes on where the thread's
/// last one stopped: a repeated request would be all hits.
pub struct Progress<'a> {
    mixed: &'a Mixed,
    next: Vec<AtomicUsize>,
}

impl<'a> Progress<'a> {
    pub fn new(mixed: &'a Mixed) -> Self {
        Self {
            mixed,
            next: mixed.requests.iter().map(|_| 0.into()).collect(),
        }
    }

    /// The next `count` requests of a thread.
    pub fn take(
        &self,
        thread: usize,
        count: usize,
    ) -> impl Iterator<Item = &'a [SequenceHash; BATCH]> + use<'a> {
        let first = self.next[thread].fetch_add(count, Ordering::Relaxed);
        let hashes = &self.mixed.requests[thread].hashes;
        hashes.iter().cycle().skip(first % hashes.len()).take(count)
    }
}

/// The requests a thread holds.
pub struct InFlight<'a, P: Pool> {
    pool: &'a P,
    held: VecDeque<P::Held>,
}

impl<'a, P: Pool> InFlight<'a, P> {
    pub fn new(pool: &'a P) -> Self {
        Self {
            pool,
            held: VecDeque::with_capacity(IN_FLIGHT + 1),
        }
    }

    /// One request, and the end of the one that came [`IN_FLIGHT`] before it.
    pub fn serve(&mut self, hashes: &[SequenceHash]) {
        self.held.push_back(self.pool.request(hashes));
        if self.held.len() > IN_FLIGHT {
            self.held.pop_front();
        }
    }
}
