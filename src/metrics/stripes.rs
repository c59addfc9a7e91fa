//! Counters that many threads increment without contention.
//!
//! Each of the first threads has a row of its own and increments it with a plain load and a
//! plain store. Threads beyond that share a row and use `fetch_add`. A counter's value is
//! the sum over all rows. Another row holds what is counted through the public methods, so
//! that these change what is shown but not what the engine knows.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::sync::thread;

/// What is counted.
///
/// [`Stripes::counts`] reads the counters in this order. Where the engine subtracts one
/// counter from another, the subtrahend comes first, and a part comes before the whole. An
/// increment during the read therefore cannot turn a difference negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Counter {
    /// Mutable guards dropped.
    MutableReleased,
    /// Complete guards dropped.
    CompleteReleased,
    /// Blocks registered and published. Callers use it as a watermark: a thread that sees the
    /// count also sees the blocks it includes.
    Registrations,
    /// Registrations that returned the existing primary and freed the new block.
    RegistrationDedup,
    /// Duplicates whose last holder has released them.
    DuplicatesEnded,
    /// Blocks registered as duplicates of a primary.
    DuplicateBlocks,
    /// Registered blocks that were freed instead of being handed to an allocation.
    Reset,
    /// Those among `Reset` that had been cleared or discarded before.
    ClearedFreed,
    /// Cleared or discarded blocks that were handed to an allocation.
    ClearedTaken,
    /// Inactive blocks that were discarded without having been cleared.
    Discarded,
    /// Mutable blocks that became complete.
    Stagings,
    /// Complete blocks that became mutable again.
    Unstaged,
    /// Blocks allocated that were free or had been cleared.
    AllocationsFromReset,
    /// Inactive blocks evicted.
    Evictions,
    /// Blocks allocated.
    Allocations,
    /// Blocks returned by matches.
    MatchBlocksReturned,
    /// Hashes requested in matches.
    MatchHashesRequested,
    /// Blocks returned by scans.
    ScanBlocksReturned,
    /// Hashes requested in scans.
    ScanHashesRequested,
    /// Lifecycle pins released.
    PinsReleased,
    /// Lifecycle pins taken.
    PinsTaken,
    /// Pins released while the block had other pins.
    SharedUnpins,
    /// Pins taken while the block had other pins.
    SharedPins,
    /// Lookups that found a primary on its way to inactive.
    EagerPrimaryToInactive,
    /// Allocations rolled back.
    AllocateAtomicRollback,
    /// Releases of a primary that had nothing left to do.
    ReleasePrimaryNoop,
    /// Releases of a duplicate that had nothing left to do.
    ReleaseDuplicateNoop,
    /// Searches of all slots because the policy plane was held for too long.
    PlaneFallbacks,
    /// Blocks taken from another thread's shard.
    Steals,
}

/// The number of counters.
const COUNTERS: usize = Counter::Steals as usize + 1;

/// The number of rows. All but the last two belong to one thread each. A server drives a
/// manager from a scheduler and about as many workers as there are cores, so 30 rows are
/// enough for most servers, and 32 rows of two pairs of cache lines take 8 KiB. A thread
/// beyond that pays for an atomic addition, and nothing more.
const ROWS: usize = 32;
/// The row of the public counting methods.
const MANUAL: usize = ROWS - 1;
/// The row of threads without a row of their own.
const SHARED: usize = ROWS - 2;

/// How many times the counters are read, at most, to get values of roughly one moment.
const READINGS: usize = 4;
/// How far a counter may advance while all of them are read.
const DRIFT: u64 = 64;

/// The number of words in a row: one for each [`Counter`], and [`IN_USE`]. All of two pairs of
/// cache lines, so that a reading need not treat the last ones differently.
const WORDS: usize = 32;

/// Where the last two rows say whether they have ever been written: 1 from before their first
/// addition on. A reading passes over a row that is known to be all zeros.
const IN_USE: usize = WORDS - 1;

const _: () = assert!(COUNTERS <= IN_USE);

type Row = CachePadded<[AtomicU64; WORDS]>;

