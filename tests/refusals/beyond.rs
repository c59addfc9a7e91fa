//! Threads that together want more blocks than there are, and log what they do.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use kvbm_lockfree::{BlockManager, ImmutableBlock, MutableBlock};

use crate::checker::{Event, Findings, Step, Violation, check};
use crate::policy::Policy;
use crate::rng::{self, Rng};
use crate::{BLOCK_SIZE, assert_whole, chain, manager};

const BLOCKS: usize = 256;
const OPERATIONS: usize = 1_000;

/// The number of operations after which all threads meet, holding their guards.
const MEETING: usize = 100;

/// The number of chains that threads match of each other, and the length of each.
const CHAINS: u64 = 4;
const LENGTH: usize = 8;

/// The guards of one allocation or one match.
enum Batch {
    Own(Vec<MutableBlock<()>>),
    Published(Vec<ImmutableBlock<()>>),
    Matched(Vec<ImmutableBlock<()>>),
}

/// A thread that holds up to `hold` batches of up to `largest` blocks.
struct Logger<'a> {
    manager: &'a BlockManager<()>,
    clock: &'a AtomicU64,
    meeting: &'a Barrier,
    thread: usize,
    log: Vec<Event>,
    rng: Rng,
    batches: Vec<Batch>,
    largest: usize,
    matches: bool,
    /// The number of allocations of which one is refused without asking the pool.
    spurious: Option<usize>,
    published: u64,
}

impl Logger<'_> {
    fn note(&mut self, step: Step) {
        let at = self.clock.fetch_add(1, SeqCst);
        let thread = self.thread;
        self.log.push(Event { at, thread, step });
    }

    fn run(mut self) -> Vec<Event> {
        for operation in 0..OPERATIONS {
            // The first to arrive keep their guards until the last has arrived.
            if operation % MEETING == 0 {
                self.meeting.wait();
            }
            match self.rng.below(4) {
                0 | 1 => self.allocate(),
                2 if self.matches => self.find(),
                _ => self.give_back(),
            }
            while self.batches.len() > 3 {
                self.give_back();
            }
        }
        // What is released at the end is logged, too.
        while !self.batches.is_empty() {
            self.give_back();
        }
        self.log
    }

    fn allocate(&mut self) {
        let count = self.rng.between(1, self.largest);
        let spurious = self.spurious.is_some_and(|n| self.rng.below(n) == 0);
        self.note(Step::Ask(count));
        let blocks = match spurious {
            true => None,
            false => self.manager.allocate_blocks(count),
        };
        let Some(blocks) = blocks else {
            self.note(Step::Refused);
            return;
        };
        self.note(Step::Granted);
        if self.matches && count >= LENGTH {
            self.publish(blocks);
        } else {
            self.batches.push(Batch::Own(blocks));
        }
    }

    /// Registers content that no other thread has, so that no further block is needed.
    fn publish(&mut self, blocks: Vec<MutableBlock<()>>) {
        let seed = self.thread as u64 * CHAINS + self.published % CHAINS;
        let content = 1_000_000 * (self.published / CHAINS) + seed;
        self.published += 1;
        let hashes = chain(content, blocks.len());
        let staged = blocks.into_iter().zip(hashes);
        let staged = staged.map(|(block, hash)| block.stage(hash, BLOCK_SIZE).expect("fits"));
        let registered = self.manager.register_blocks(staged.collect());
        self.batches.push(Batch::Published(registered));
    }

    /// Matches what this thread or the next may have published recently.
    fn find(&mut self) {
        let thread = self.thread as u64 + self.rng.next() % 2;
        let recent = self.published.saturating_sub(self.rng.next() % 8);
        let seed = thread * CHAINS + recent % CHAINS;
        let hashes = chain(1_000_000 * (recent / CHAINS) + seed, LENGTH);
        self.note(Step::Take(LENGTH));
        let matched = self.manager.match_blocks(&hashes);
        self.note(Step::Took(matched.len()));
        self.batches.push(Batch::Matched(matched));
    }

    fn give_back(&mut self) {
        let Some(batch) = self.rng.pick(&mut self.batches) else {
            return;
        };
        self.note(match &batch {
            Batch::Own(blocks) => Step::Drop(blocks.len(), 0),
            Batch::Published(blocks) => Step::Drop(blocks.len(), 0),
            Batch::Matched(blocks) => Step::Drop(0, blocks.len()),
        });
        drop(batch);
        self.note(Step::Dropped);
    }
}

fn findings(
    policy: Policy,
    threads: usize,
    largest: usize,
    matches: bool,
    spurious: Option<usize>,
) -> Findings {
    let seed = rng::seed();
    let manager = manager(policy, BLOCKS);
    let clock = AtomicU64::new(0);
    let meeting = Barrier::new(threads);
    let log = thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let logger = Logger {
                    manager: &manager,
                    clock: &clock,
                    meeting: &meeting,
                    thread,
                    log: Vec::new(),
                    rng: Rng::of(seed, thread as u64),
                    batches: Vec::new(),
                    largest,
                    matches,
                    spurious,
                    published: 0,
                };
                scope.spawn(move || logger.run())
            })
            .collect();
        let logs = running.into_iter().map(|thread| thread.join());
        logs.flat_map(|log| log.expect("no thread fails")).collect()
    });
    assert_whole(&manager);
    check(BLOCKS, threads, log)
}

fn every_refusal_has_a_reason(threads: usize, largest: usize) {
    for policy in Policy::ALL {
        for matches in [false, true] {
            println!("{policy:?}, matches: {matches}");
            let found = findings(policy, threads, largest, matches, None);
            assert!(found.granted > 0 && found.refused > 0, "{found:?}");
            let first = &found.violations[..found.violations.len().min(3)];
            assert_eq!(first, [], "{} in all", found.violations.len());
        }
    }
}

#[test]
fn every_refusal_among_8_threads_has_a_reason() {
    every_refusal_has_a_reason(8, 64);
}

#[test]
fn every_refusal_among_32_threads_has_a_reason() {
    every_refusal_has_a_reason(32, 32);
}

/// Uses the real pool, but refuses one call in a hundred for no reason. The pool is large enough
/// for all threads, so that no such refusal happens to be justified.
#[test]
fn refusals_without_a_reason_are_found() {
    for matches in [false, true] {
        let found = findings(Policy::Lru, 4, 8, matches, Some(100));
        let unjustified = |v: &Violation| matches!(v, Violation::Unjustified { .. });
        assert!(!found.violations.is_empty(), "{} refused", found.refused);
        assert!(found.violations.iter().all(unjustified));
    }
}
