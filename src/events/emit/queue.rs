//! How does a registration queue an event without waiting for other threads?
//!
//! It pushes onto a Treiber stack, which readers drain as a whole. A push retries its
//! compare-exchange only when another push has succeeded, so a suspended thread never blocks
//! another. (In `crossbeam_queue`'s queues, a pusher that is suspended while it adds a segment
//! does.) Draining by a single swap is what makes the stack safe without epochs: no thread
//! follows a node's link while another thread can free that node.

use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

struct QueueNode<T> {
    value: T,
    /// The node pushed before this one.
    previous: *mut QueueNode<T>,
}

/// A lock-free queue with many producers, drained as a whole in the order of the pushes.
///
/// It holds events and whatever else has to be processed in their order.
pub(crate) struct EventQueue<T> {
    newest: AtomicPtr<QueueNode<T>>,
}

// SAFETY: a node belongs to one thread until it is pushed, and to one thread again once it
// has been drained.
unsafe impl<T: Send> Send for EventQueue<T> {}
// SAFETY: as above; no thread holds a reference to a node in the stack.
unsafe impl<T: Send> Sync for EventQueue<T> {}

impl<T> EventQueue<T> {
    /// Creates an empty queue.
    pub(crate) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Adds a value. Lock-free; allocates a node.
    pub(crate) fn push(&self, value: T) {
        let mut previous = self.newest.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(QueueNode { value, previous }));
        // Lets `drain` restore the pointer from its address.
        node.expose_provenance();
        // Release: pairs with the acquire in `drain` and publishes the node. The nodes
        // below were published by releases of their own, whose release sequences this
        // exchange continues.
        while let Err(current) =
            self.newest
                .compare_exchange_weak(previous, node, Ordering::Release, Ordering::Relaxed)
        {
            previous = current;
            // SAFETY: the node is this thread's until it is pushed.
            unsafe { (*node).previous = previous };
        }
    }

    /// Returns whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::Relaxed).is_null()
    }

    /// Takes everything, oldest first.
    pub(crate) fn drain(&self) -> Drain<T> {
        // Acquire: pairs with the release in `push`.
        let mut newest = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: nodes in the stack came from `Box::into_raw` in `push`, and the swap
            // has made them this thread's.
            let previous = unsafe { ptr::replace(&raw mut (*newest).previous, oldest) };
            oldest = newest;
            // The link is the address that the head held at the push. The node there may
            // be a later one than the node whose pointer the pusher loaded.
            newest = ptr::with_exposed_provenance_mut(previous.addr());
        }
        Drain { next: oldest }
    }
}

impl<T> Drop for EventQueue<T> {
    fn drop(&mut self) {
        drop(self.drain());
    }
}

/// An iterator over drained values, oldest first.
#[must_use = "values that are not read are dropped"]
pub(crate) struct Drain<T> {
    next: *mut QueueNode<T>,
}

impl<T> Iterator for Drain<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the nodes belong to this iterator and came from `Box::into_raw`.
        let node = unsafe { Box::from_raw(self.next) };
        // `drain` has reversed the links.
        self.next = node.previous;
        Some(node.value)
    }
}

impl<T> Drop for Drain<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn values_are_drained_in_the_order_of_the_pushes() {
        let queue = EventQueue::new();
        assert!(queue.is_empty());
        assert_eq!(queue.drain().next(), None);
        (0..5).for_each(|n| queue.push(n));
        assert!(!queue.is_empty());
        assert_eq!(queue.drain().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        queue.push(5);
        assert_eq!(queue.drain().collect::<Vec<_>>(), [5]);
        assert!(queue.is_empty());
    }

    #[test]
    fn values_that_are_not_read_are_dropped_once() {
        let value = Arc::new(());
        let queue = EventQueue::new();
        (0..4).for_each(|_| queue.push(Arc::clone(&value)));
        let mut drain = queue.drain();
        drain.next();
        assert_eq!(Arc::strong_count(&value), 4);
        drop(drain);
        assert_eq!(Arc::strong_count(&value), 1);
        queue.push(Arc::clone(&value));
        drop(queue);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
