//! Counters that threads raise without meeting.
//!
//! Every thread has a row of its own and adds to it with a plain load and a
//! plain store; a counter's value is the sum over the rows. Threads too many
//! for a row each share one, and add there with `fetch_add`. What is counted by
//! hand, through the public methods, has a row of its own too, so that it changes
//! what is shown and not what the engine knows.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::sync::thread;

/// What is counted.
///
/// The order is that in which all of them are read ([`Stripes::counts`]): what is taken away
/// stands before what it is taken from, and a part before the whole. So a difference
/// between two of them does not come out negative because one was raised meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Counter {
    /// Mutable guards dropped.
    MutableReleased,
    /// Complete guards dropped.
    CompleteReleased,
    /// Blocks registered and to be found. Callers read it as a watermark: who sees the
    /// count also sees the blocks it counts.
    Registrations,
    /// Registrations answered with the primary there was, and the block freed.
    RegistrationDedup,
    /// Duplicates whose last holder has let go of them.
    DuplicatesEnded,
    /// Blocks registered beside a primary.
    DuplicateBlocks,
    /// Registered blocks that were freed without being handed out.
    Reset,
    /// Of these, blocks that had been cleared or discarded.
    ClearedFreed,
    /// Blocks that had been cleared, or discarded, and were handed out.
    ClearedTaken,
    /// Inactive blocks whose content was given up, and that had not been cleared.
    Discarded,
    /// Mutable → complete.
    Stagings,
    /// Complete → mutable.
    Unstaged,
    /// Blocks handed out that were free, or had been cleared.
    AllocationsFromReset,
    /// Inactive blocks evicted.
    Evictions,
    /// Blocks handed out.
    Allocations,
    /// Blocks returned by matches.
    MatchBlocksReturned,
    /// Hashes asked for in matches.
    MatchHashesRequested,
    /// Blocks returned by scans.
    ScanBlocksReturned,
    /// Hashes asked for in scans.
    ScanHashesRequested,
    /// Lifecycle pins released.
    PinsReleased,
    /// Lifecycle pins taken.
    PinsTaken,
    /// Pins taken off of blocks that had others.
    SharedUnpins,
    /// Pins of blocks that had others.
    SharedPins,
    /// Look-ups that found a primary on its way to inactive.
    EagerPrimaryToInactive,
    /// Allocations undone.
    AllocateAtomicRollback,
    /// Releases of a primary that had nothing to do.
    ReleasePrimaryNoop,
    /// Releases of a duplicate that had nothing to do.
    ReleaseDuplicateNoop,
    /// Times the policy plane was busy and its caller did without.
    PlaneFallbacks,
    /// Blocks taken from another thread's shard.
    Steals,
}

/// How many counters there are.
const COUNTERS: usize = Counter::Steals as usize + 1;

/// Rows, of which all but the last two belong to one thread each. Servers drive a
/// manager from a scheduler and about as many workers as cores, so that 30
/// are enough for most, and 32 rows of two cache line pairs are 8 KiB. Past
/// that a thread pays for a locked addition, nothing worse.
const ROWS: usize = 32;
/// The row of what is counted by hand.
const MANUAL: usize = ROWS - 1;
/// The row of threads that have none of their own.
const SHARED: usize = ROWS - 2;

/// How often the counters are read anew at most, until they are of about one moment.
const READINGS: usize = 4;
/// How far a counter may go on while all are read.
const DRIFT: u64 = 64;

type Row = CachePadded<[AtomicU64; COUNTERS]>;

/// All counters of a manager, a row for each of the first threads.
#[derive(Clone)]
pub(crate) struct Stripes {
    /// Shared by all who count.
    rows: Arc<[Row; ROWS]>,
}

/// All counters, read once.
pub(crate) struct Counts {
    engine: [u64; COUNTERS],
    manual: [u64; COUNTERS],
}

impl Counts {
    /// What the engine has counted.
    #[inline]
    pub(crate) fn of(&self, c: Counter) -> u64 {
        self.engine[c as usize]
    }