/// The counters of a manager, with a row for each of the first threads.
#[derive(Clone)]
pub(crate) struct Stripes {
    /// Shared by everything that counts for this manager.
    rows: Arc<[Row; ROWS]>,
}

/// The row of the calling thread.
#[derive(Clone, Copy)]
pub(crate) struct OwnRow<'a> {
    row: &'a Row,
    thread: usize,
}

impl OwnRow<'_> {
    /// Adds `n` to counter `c`, as [`Stripes::add`] does.
    #[inline]
    pub(crate) fn add(self, c: Counter, n: u64) {
        add_to(self.row, c, n);
    }

    /// Returns the number of the calling thread.
    #[inline]
    pub(crate) fn thread(self) -> usize {
        self.thread
    }
}

/// What the engine has counted.
pub(crate) struct Counts {
    sums: [u64; COUNTERS],
    /// The number of rows that were added up.
    rows: usize,
}

impl Counts {
    /// Returns what the engine has counted.
    #[inline]
    pub(crate) fn of(&self, c: Counter) -> u64 {
        self.sums[c as usize]
    }
}

impl Stripes {
    pub(crate) fn new() -> Self {
        let row = || CachePadded::new(array::from_fn(|_| AtomicU64::new(0)));
        Self {
            rows: Arc::new(array::from_fn(|_| row())),
        }
    }

    /// Adds `n` to counter `c` in the calling thread's row.
    ///
    /// At any time, a row is owned by the one live thread with its number. The next thread
    /// with that number sees the stored values, because numbers are released and acquired.
    #[inline]
    pub(crate) fn add(&self, c: Counter, n: u64) {
        self.add_each([(c, n)]);
    }

    /// Adds to several counters in the calling thread's row. Like [`add`](Self::add), but
    /// looks up the row only once.
    ///
    /// Release: pairs with the acquire in [`counts`](Self::counts). A thread that reads one of
    /// these values and then another counter does not miss what happened before.
    #[inline]
    pub(crate) fn add_each<const N: usize>(&self, additions: [(Counter, u64); N]) {
        self.add_each_as(thread::known_index(), additions);
    }

    /// Adds to several counters, as [`add_each`](Self::add_each) does, if the caller has asked for
    /// the calling thread's number already.
    #[inline]
    pub(crate) fn add_each_as<const N: usize>(&self, index: usize, additions: [(Counter, u64); N]) {
        let rows = &*self.rows;
        for (c, n) in additions {
            if index < SHARED {
                add_to(&rows[index], c, n);
            } else {
                // One call per counter, so that the array can stay in registers.
                add_slowly(rows, c, n);
            }
        }
    }

