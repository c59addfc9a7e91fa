//! Replaying a workload over one pool.
//!
//! # A request
//!
//! A thread takes the next request from the list and handles it in these steps. `W` is the number
//! of requests the thread may hold at once, and *the oldest* is the one among those it holds that
//! it handled first.
//!
//! 1. While it holds `W` or more requests, drop the oldest.
//! 2. Match: `match_blocks` with all hashes of the request. The blocks it returns are *hits*, and
//!    all blocks of the request count as *requested*.
//! 3. Allocate: `allocate_blocks_with_evictions` for the blocks that did not match. Each sequence
//!    hash it reports is an *eviction*. If it refuses, drop the oldest and try again. If there is
//!    nothing left to drop, the request is a *refusal*: drop the matched blocks and end here. Its
//!    hits and its requested blocks still count, and it does not enter the window.
//! 4. Stage the allocated blocks with the hashes that did not match, in order, and register them
//!    with one `register_blocks`.
//! 5. Hold the matched and then the registered blocks, as the thread's youngest request.
//!
//! A request that matches in full skips the steps 3 and 4, and one without blocks skips the step 2
//! as well. Dropping a request drops the guards of its blocks in block order.
//!
//! `W` is `max(1, in_flight / threads)`. From one thread, everything but the times is a function
//! of workload, policy, pool size, and window.
//!
//! # Measurement
//!
//! The latency of a request covers all its steps, with the drops they cause. The wall time of a run
//! reaches from the start of the first thread to the end of the last request, and leaves out
//! building the pool and releasing what is held in the end. Sequence hashes are computed before.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kvbm_lockfree::manager::{BlockManager, BlockManagerBuilderError};
use kvbm_lockfree::{ImmutableBlock, SequenceHash};
use thiserror::Error;

use crate::policy::{Policy, Replayed};
use crate::workload::Workload;

/// How often a run reports its progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The configuration of one run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The eviction policy.
    pub policy: Policy,
    /// Blocks in the pool.
    pub blocks: usize,
    /// Threads that take requests from the list.
    pub threads: usize,
    /// Requests held at once, over all threads.
    pub in_flight: usize,
}

/// Why a run could not be carried out.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The pool could not be built.
    #[error("cannot build a pool of {blocks} blocks for the policy {policy}")]
    Pool {
        /// The eviction policy.
        policy: Policy,
        /// Blocks in the pool.
        blocks: usize,
        /// Why not.
        source: BlockManagerBuilderError,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// What requests amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks of all requests.
    pub requested: u64,
    /// Blocks that matched.
    pub hits: u64,
    /// Blocks evicted to make room.
    pub evictions: u64,
    /// Requests for which there was no room.
    pub refusals: u64,
}

