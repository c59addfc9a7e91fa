//! Replays a workload over one pool.
//!
//! # How is a request handled?
//!
//! A request is *in flight* while it is being handled, and then while its blocks are held. *The
//! oldest* request is the one whose blocks have been held the longest, whichever thread handled it.
//! At most `N` requests may be in flight. A thread takes the next request from the list and
//! handles it in these steps:
//!
//! 1. While `N` or more requests are in flight, drop the oldest, if there is one.
//! 2. Match all hashes of the request with `match_blocks`. The blocks that it returns are *hits*.
//!    All blocks of the request count as *requested*.
//! 3. Allocate the blocks that did not match with `allocate_blocks_with_evictions`. Each sequence
//!    hash that it reports is an *eviction*. If the allocation fails, drop the oldest request and
//!    try again. If there is none to drop, other threads may hold blocks; see below. If they hold
//!    none, the request is a *refusal*: drop the matched blocks and stop. The request is no longer
//!    in flight, but its blocks still count as requested.
//! 4. Stage the allocated blocks with the hashes that did not match, in order, and register them
//!    with one call to `register_blocks`.
//! 5. Hold the matched and then the registered blocks, as the youngest request.
//!
//! A request that matches completely skips steps 3 and 4; one without blocks also skips step 2.
//! Dropping a request drops the guards of its blocks in the order of the blocks.
//!
//! With one thread, all results except the times depend only on the workload, the policy, the pool
//! size, and the number of requests in flight.
//!
//! # What if there is no room because of other threads?
//!
//! The blocks of requests that other threads are handling cannot be dropped. A request that finds
//! no room because of them does what a scheduler would do: it releases what it has matched, waits
//! until no other request is being handled and keeps new ones from starting, and starts over with
//! step 1. What it matched before does not count. Everything else can be dropped now, so it is
//! refused only if it is larger than the pool. Requests that wait do not wait for each other's
//! blocks, since they hold none. The waiting time is part of the latency.
//!
//! With several threads, the hits of a refused request do not count, since it was not served. With
//! one thread they do, so that counts can be compared with those of earlier versions.
//!
//! # What if threads take turns?
//!
//! Several threads handle requests in another order than one thread does, and some of them at the
//! same time. Both change the hits, whatever the pool does. If threads take turns, they handle the
//! requests in the order of the list, one at a time, each thread the next one. What then differs
//! from a run with one thread is due to the pool: it keeps some things by thread.
//!
//! # What is measured?
//!
//! The latency of a request covers all of its steps, including the drops that they cause, the wait
//! for room, and the lock around the list of held requests. The wall time of a run extends from the
//! start of the first thread to the end of the last request. It excludes building the pool,
//! computing the sequence hashes, and releasing the blocks still held at the end.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Condvar, Mutex, MutexGuard, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use kvbm_lockfree::manager::{BlockManager, BlockManagerBuilderError};
use kvbm_lockfree::{ImmutableBlock, MutableBlock, SequenceHash};
use thiserror::Error;

use crate::policy::{Policy, Replayed};
use crate::workload::Workload;

/// The time between two progress reports of a run.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// The configuration of one run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The eviction policy.
    pub policy: Policy,
    /// The number of blocks in the pool.
    pub blocks: usize,
    /// The number of threads that take requests from the list.
    pub threads: usize,
    /// Whether they handle the requests one at a time, in the order of the list.
    pub takes_turns: bool,
    /// The number of requests, over all threads, that may be in flight.
    pub in_flight: usize,
    /// LRFU's half-life, in releases, or `None` if LRFU tunes it itself.
    pub lrfu_half_life: Option<u32>,
}

/// The reason why a run failed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The pool could not be built.
    #[error("cannot build a pool of {blocks} blocks for the policy {policy}")]
    Pool {
        /// The eviction policy.
        policy: Policy,
        /// The number of blocks in the pool.
        blocks: usize,
        /// The cause.
        source: BlockManagerBuilderError,
    },
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
}

/// The counts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Blocks requested.
    pub requested: u64,
    /// Requested blocks that matched.
    pub hits: u64,
    /// Blocks evicted to make room.
    pub evictions: u64,
    /// Requests that did not fit into the pool.
    pub refusals: u64,
}

/// The result of one run.
#[derive(Debug)]
pub struct Outcome {
    /// The counts of all threads.
    pub counts: Counts,
    /// The wall time.
    pub elapsed: Duration,
    /// The latency of each request, in nanoseconds.
    pub latency: Histogram<u64>,
}

