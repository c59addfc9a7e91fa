//! A small integer for every live thread.
//!
//! Sharding by thread needs a number that is cheap to read and dense: the
//! first threads get 0, 1, 2, …, and a number is handed out again once its
//! thread has exited. A structure with more rows than there are threads can
//! therefore give each thread a row of its own, and write it without a locked
//! instruction.
//!
//! # Ordering
//!
//! Whoever is handed a number sees everything its previous owner wrote: the
//! release in [`Lease::drop`] pairs with the acquire in [`claim`]. That is what
//! allows plain load-and-store updates of a row across owners.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads alive at once that get a number; those beyond share [`EXHAUSTED`].
const CAPACITY: usize = 64 * 1024;

const UNASSIGNED: usize = usize::MAX - 1;

/// The index of a thread that has no number of its own: one whose locals are
/// being destroyed, or one started when every number was taken.
pub(crate) const EXHAUSTED: usize = usize::MAX;

/// Bit `i` of word `w` is set while some thread owns `64 * w + i`.
static TAKEN: [AtomicU64; CAPACITY / 64] = [const { AtomicU64::new(0) }; CAPACITY / 64];

/// One above the highest number that has been handed out.
static USED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    // Without a destructor, so that it can be read at any moment of a thread's
    // life and costs one load.
    static INDEX: Cell<usize> = const { Cell::new(UNASSIGNED) };
    static LEASE: Lease = Lease(claim());
}

/// Gives the thread's number back when the thread exits.
struct Lease(usize);

impl Drop for Lease {
    fn drop(&mut self) {
        INDEX.set(EXHAUSTED);
        if self.0 != EXHAUSTED {
            // Release: pairs with the acquire in `claim`.
            TAKEN[self.0 / 64].fetch_and(!(1 << (self.0 % 64)), Ordering::Release);
        }
    }
}

/// The calling thread's number, unique among live threads, or [`EXHAUSTED`].
#[inline]
pub(crate) fn index() -> usize {
    let index = INDEX.get();
    if index == UNASSIGNED { assign() } else { index }
}

/// The calling thread's number, if it has asked for it before; else one that is larger than
/// any. One load.
#[inline]
pub(crate) fn known_index() -> usize {
    INDEX.get()
}

#[cold]
fn assign() -> usize {
    let index = LEASE.try_with(|lease| lease.0).unwrap_or(EXHAUSTED);
    if index != EXHAUSTED {
        // Before the number is used. Release: pairs with the acquire in `used`.
        USED.fetch_max(index + 1, Ordering::AcqRel);
    }
    INDEX.set(index);
    index
}

/// One above the highest number that any thread has had: no thread that the caller can know
/// of has had a higher one. Numbers are dense, so this is about how many threads there
/// were at once.
pub(crate) fn used() -> usize {
    USED.load(Ordering::Acquire)
}

/// Takes the lowest number no live thread owns.
fn claim() -> usize {
    for (at, word) in TAKEN.iter().enumerate() {
        let mut seen = word.load(Ordering::Relaxed);
        while seen != u64::MAX {
            let bit = seen.trailing_ones();
            // Acquire: pairs with the release in `Lease::drop`.
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