    /// What is shown: that, and what was counted by hand.
    #[inline]
    pub(crate) fn shown(&self, c: Counter) -> u64 {
        self.engine[c as usize].wrapping_add(self.manual[c as usize])
    }
}

impl Stripes {
    pub(crate) fn new() -> Self {
        let row = || CachePadded::new(array::from_fn(|_| AtomicU64::new(0)));
        Self {
            rows: Arc::new(array::from_fn(|_| row())),
        }
    }

    /// Adds `n` to counter `c`, for this thread.
    ///
    /// A row's owner is the one live thread with its number. The next thread
    /// of that number sees what this one has stored, because the number is
    /// handed on with Release and Acquire.
    #[inline]
    pub(crate) fn add(&self, c: Counter, n: u64) {
        self.add_each([(c, n)]);
    }

    /// Adds to several counters, for this thread. As [`add`](Self::add), with the
    /// row looked up once.
    ///
    /// Release: who reads one of these numbers, and another one after it, does not miss
    /// what happened before. Pairs with the Acquire of [`counts`](Self::counts).
    #[inline]
    pub(crate) fn add_each<const N: usize>(&self, additions: [(Counter, u64); N]) {
        let index = thread::known_index();
        for (c, n) in additions {
            if index < SHARED {
                add_to(&self.rows[index], c, n);
            } else {
                // One by one, so that nothing need be in memory for it.
                self.add_slowly(c, n);
            }
        }
    }

    /// For a thread without a row of its own, or without a number yet.
    #[cold]
    fn add_slowly(&self, c: Counter, n: u64) {
        let index = thread::index();
        if index < SHARED {
            add_to(&self.rows[index], c, n);
        } else {
            self.rows[SHARED][c as usize].fetch_add(n, Ordering::Release);
        }
    }

    /// Adds `n` to what is shown of counter `c`.
    pub(crate) fn add_by_hand(&self, c: Counter, n: u64) {
        self.rows[MANUAL][c as usize].fetch_add(n, Ordering::Release);
    }

    /// The rows that may have been written by threads.
    fn rows(&self) -> impl Iterator<Item = &Row> + Clone {
        // A thread whose locals are being destroyed adds to the shared row, however few
        // threads there have been.
        let own = thread::used().min(SHARED);
        self.rows[..own].iter().chain([&self.rows[SHARED]])
    }

    /// The value of counter `c`, modulo 2⁶⁴.
    ///
    /// Includes every addition that the caller can know of; additions going
    /// on at the same time may be missing.
    pub(crate) fn sum(&self, c: Counter) -> u64 {
        // Acquire: pairs with the stores of `add_each`.
        let of = |row: &Row| row[c as usize].load(Ordering::Acquire);
        self.rows()
            .fold(of(&self.rows[MANUAL]), |sum, row| sum.wrapping_add(of(row)))
    }

    /// All counters, one after the other, in the order in which they are listed.
    ///
    /// A reader that was held up in between, so that the last are of a much later moment
    /// than the first, reads them again, up to [`READINGS`] times.
    pub(crate) fn counts(&self) -> Counts {
        let mut readings = 0;
        loop {
            let counts = self.read();
            readings += 1;
            if readings == READINGS || !self.have_gone_on(&counts) {
                return counts;
            }
        }
    }

    #[inline]
    fn read(&self) -> Counts {
        let rows = self.rows();
        Counts {
            engine: array::from_fn(|c| sum_of(rows.clone(), c)),
            manual: array::from_fn(|c| self.rows[MANUAL][c].load(Ordering::Acquire)),
        }
    }

    /// Whether those read first are not any more what they were.
    #[inline]
    fn have_gone_on(&self, counts: &Counts) -> bool {
        let first = [
            Counter::MutableReleased,
            Counter::Registrations,
            Counter::SharedUnpins,
        ];
        let rows = self.rows();
        first.iter().any(|&c| {
            let now = sum_of(rows.clone(), c as usize);
            now.wrapping_sub(counts.of(c)) > DRIFT
        })
    }
}