/// Replays `workload` over a new pool.
///
/// Calls `progress` at intervals with the number of requests taken from the list so far.
pub fn replay(
    workload: &Workload,
    setup: &Setup,
    progress: &mut dyn FnMut(usize),
) -> Result<Outcome, ReplayError> {
    let pool = setup
        .policy
        .build(setup.blocks, workload.block_size(), setup.lrfu_half_life)
        .map_err(|source| ReplayError::Pool {
            policy: setup.policy,
            blocks: setup.blocks,
            source,
        })?;
    let service = Service::new(&pool, workload.block_size(), setup);
    let requests = workload.requests();
    let list = List::default();
    let mut outcome = Outcome {
        counts: Counts::default(),
        elapsed: Duration::ZERO,
        latency: latency_histogram(),
    };

    thread::scope(|scope| {
        let (ended, ends) = mpsc::channel();
        let start = Instant::now();
        for thread in 0..setup.threads {
            let ended = ended.clone();
            let mut worker = Worker::new(&service);
            let list = &list;
            let work = move || {
                match setup.takes_turns {
                    true => worker.take_turns(workload, list, thread, setup.threads),
                    false => worker.run(workload, list),
                }
                // The receiver is dropped only if the run is abandoned.
                let _ = ended.send((worker.counts, worker.latency, start.elapsed()));
            };
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, work) {
                // The threads that have started will find the list exhausted.
                list.pass_to(requests);
                return Err(ReplayError::Thread(error));
            }
        }
        drop(ended);
        loop {
            match ends.recv_timeout(PROGRESS_INTERVAL) {
                Ok((counts, latency, elapsed)) => outcome.absorb(counts, &latency, elapsed),
                Err(RecvTimeoutError::Timeout) => {
                    progress(list.next.load(Ordering::Relaxed).min(requests));
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

/// Creates a histogram from one nanosecond to a minute with three significant digits.
fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

/// How far the list of requests has been handled.
#[derive(Default)]
struct List {
    /// The next request.
    next: AtomicUsize,
    /// Held by a thread that takes its turn.
    turn: Mutex<()>,
    passed: Condvar,
}

impl List {
    const NO_PANIC: &'static str = "no thread panics while it handles a request";

    /// Waits until `request` is the next one. Returns `None` if it has been passed over.
    fn wait_for(&self, request: usize) -> Option<MutexGuard<'_, ()>> {
        let turn = self.turn.lock().expect(Self::NO_PANIC);
        let is_early = |(): &mut ()| self.next.load(Ordering::Relaxed) < request;
        let turn = self.passed.wait_while(turn, is_early);
        let is_next = self.next.load(Ordering::Relaxed) == request;
        is_next.then_some(turn.expect(Self::NO_PANIC))
    }

    /// Makes `request` the next one.
    fn pass_to(&self, request: usize) {
        self.next.store(request, Ordering::Relaxed);
        self.passed.notify_all();
    }
}

/// The blocks of one request in flight.
type Held = Vec<ImmutableBlock<Replayed>>;

/// The pool and the requests in flight, shared by all threads.
struct Service<'a> {
    pool: &'a BlockManager<Replayed>,
    block_size: usize,
    in_flight: usize,
    is_shared: bool,
    window: Mutex<Window>,
    /// Locked for reading while a request is handled. A thread that locks it for writing is the
    /// only one that handles a request.
    turn: RwLock<()>,
}

/// The requests in flight.
#[derive(Default)]
struct Window {
    /// The requests whose blocks are held, oldest first.
    held: VecDeque<Held>,
    /// The number of requests that are being handled.
    handled: usize,
}

/// The counts of a request that was served.
struct Served {
    hits: u64,
    evictions: u64,
}

/// A request that did not fit, although some of its blocks may have matched.
struct Refused {
    hits: u64,
}

impl<'a> Service<'a> {
    fn new(pool: &'a BlockManager<Replayed>, block_size: usize, setup: &Setup) -> Self {
        Self {
            pool,
            block_size,
            in_flight: setup.in_flight,
            is_shared: setup.threads > 1,
            window: Mutex::default(),
            turn: RwLock::default(),
        }
    }

    /// Serves a request, waiting for room if necessary.
    fn serve(&self, hashes: &[SequenceHash]) -> Result<Served, Refused> {
        const NO_PANIC: &str = List::NO_PANIC;
        if self.is_shared {
            let turn = self.turn.read().expect(NO_PANIC);
            let served = self.attempt(hashes);
            drop(turn);
            if served.is_ok() {
                return served;
            }
        }
        let _alone = self.turn.write().expect(NO_PANIC);
        self.attempt(hashes)
    }

    fn attempt(&self, hashes: &[SequenceHash]) -> Result<Served, Refused> {
        self.enter();
        let mut blocks = if hashes.is_empty() {
            Held::new()
        } else {
            self.pool.match_blocks(hashes)
        };
        let mut served = Served {
            hits: blocks.len() as u64,
            evictions: 0,
        };
        let missing = &hashes[blocks.len()..];
        if !missing.is_empty() {
            let Some(allocation) = self.allocate(missing.len()) else {
                drop(blocks);
                self.window().handled -= 1;
                return Err(Refused { hits: served.hits });
            };
            let (allocated, evicted) = allocation;
            served.evictions = evicted.len() as u64;
            blocks.extend(self.register(allocated, missing));
        }
        let mut window = self.window();
        window.handled -= 1;
        window.held.push_back(blocks);
        Ok(served)
    }

    /// Counts a request among those being handled, after dropping old ones as needed.
    fn enter(&self) {
        loop {
            let mut window = self.window();
            if window.held.len() + window.handled >= self.in_flight
                && let Some(oldest) = window.held.pop_front()
            {
                drop(window);
                drop(oldest);
            } else {
                window.handled += 1;
                return;
            }
        }
    }

    /// Allocates `count` blocks, dropping old requests as needed. Returns `None` if there is no
    /// room even with nothing held.
    fn allocate(&self, count: usize) -> Option<(Vec<MutableBlock<Replayed>>, Vec<SequenceHash>)> {
        loop {
            if let Some(allocation) = self.pool.allocate_blocks_with_evictions(count) {
                return Some(allocation);
            }
            let oldest = self.window().held.pop_front();
            drop(oldest?);
        }
    }

    /// Stages the blocks with these hashes and registers them.
    fn register(&self, blocks: Vec<MutableBlock<Replayed>>, hashes: &[SequenceHash]) -> Held {
        let staged = blocks
            .into_iter()
            .zip(hashes)
            .map(|(block, &hash)| {
                block
                    .stage(hash, self.block_size)
                    .expect("the pool was built with this block size")
            })
            .collect();
        self.pool.register_blocks(staged)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().expect("nothing panics under this lock")
    }
}

/// One thread of a run.
struct Worker<'a> {
    service: &'a Service<'a>,
    counts: Counts,
    latency: Histogram<u64>,
}

impl<'a> Worker<'a> {
    fn new(service: &'a Service<'a>) -> Self {
        Self {
            service,
            counts: Counts::default(),
            latency: latency_histogram(),
        }
    }

    /// Handles requests until the list is exhausted.
    fn run(&mut self, workload: &Workload, list: &List) {
        loop {
            let index = list.next.fetch_add(1, Ordering::Relaxed);
            if index >= workload.requests() {
                return;
            }
            self.time(workload.request(index));
        }
    }

    /// Handles every request that is this thread's turn, until the list is exhausted.
    fn take_turns(&mut self, workload: &Workload, list: &List, thread: usize, threads: usize) {
        for index in (thread..workload.requests()).step_by(threads) {
            let Some(turn) = list.wait_for(index) else {
                return;
            };
            self.time(workload.request(index));
            list.pass_to(index + 1);
            drop(turn);
        }
    }

    /// Handles a request and records how long it takes.
    fn time(&mut self, hashes: &[SequenceHash]) {
        let start = Instant::now();
        self.handle(hashes);
        let nanoseconds = start.elapsed().as_nanos();
        self.latency
            .saturating_record(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
    }

    fn handle(&mut self, hashes: &[SequenceHash]) {
        self.counts.requested += hashes.len() as u64;
        match self.service.serve(hashes) {
            Ok(served) => {
                self.counts.hits += served.hits;
                self.counts.evictions += served.evictions;
            }
            Err(refused) => {
                self.counts.refusals += 1;
                if !self.service.is_shared {
                    self.counts.hits += refused.hits;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::named;
    use crate::synthetic;
    use crate::workload::{Builder, block_hash};

    /// Returns a workload whose requests have the blocks `(owner, 0)` to `(owner, blocks - 1)`.
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
            takes_turns: false,
            in_flight,
            lrfu_half_life: None,
        }
    }

    #[test]
    fn counts_hits_and_evictions() {
        for policy in Policy::all() {
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
        let outcome = run(&requests, one_thread(named("lru"), 8, 16));
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
        let outcome = run(&requests, one_thread(named("lru"), 8, 16));
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
        let pool = named("lru").build(8, 16, None).unwrap();
        let service = Service::new(&pool, 16, &one_thread(named("lru"), 8, 2));
        Worker::new(&service).run(&requests, &List::default());
        let held: Vec<usize> = service.window().held.iter().map(Vec::len).collect();
        assert_eq!(held, [4, 0]);
        assert_eq!(pool.available_blocks(), 4);
    }

    #[test]
    fn threads_share_one_list() {
        let requests: Vec<(u64, u64)> = (0..400).map(|index| (index % 20, 5)).collect();
        let setup = Setup {
            policy: named("lineage-tick"),
            blocks: 200,
            threads: 4,
            takes_turns: false,
            in_flight: 4,
            lrfu_half_life: None,
        };
        let outcome = run(&requests, setup);
        assert_eq!(outcome.counts.requested, 2000);
        assert_eq!(outcome.counts.refusals, 0);
        assert_eq!(outcome.latency.len(), 400);
    }

    #[test]
    fn threads_do_not_refuse_what_one_thread_serves() {
        let workload = synthetic::Service::Chat.generate(42, 1_500, 16).unwrap();
        for blocks in workload.curve_pool_sizes().into_iter().step_by(3) {
            let rates = [1, 4].map(|threads| {
                let setup = Setup {
                    threads,
                    ..one_thread(named("lru"), blocks, 16)
                };
                let counts = replay(&workload, &setup, &mut |_| ()).unwrap().counts;
                assert_eq!(counts.refusals, 0, "{blocks} blocks, {threads} threads");
                counts.hits as f64 / counts.requested as f64
            });
            assert!(
                (rates[0] - rates[1]).abs() < 0.05,
                "{blocks} blocks: {rates:?}"
            );
        }
    }

    #[test]
    fn threads_that_take_turns_handle_the_list_in_order() {
        // Each request fills the pool, and hits unless it comes after another's.
        let requests: Vec<(u64, u64)> = (0..400).map(|index| (index / 2, 8)).collect();
        let setup = Setup {
            threads: 3,
            takes_turns: true,
            ..one_thread(named("lru"), 8, 1)
        };
        let expected = Counts {
            requested: 400 * 8,
            hits: 200 * 8,
            evictions: 199 * 8,
            refusals: 0,
        };
        assert_eq!(run(&requests, setup).counts, expected);
    }

    #[test]
    fn one_thread_counts_what_it_always_has() {
        let workload = synthetic::Service::Chat.generate(42, 300, 16).unwrap();
        for (policy, blocks, hits, evictions, refusals) in [
            (named("lru"), 20, 37, 32, 295),
            (named("lru"), 90, 603, 10_494, 88),
            (named("lru"), 300, 1_244, 20_671, 0),
            (named("lineage-tick"), 90, 788, 10_383, 88),
            (named("lineage-fifo"), 300, 1_407, 20_508, 0),
            (named("lrfu"), 1_000, 4_885, 16_330, 0),
            (named("tinylfu"), 90, 870, 10_275, 88),
        ] {
            let setup = one_thread(policy, blocks, 4);
            let expected = Counts {
                requested: 22_215,
                hits,
                evictions,
                refusals,
            };
            let outcome = replay(&workload, &setup, &mut |_| ()).unwrap();
            assert_eq!(outcome.counts, expected, "{policy}, {blocks} blocks");
        }
    }

    #[test]
    fn a_request_that_is_larger_than_the_pool_is_refused_by_threads_and_hits_nothing() {
        let requests: Vec<(u64, u64)> = (0..300)
            .map(|index| if index % 10 == 9 { (1, 9) } else { (1, 5) })
            .collect();
        let setup = Setup {
            threads: 4,
            ..one_thread(named("lru"), 8, 16)
        };
        let outcome = run(&requests, setup);
        assert_eq!(outcome.counts.refusals, 30);
        // The first of the others to be handled misses, and any that are handled meanwhile.
        assert!(outcome.counts.hits <= 269 * 5);
        assert_eq!(outcome.counts.requested, 270 * 5 + 30 * 9);
        assert_eq!(outcome.latency.len(), 300);
    }

    #[test]
    fn threads_that_want_the_whole_pool_take_turns() {
        let requests: Vec<(u64, u64)> = (0..200).map(|index| (index % 7, 6)).collect();
        for in_flight in [1, 2, 16] {
            let setup = Setup {
                threads: 8,
                ..one_thread(named("lineage-tick"), 8, in_flight)
            };
            assert_eq!(run(&requests, setup).counts.refusals, 0);
        }
    }
}