/// The result of one run.
#[derive(Debug)]
pub struct Outcome {
    /// What the requests amount to.
    pub counts: Counts,
    /// The wall time.
    pub elapsed: Duration,
    /// The latency of each request, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// Replays `workload` over a new pool.
///
/// From time to time, `progress` learns how many requests have been taken from the list.
pub fn replay(
    workload: &Workload,
    setup: &Setup,
    progress: &mut dyn FnMut(usize),
) -> Result<Outcome, ReplayError> {
    let pool = setup
        .policy
        .build(setup.blocks, workload.block_size())
        .map_err(|source| ReplayError::Pool {
            policy: setup.policy,
            blocks: setup.blocks,
            source,
        })?;
    let window = (setup.in_flight / setup.threads).max(1);
    let requests = workload.requests();
    let cursor = AtomicUsize::new(0);
    let mut outcome = Outcome {
        counts: Counts::default(),
        elapsed: Duration::ZERO,
        latency: latency_histogram(),
    };

    thread::scope(|scope| {
        let (ended, ends) = mpsc::channel();
        let start = Instant::now();
        for _ in 0..setup.threads {
            let ended = ended.clone();
            let mut worker = Worker::new(&pool, workload.block_size(), window);
            let cursor = &cursor;
            let work = move || {
                worker.run(workload, cursor);
                // The receiver only goes away when the run is given up.
                let _ = ended.send((worker.counts, worker.latency, start.elapsed()));
            };
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                // The threads that did start find the list exhausted.
                cursor.store(requests, Ordering::Relaxed);
                return Err(ReplayError::Thread(error));
            }
        }
        drop(ended);
        loop {
            match ends.recv_timeout(PROGRESS_INTERVAL) {
                Ok((counts, latency, elapsed)) => outcome.absorb(counts, &latency, elapsed),
                Err(RecvTimeoutError::Timeout) => {
                    progress(cursor.load(Ordering::Relaxed).min(requests));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })?;
    Ok(outcome)
}

impl Outcome {
    fn absorb(&mut self, counts: Counts, latency: &Histogram<u64>, elapsed: Duration) {
        self.counts.requested += counts.requested;
        self.counts.hits += counts.hits;
        self.counts.evictions += counts.evictions;
        self.counts.refusals += counts.refusals;
        self.elapsed = self.elapsed.max(elapsed);
        self.latency
            .add(latency)
            .expect("all latency histograms have the same bounds");
    }
}

/// A histogram from a nanosecond to a minute, exact to three digits.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

/// The blocks of one request in flight.
type Held = Vec<ImmutableBlock<Replayed>>;

/// One thread's side of a run.
struct Worker<'a> {
    pool: &'a BlockManager<Replayed>,
    block_size: usize,
    window: usize,
    /// The requests in flight, the oldest first.
    held: VecDeque<Held>,
    counts: Counts,
    latency: Histogram<u64>,
}

impl<'a> Worker<'a> {
    fn new(pool: &'a BlockManager<Replayed>, block_size: usize, window: usize) -> Self {
        Self {
            pool,
            block_size,
            window,
            held: VecDeque::new(),
            counts: Counts::default(),
            latency: latency_histogram(),
        }
    }

    /// Handles requests until the list is exhausted.
    fn run(&mut self, workload: &Workload, cursor: &AtomicUsize) {
        loop {
            let index = cursor.fetch_add(1, Ordering::Relaxed);
            if index >= workload.requests() {
                return;
            }
            let hashes = workload.request(index);
            let start = Instant::now();
            self.handle(hashes);
            let nanoseconds = start.elapsed().as_nanos();
            self.latency
                .saturating_record(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        }
    }

    fn handle(&mut self, hashes: &[SequenceHash]) {
        while self.held.len() >= self.window {
            self.held.pop_front();
        }
        let mut blocks = if hashes.is_empty() {
            Held::new()
        } else {
            self.pool.match_blocks(hashes)
        };
        self.counts.requested += hashes.len() as u64;
        self.counts.hits += blocks.len() as u64;

        let missing = &hashes[blocks.len()..];
        if !missing.is_empty() {
            let Some(registered) = self.fill(missing) else {
                self.counts.refusals += 1;
                return;
            };
            blocks.extend(registered);
        }
        self.held.push_back(blocks);
    }

    /// Allocates, stages, and registers blocks with these hashes, or returns `None` if there is no
    /// room for them even with nothing held.
    fn fill(&mut self, hashes: &[SequenceHash]) -> Option<Held> {
        let (allocated, evicted) = loop {
            match self.pool.allocate_blocks_with_evictions(hashes.len()) {
                Some(allocation) => break allocation,
                None => drop(self.held.pop_front()?),
            }
        };
        self.counts.evictions += evicted.len() as u64;
        let staged = allocated
            .into_iter()
            .zip(hashes)
            .map(|(block, &hash)| {
                block
                    .stage(hash, self.block_size)
                    .expect("the pool was built with this block size")
            })
            .collect();
        Some(self.pool.register_blocks(staged))
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::workload::{Builder, block_hash};

    /// A workload whose requests have the blocks `(owner, 0)` to `(owner, blocks - 1)`.
    fn workload(requests: &[(u64, u64)]) -> Workload {
        let mut builder = Builder::new(16);
        for &(owner, blocks) in requests {
            builder.push((0..blocks).map(|index| block_hash(owner, index)));
        }
        builder.finish().unwrap()
    }

    fn run(requests: &[(u64, u64)], setup: Setup) -> Outcome {
        replay(&workload(requests), &setup, &mut |_| ()).unwrap()
    }

    fn one_thread(policy: Policy, blocks: usize, in_flight: usize) -> Setup {
        Setup {
            policy,
            blocks,
            threads: 1,
            in_flight,
        }
    }

    #[test]
    fn counts_hits_and_evictions() {
        for &policy in Policy::value_variants() {
            // The second request extends the first, the third needs its room, and the fourth is a
            // prefix of the third.
            let requests = [(1, 4), (1, 6), (2, 8), (2, 3)];
            let outcome = run(&requests, one_thread(policy, 8, 1));
            let expected = Counts {
                requested: 21,
                hits: 4 + 3,
                evictions: 6,
                refusals: 0,
            };
            assert_eq!(outcome.counts, expected, "{policy}");
            assert_eq!(outcome.latency.len(), 4);
        }
    }

    #[test]
    fn gives_up_older_requests_before_refusing() {
        let requests = [(1, 3), (2, 3), (3, 8), (4, 9), (3, 8)];
        let outcome = run(&requests, one_thread(Policy::Lru, 8, 16));
        let expected = Counts {
            requested: 31,
            hits: 8,
            evictions: 6,
            refusals: 1,
        };
        assert_eq!(outcome.counts, expected);
    }

    #[test]
    fn a_refusal_keeps_its_hits_and_releases_its_blocks() {
        let requests = [(1, 5), (1, 9), (2, 8)];
        let outcome = run(&requests, one_thread(Policy::Lru, 8, 16));
        let expected = Counts {
            requested: 22,
            hits: 5,
            evictions: 5,
            refusals: 1,
        };
        assert_eq!(outcome.counts, expected);
    }

    #[test]
    fn a_request_without_blocks_takes_a_place_in_the_window() {
        let requests = workload(&[(1, 4), (2, 4), (9, 0)]);
        let pool = Policy::Lru.build(8, 16).unwrap();
        let mut worker = Worker::new(&pool, 16, 2);
        worker.run(&requests, &AtomicUsize::new(0));
        let held: Vec<usize> = worker.held.iter().map(Vec::len).collect();
        assert_eq!(held, [4, 0]);
        assert_eq!(pool.available_blocks(), 4);
    }

    #[test]
    fn threads_share_one_list() {
        let requests: Vec<(u64, u64)> = (0..400).map(|index| (index % 20, 5)).collect();
        let setup = Setup {
            policy: Policy::LineageTick,
            blocks: 200,
            threads: 4,
            in_flight: 4,
        };
        let outcome = run(&requests, setup);
        assert_eq!(outcome.counts.requested, 2000);
        assert_eq!(outcome.counts.refusals, 0);
        assert_eq!(outcome.latency.len(), 400);
    }
}
