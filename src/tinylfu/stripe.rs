//! A short queue of touches between one thread and the table.
//!
//! One *writer* appends and one *reader* at a time removes. Neither needs an atomic
//! read-modify-write operation: only the writer stores `tail`, and only the reader stores
//! `head`. The tracker ensures that there is at most one of each.

use std::array;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::counters::{DEPTH, Hashes};

/// The maximum number of queued touches.
pub(super) const CAPACITY: usize = 32;

/// A bounded single-producer, single-consumer queue.
///
/// `head` and `tail` count the touches removed and appended since the start and wrap around;
/// their difference is the length.
pub(super) struct Stripe {
    tail: AtomicUsize,
    head: AtomicUsize,
    slots: [[AtomicU64; DEPTH]; CAPACITY],
}

impl Stripe {
    pub(super) fn new() -> Self {
        Self {
            tail: AtomicUsize::new(0),
            head: AtomicUsize::new(0),
            slots: array::from_fn(|_| array::from_fn(|_| AtomicU64::new(0))),
        }
    }

    /// For the writer: appends a touch and returns the new length, or `None` if the queue is
    /// full.
    #[inline]
    pub(super) fn push(&self, hashes: Hashes) -> Option<usize> {
        let tail = self.tail.load(Relaxed);
        // Acquire: pairs with the release in `drain`, so that a slot is overwritten only after
        // it has been read.
        let len = tail.wrapping_sub(self.head.load(Acquire));
        if len >= CAPACITY {
            return None;
        }
        for (slot, hash) in self.slots[tail % CAPACITY].iter().zip(hashes.0) {
            slot.store(hash, Relaxed);
        }
        // Release: pairs with the acquire in `visible`, so that a reader that sees the new
        // tail also sees the slot.
        self.tail.store(tail.wrapping_add(1), Release);
        Some(len + 1)
    }

    /// Returns whether touches are queued. If not, the table contains all of the calling
    /// thread's touches.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        // Acquire of `head`: pairs with the release in `drain`, which follows the increment.
        self.head.load(Acquire) != self.tail.load(Acquire)
    }

    /// For the reader: passes each touch that is visible now to `apply`, oldest first, removes
    /// it, and then passes the result of `apply` to `after`.
    ///
    /// If `after` panics, the remaining touches stay for the next reader.
    #[inline]
    pub(super) fn drain<R>(&self, apply: impl Fn(Hashes) -> R, mut after: impl FnMut(R)) {
        let (head, len) = self.visible();
        for taken in 0..len {
            let at = head.wrapping_add(taken);
            let applied = apply(self.read(at));
            // Release: pairs with the acquires in `push` and `is_pending`.
            self.head.store(at.wrapping_add(1), Release);
            after(applied);
        }
    }

    /// For the reader: passes each touch that is visible now to `show` without removing it.
    #[inline]
    pub(super) fn peek(&self, mut show: impl FnMut(Hashes)) {
        let (head, len) = self.visible();
        for shown in 0..len {
            show(self.read(head.wrapping_add(shown)));
        }
    }

    /// For the reader: returns the position of the oldest touch and the number of touches.
    #[inline]
    fn visible(&self) -> (usize, usize) {
        let head = self.head.load(Relaxed);
        // Acquire: pairs with the release in `push`.
        let len = self.tail.load(Acquire).wrapping_sub(head);
        debug_assert!(len <= CAPACITY, "one writer, one reader");
        (head, len)
    }

    #[inline]
    fn read(&self, at: usize) -> Hashes {
        let slot = &self.slots[at % CAPACITY];
        Hashes(array::from_fn(|row| slot[row].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(stripe: &Stripe) -> Vec<u64> {
        let mut taken = Vec::new();
        stripe.drain(|hashes| hashes.0[0], |touch| taken.push(touch));
        taken
    }

    #[test]
    fn touches_come_out_in_order_and_a_full_stripe_refuses() {
        let stripe = Stripe::new();
        // Start just before the counts wrap.
        stripe.tail.store(usize::MAX - 5, Relaxed);
        stripe.head.store(usize::MAX - 5, Relaxed);
        for round in 0..3 {
            assert!(!stripe.is_pending());
            let touches: Vec<u64> = (0..CAPACITY as u64).map(|i| round * 100 + i).collect();
            for (i, &touch) in touches.iter().enumerate() {
                assert_eq!(stripe.push(Hashes([touch; DEPTH])), Some(i + 1));
            }
            let mut shown = Vec::new();
            stripe.peek(|hashes| shown.push(hashes.0[DEPTH - 1]));
            assert_eq!(shown, touches);
            assert!(stripe.push(Hashes([0; DEPTH])).is_none());
            assert!(stripe.is_pending());
            assert_eq!(take_all(&stripe), touches);
        }
    }

    #[test]
    fn a_reader_beside_the_writer_sees_every_touch_once_in_order() {
        let stripe = Stripe::new();
        let total = 20_000;
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for touch in 0..total {
                    while stripe.push(Hashes([touch; DEPTH])).is_none() {
                        std::thread::yield_now();
                    }
                }
            });
            while taken.len() < total as usize {
                taken.extend(take_all(&stripe));
                std::thread::yield_now();
            }
        });
        assert!(taken.into_iter().eq(0..total));
    }
}