/// What the engine has counted.
#[inline]
fn sum_of<'r>(rows: impl Iterator<Item = &'r Row>, c: usize) -> u64 {
    rows.fold(0, |sum, row| {
        // Acquire: pairs with the stores of `add_each`.
        sum.wrapping_add(row[c].load(Ordering::Acquire))
    })
}

/// Adds to a row that is this thread's.
#[inline]
fn add_to(row: &Row, c: Counter, n: u64) {
    let count = &row[c as usize];
    let sum = count.load(Ordering::Relaxed).wrapping_add(n);
    count.store(sum, Ordering::Release);
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn all_rows_are_small() {
        assert!(size_of::<[Row; ROWS]>() <= 8 * 1024);
    }

    #[test]
    fn counters_do_not_mix_and_wrap() {
        let stripes = Stripes::new();
        stripes.add(Counter::Allocations, 5);
        stripes.add(Counter::Steals, u64::MAX);
        stripes.add(Counter::Steals, 3);
        assert_eq!(stripes.sum(Counter::Allocations), 5);
        assert_eq!(stripes.sum(Counter::Steals), 2);
        assert_eq!(stripes.sum(Counter::AllocationsFromReset), 0);
        assert_eq!(stripes.sum(Counter::PlaneFallbacks), 0);
    }

    #[test]
    fn what_is_counted_by_hand_is_shown_beside() {
        let stripes = Stripes::new();
        stripes.add(Counter::Stagings, 5);
        stripes.add_by_hand(Counter::Stagings, 2);
        assert_eq!(stripes.sum(Counter::Stagings), 7);
        let counts = stripes.counts();
        assert_eq!(counts.of(Counter::Stagings), 5);
        assert_eq!(counts.shown(Counter::Stagings), 7);
    }

    #[test]
    fn sums_are_exact_with_more_threads_than_rows() {
        const THREADS: usize = SHARED + 9;
        let stripes = Stripes::new();
        // All have a number before one ends, so that some have no row.
        let start = Barrier::new(THREADS);
        let added: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let shares = thread::index() >= SHARED;
                        start.wait();
                        let adds = if shares { 100_000 } else { 2_000 };
                        for n in 0..adds {
                            stripes.add(Counter::Evictions, n);
                            stripes.add(Counter::Registrations, 1);
                        }
                        adds
                    })
                })
                .collect();
            let adds = threads.into_iter().map(|thread| thread.join().unwrap());
            adds.inspect(|adds| stripes.add(Counter::Steals, adds * (adds - 1) / 2))
                .sum()
        });
        assert_eq!(stripes.sum(Counter::Registrations), added);
        assert_eq!(
            stripes.sum(Counter::Evictions),
            stripes.sum(Counter::Steals)
        );
        let shared = &stripes.rows[SHARED][Counter::Registrations as usize];
        assert!(shared.load(Ordering::Relaxed) >= 9 * 100_000);
        let counts = stripes.counts();
        assert_eq!(counts.of(Counter::Registrations), added);
        assert_eq!(counts.of(Counter::Evictions), counts.of(Counter::Steals));
    }

    #[test]
    fn a_number_handed_on_loses_nothing() {
        let stripes = Stripes::new();
        for _ in 0..200 {
            std::thread::scope(|scope| {
                scope.spawn(|| stripes.add(Counter::Stagings, 1));
            });
        }
        assert_eq!(stripes.sum(Counter::Stagings), 200);
    }

    #[test]
    fn a_registration_counted_is_published() {
        let stripes = Stripes::new();
        let published = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..=20_000 {
                    published.store(n, Ordering::Relaxed);
                    stripes.add(Counter::Registrations, 1);
                }
            });
            let mut before = 0;
            while before < 20_000 {
                let counted = stripes.sum(Counter::Registrations);
                assert!(counted >= before);
                assert!(published.load(Ordering::Relaxed) >= counted);
                before = counted;
                std::thread::yield_now();
            }
        });
    }
}
