//! Endless mixed requests from several threads.

// Each benchmark uses some of this.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use dynamo_tokens::PositionalLineageHash as SequenceHash;

use crate::pool::Pool;
use crate::workload::{BATCH, Requests};

/// The number of blocks in the pools.
pub const POOL: usize = 10_000;
/// The number of most recent requests that a thread holds.
const IN_FLIGHT: usize = 4;

/// Mixed requests, different ones for each thread. About half of their blocks are hits in a pool of
/// [`POOL`] blocks.
pub struct Mixed {
    requests: Vec<Requests>,
}

impl Mixed {
    /// The length of a list, which then starts over. By then, the pool has long evicted the blocks
    /// that no other request has.
    const COUNT: usize = 4_000;

    pub fn new(threads: usize) -> Self {
        Self {
            requests: (1..=threads as u64)
                .map(|seed| Requests::new(Self::COUNT, seed))
                .collect(),
        }
    }
}

/// The position of each thread in its list. A run continues where the thread's previous run stopped,
/// because repeated requests would always hit.
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

    /// Returns the next `count` requests of a thread.
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

/// The requests that a thread holds.
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

    /// Serves one request, and drops the one [`IN_FLIGHT`] before it.
    pub fn serve(&mut self, hashes: &[SequenceHash]) {
        self.held.push_back(self.pool.request(hashes));
        if self.held.len() > IN_FLIGHT {
            self.held.pop_front();
        }
    }
}
