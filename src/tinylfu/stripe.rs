//! A short queue of touches between one thread and the table.
//!
//! One *writer* appends, one *reader* at a time takes out, and neither needs
//! an atomic read-modify-write: `tail` is stored by the writer only, `head` by
//! the reader only. That there is one of each is for the tracker to see to.

use std::array;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

use super::counters::{DEPTH, Hashes};

/// How many touches wait at most.
pub(super) const CAPACITY: usize = 32;

/// A bounded queue of one writer and one reader.
///
/// `head` and `tail` count touches taken and appended since the start and
/// wrap around; their difference is the length.
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

    /// Writer: appends a touch and returns the length with it, or `None` if
    /// the queue is full.
    #[inline]
    pub(super) fn push(&self, hashes: Hashes) -> Option<usize> {
        let tail = self.tail.load(Relaxed);
        // Acquire: pairs with `drain`; a slot is written again only after it
        // was read.
        let len = tail.wrapping_sub(self.head.load(Acquire));
        if len >= CAPACITY {
            return None;
        }
        for (slot, hash) in self.slots[tail % CAPACITY].iter().zip(hashes.0) {
            slot.store(hash, Relaxed);
        }
        // Release: pairs with `visible`; who sees the tail sees the slot.
        self.tail.store(tail.wrapping_add(1), Release);
        Some(len + 1)
    }

    /// Whether touches wait. If the caller's own were taken out, the table
    /// has them.
    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        // Acquire: pairs with `drain`, which has applied them first.
        self.head.load(Acquire) != self.tail.load(Acquire)
    }

    /// Reader: gives every touch that is visible now to `apply`, oldest
    /// first, takes it out, and then gives what `apply` returned to `after`.
    ///
    /// Should `after` panic, the rest stays for the next reader.
    #[inline]
    pub(super) fn drain<R>(&self, apply: impl Fn(Hashes) -> R, mut after: impl FnMut(R)) {
        let (head, len) = self.visible();
        for taken in 0..len {
            let at = head.wrapping_add(taken);
            let applied = apply(self.read(at));
            // Release: pairs with `push` and `is_pending`.
            self.head.store(at.wrapping_add(1), Release);
            after(applied);
        }
    }

    /// Reader: shows every touch that is visible now, and leaves it.
    #[inline]
    pub(super) fn peek(&self, mut show: impl FnMut(Hashes)) {
        let (head, len) = self.visible();
        for shown in 0..len {
            show(self.read(head.wrapping_add(shown)));
        }
    }

    /// Reader: where the touches start that can be read, and their number.
    #[inline]
    fn visible(&self) -> (usize, usize) {
        let head = self.head.load(Relaxed);
        // Acquire: pairs with `push`.
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
        // Starting right before the counts wrap.
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
