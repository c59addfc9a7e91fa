//! A count that many threads change: a row of its own for each thread, summed
//! when it is read.

use crossbeam_utils::CachePadded;

use crate::engine::sync::{AtomicU64, Ordering};
use crate::engine::thread;

/// Threads with a row of their own; the others share the last one.
pub(super) const ROWS: usize = 32;

/// See the module documentation.
pub(super) struct Tally {
    rows: [CachePadded<AtomicU64>; ROWS + 1],
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { rows: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))) }
    }

    /// Adds to the calling thread's row; returns what the row then holds.
    #[inline]
    pub(super) fn add(&self, n: u64) -> u64 {
        let index = thread::index();
        if index < ROWS {
            // The only writer: see `engine::thread` for the owners before it.
            let row = &self.rows[index];
            let sum = row.load(Ordering::Relaxed).wrapping_add(n);
            row.store(sum, Ordering::Relaxed);
            sum
        } else {
            self.rows[ROWS].fetch_add(n, Ordering::Relaxed).wrapping_add(n)
        }
    }

    /// Subtracts from the calling thread's row; returns what the row then holds.
    /// Rows may wrap, the sum does not.
    #[inline]
    pub(super) fn subtract(&self, n: u64) -> u64 {
        self.add(n.wrapping_neg())
    }

    /// The sum of the rows. Exact while nobody changes it.
    pub(super) fn sum(&self) -> u64 {
        let sum = self
            .rows
            .iter()
            .fold(0_u64, |sum, row| sum.wrapping_add(row.load(Ordering::Relaxed)));
        // Rows read while they change can sum to less than nothing.
        if (sum as i64) < 0 { 0 } else { sum }
    }
}
