//! A small integer for every live thread.
//!
//! Sharding by thread needs numbers that are dense and cheap to read. The first threads get 0, 1,
//! 2, …, and a number is reused once its thread has exited. A structure with more rows than there
//! are threads can give each thread a row of its own, which the thread can then write without
//! atomic read-modify-write operations.
//!
//! # Ordering
//!
//! A thread that is given a number sees everything that the number's previous owner wrote: the
//! release in [`NumberLease::drop`] pairs with the acquire in [`claim`]. So rows can be
//! updated with plain loads and stores by one owner after another.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The number of live threads that get a number. Any more of them share [`EXHAUSTED`].
const CAPACITY: usize = 64 * 1024;

const UNASSIGNED: usize = usize::MAX - 1;

/// The index of a thread without a number: one whose locals are being destroyed, or one that
/// started when every number was taken.
pub(crate) const EXHAUSTED: usize = usize::MAX;

/// Bit `i` of word `w` is set while some thread owns `64 * w + i`.
static TAKEN: [AtomicU64; CAPACITY / 64] = [const { AtomicU64::new(0) }; CAPACITY / 64];

/// One more than the highest number that has been assigned.
static USED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Without a destructor, so that it can be read at any time in a thread's life, with a single
    // load.
    static INDEX: Cell<usize> = const { Cell::new(UNASSIGNED) };
    static LEASE: NumberLease = NumberLease(claim());
}

/// Returns the thread's number to the pool when the thread exits.
struct NumberLease(usize);

impl Drop for NumberLease {
    fn drop(&mut self) {
        INDEX.set(EXHAUSTED);
        if self.0 != EXHAUSTED {
            // Release: pairs with the acquire in `claim`.
            TAKEN[self.0 / 64].fetch_and(!(1 << (self.0 % 64)), Ordering::Release);
        }
    }
}

/// Returns the calling thread's number, unique among live threads, or [`EXHAUSTED`].
#[inline]
pub(crate) fn index() -> usize {
    let index = INDEX.get();
    if index == UNASSIGNED { assign() } else { index }
}

/// Returns the calling thread's number if it has already been assigned, or else a value greater
/// than any number. Takes one load.
#[inline]
pub(crate) fn known_index() -> usize {
    INDEX.get()
}

#[cold]
fn assign() -> usize {
    let index = LEASE.try_with(|lease| lease.0).unwrap_or(EXHAUSTED);
    if index != EXHAUSTED {
        // Must happen before the number is used. Release: pairs with the acquire in `used`.
        USED.fetch_max(index + 1, Ordering::AcqRel);
    }
    INDEX.set(index);
    index
}

/// Returns one more than the highest number that any thread has had. No thread that the caller can
/// know about has had a higher one. Since numbers are dense, this is about the maximum number of
/// threads that have been alive at once.
pub(crate) fn used() -> usize {
    USED.load(Ordering::Acquire)
}

/// Takes the lowest number that no live thread has.
fn claim() -> usize {
    for (at, word) in TAKEN.iter().enumerate() {
        let mut seen = word.load(Ordering::Relaxed);
        while seen != u64::MAX {
            let bit = seen.trailing_ones();
            // Acquire: pairs with the release in `NumberLease::drop`.
            match word.compare_exchange_weak(
                seen,
                seen | 1 << bit,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return at * 64 + bit as usize,
                Err(now) => seen = now,
            }
        }
    }
    EXHAUSTED
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Barrier;

    #[test]
    fn live_threads_have_different_numbers() {
        let barrier = Barrier::new(100);
        let numbers: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100)
                .map(|_| {
                    scope.spawn(|| {
                        let index = index();
                        barrier.wait();
                        index
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn numbers_are_handed_out_again() {
        let highest = (0..1000)
            .map(|_| std::thread::spawn(index).join().unwrap())
            .max()
            .unwrap();
        assert!(
            highest < 999,
            "number {highest} for the last of 1000 short-lived threads"
        );
    }
}