    /// Returns the calling thread's row, if it has one, and a number already.
    #[inline]
    pub(crate) fn own_row(&self) -> Option<OwnRow<'_>> {
        let thread = thread::known_index();
        (thread < SHARED).then(|| OwnRow {
            row: &self.rows[thread],
            thread,
        })
    }

    /// Adds `n` to what is shown of counter `c`, but not to what the engine has counted.
    pub(crate) fn add_by_hand(&self, c: Counter, n: u64) {
        add_atomically(&self.rows[MANUAL], c, n);
    }

    /// Adds what has been counted by hand to what the engine has counted.
    #[cold]
    pub(crate) fn include_by_hand(&self, counts: &mut Counts) {
        for (sum, by_hand) in counts.sums.iter_mut().zip(self.rows[MANUAL].iter()) {
            *sum = sum.wrapping_add(by_hand.load(Ordering::Acquire));
        }
    }

    /// Returns whether anything has been counted by hand.
    #[inline]
    pub(crate) fn has_counts_by_hand(&self) -> bool {
        is_in_use(&self.rows[MANUAL])
    }

    /// Returns the rows that threads have written so far.
    #[inline]
    fn rows_in_use(&self) -> &[Row] {
        // A thread whose locals are being destroyed uses the shared row, however few threads
        // have existed.
        let rows = if is_in_use(&self.rows[SHARED]) {
            SHARED + 1
        } else {
            thread::used().clamp(1, SHARED)
        };
        &self.rows[..rows]
    }

    /// Returns the value of counter `c`, modulo 2⁶⁴.
    ///
    /// Includes every addition that happens before the call; concurrent additions may be
    /// missing.
    pub(crate) fn sum(&self, c: Counter) -> u64 {
        self.by_hand(c)
            .wrapping_add(sum_of(self.rows_in_use(), c as usize))
    }

    /// Returns what has been added to counter `c` by hand.
    #[inline]
    pub(crate) fn by_hand(&self, c: Counter) -> u64 {
        self.rows[MANUAL][c as usize].load(Ordering::Acquire)
    }

    /// Reads what the engine has counted, one counter after the other, in the order of [`Counter`].
    ///
    /// If the reading thread is held up, the last values may be much newer than the first, and a
    /// thread that has started meanwhile may have a row that was not read. In that case it starts
    /// over, reading up to [`READINGS`] times.
    #[inline(always)]
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts {
            sums: [0; COUNTERS],
            rows: 0,
        };
        for _ in 0..READINGS {
            self.read(&mut counts);
            if !self.have_gone_on(&counts) {
                break;
            }
        }
        counts
    }

    /// Reads what the engine has counted, once.
    #[inline]
    fn read(&self, counts: &mut Counts) {
        let rows = self.rows_in_use();
        counts.rows = rows.len();
        if let [row] = rows {
            // The common case, without a loop over rows.
            for (sum, count) in counts.sums.iter_mut().zip(row.iter()) {
                // Acquire: as in `sum_of`.
                *sum = count.load(Ordering::Acquire);
            }
        } else {
            for (c, sum) in counts.sums.iter_mut().enumerate() {
                *sum = sum_of(rows, c);
            }
        }
    }

    /// Returns whether there are more rows by now, or counters that were read first have advanced
    /// by more than [`DRIFT`].
    #[inline]
    fn have_gone_on(&self, counts: &Counts) -> bool {
        let first = [
            Counter::MutableReleased,
            Counter::Registrations,
            Counter::SharedUnpins,
        ];
        let rows = self.rows_in_use();
        rows.len() != counts.rows
            || first.iter().any(|&c| {
                let now = sum_of(rows, c as usize);
                now.wrapping_sub(counts.of(c)) > DRIFT
            })
    }
}

/// Returns the sum of counter `c` over `rows`.
#[inline]
fn sum_of(rows: &[Row], c: usize) -> u64 {
    // Acquire: pairs with the stores of `add_each`.
    let count = |row: &Row| row[c].load(Ordering::Acquire);
    match rows {
        // The common case, without a loop.
        [row] => count(row),
        _ => rows.iter().map(count).fold(0, u64::wrapping_add),
    }
}

/// Adds to a row that threads share.
fn add_atomically(row: &Row, c: Counter, n: u64) {
    if !is_in_use(row) {
        // Release, before the addition: a thread that sees what follows the addition also
        // sees the mark.
        row[IN_USE].store(1, Ordering::Release);
    }
    row[c as usize].fetch_add(n, Ordering::Release);
}

/// Returns whether a row that threads share has been written.
#[inline]
fn is_in_use(row: &Row) -> bool {
    // Acquire: pairs with the release in `add_atomically`.
    row[IN_USE].load(Ordering::Acquire) != 0
}

/// Handles threads without a row, and threads that have no number yet.
#[cold]
fn add_slowly(rows: &[Row; ROWS], c: Counter, n: u64) {
    let index = thread::index();
    if index < SHARED {
        add_to(&rows[index], c, n);
    } else {
        add_atomically(&rows[SHARED], c, n);
    }
}

/// Adds to a row that belongs to the calling thread.
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
        assert_eq!(stripes.counts().of(Counter::Stagings), 5);
        assert_eq!(stripes.by_hand(Counter::Stagings), 2);
    }

    #[test]
    fn sums_are_exact_with_more_threads_than_rows() {
        const THREADS: usize = SHARED + 9;
        let stripes = Stripes::new();
        // All threads get a number before any of them ends, so some have no row.
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
