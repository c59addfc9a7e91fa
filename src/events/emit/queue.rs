//! How does a registration queue an event without waiting for other threads?
//!
//! The queue is a Treiber stack of *segments*, each with places for [`SEGMENT`] values, which
//! readers drain as a whole. One word, the head, has the newest segment's address and the number of
//! its places that are taken. A push
//!
//! 1. *claims* a place: it exchanges the head for one with one more place taken;
//! 2. *fills* the place, and says so by an exchange of the place's state.
//!
//! If the newest segment is full, or there is none, the push allocates a segment, puts the value in
//! its first place, and pushes it: one exchange, since nobody knows the segment yet.
//!
//! | state of a place | next step |
//! |---|---|
//! | empty | the pusher that has claimed it fills it; or the drain *passes it over* |
//! | full | the drain takes the value |
//! | passed over | its pusher takes the value back and pushes it in a segment of its own |
//!
//! So a pusher that is suspended between its two steps blocks neither the drain nor other pushers
//! (in `crossbeam_queue`'s queues it does), and is passed over at most once. A push retries an
//! exchange only when another push has succeeded.
//!
//! # In which order are values drained?
//!
//! In the order of the claims. A value that is passed over comes later, at its second push, but it is
//! one whose push had not ended. So if a push begins after another has ended, its value comes later.
//!
//! # Who frees a segment?
//!
//! A swap of the head makes all segments the drain's. No thread reads a segment through the head: it
//! is the exchange of the head that lets a pusher use the one place that it has claimed. The last to
//! use a segment frees it: the drain, or a pusher whose place was passed over. Both are counted.
//!
//! # What does it cost?
//!
//! A push: two exchanges, and an allocation for each [`SEGMENT`] values that are queued together.
//! There are no more segments than that, so the heap is never left with a small piece per value,
//! freed by another thread than the one that allocated it.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use crate::sync::canary::{self, Canary};
use crate::sync::limits::SEGMENT;
use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering, UnsafeCell};

const EMPTY: u8 = 0;
const FULL: u8 = 1;
const PASSED_OVER: u8 = 2;

/// The bits of a head that count places. A segment's address has none of them.
const PLACES: u64 = 63;
const _: () = assert!(SEGMENT as u64 <= PLACES);

#[repr(align(64))]
struct Segment<T> {
    places: [Place<T>; SEGMENT],
    /// The [`Head`] that was current when the segment was pushed. Once it is drained, the head of
    /// the segment that was pushed next.
    neighbour: AtomicU64,
    /// The number of threads that have still to say that they are done with the segment.
    users: AtomicU32,
    canary: Canary,
}

struct Place<T> {
    state: AtomicU8,
    /// Initialized once the place is full or, if it was passed over, for its pusher.
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Segment<T> {
    /// Creates a segment whose first place has this value.
    fn new(value: T) -> Box<Self> {
        let mut value = Some(value);
        Box::new(Self {
            places: std::array::from_fn(|_| match value.take() {
                Some(value) => Place {
                    state: AtomicU8::new(FULL),
                    value: UnsafeCell::new(MaybeUninit::new(value)),
                },
                None => Place {
                    state: AtomicU8::new(EMPTY),
                    value: UnsafeCell::new(MaybeUninit::uninit()),
                },
            }),
            neighbour: AtomicU64::new(Head::NONE.0),
            users: AtomicU32::new(1),
            canary: Canary::new(),
        })
    }

    /// Frees the segment if the caller is the last to use it.
    ///
    /// # Safety
    ///
    /// The caller is one of the users, and does not use the segment any more.
    unsafe fn leave(segment: *mut Self) {
        // Acquire and release: whatever the users have done comes before it is freed.
        // SAFETY: the caller is a user until now.
        if unsafe { &*segment }.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: it came from a box, and no thread uses it any more.
            let segment = unsafe { Box::from_raw(segment) };
            segment.canary.kill();
            canary::free(segment);
        }
    }

    /// Takes the value of a place, or passes it over if it has none yet. Only for the drain, once
    /// for each place that is claimed.
    fn take(&self, at: usize) -> Option<T> {
        self.canary.check();
        let place = &self.places[at];
        // Acquire, here and below: pairs with the release that fills the place.
        if place.state.load(Ordering::Acquire) == EMPTY {
            // Its pusher becomes a user, before it learns so.
            self.users.fetch_add(1, Ordering::Relaxed);
            // Release: pairs with the acquire of the pusher that finds itself passed over.
            let passed_over = place.state.compare_exchange(
                EMPTY,
                PASSED_OVER,
                Ordering::Release,
                Ordering::Acquire,
            );
            if passed_over.is_ok() {
                return None;
            }
            self.users.fetch_sub(1, Ordering::Relaxed);
        }
        // SAFETY: the place is full, and its pusher is done with it.
        Some(
            place
                .value
                .with(|value| unsafe { (*value).assume_init_read() }),
        )
    }
}

/// A segment, and the number of its places that are taken; or nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head(u64);

impl Head {
    const NONE: Self = Self(0);

    /// The head for a segment that has one value.
    fn first_of<T>(segment: *mut Segment<T>) -> Self {
        // An exchange compares addresses, so a segment may have been freed and its address used for
        // another since the head was read: pointers are restored from addresses.
        Self(segment.expose_provenance() as u64 | 1)
    }

    fn segment<T>(self) -> *mut Segment<T> {
        ptr::with_exposed_provenance_mut((self.0 & !PLACES) as usize)
    }

    fn len(self) -> usize {
        (self.0 & PLACES) as usize
    }
}

/// A lock-free queue with many producers, drained as a whole in the order of the pushes.
///
/// It holds events and whatever else has to be processed in their order.
pub(crate) struct EventQueue<T> {
    /// A [`Head`].
    head: AtomicU64,
    values: PhantomData<T>,
}

// SAFETY: a value belongs to its pusher until its place is full, and to the drain from then on.
unsafe impl<T: Send> Send for EventQueue<T> {}
// SAFETY: as above; no thread has a reference to a value in the queue.
unsafe impl<T: Send> Sync for EventQueue<T> {}

/// A place that a pusher has claimed and not filled yet.
#[must_use = "a place that is not filled is passed over, and its segment never freed"]
struct Claimed<T> {
    segment: *mut Segment<T>,
    at: usize,
}

impl<T> Claimed<T> {
    /// Puts a value into the place, or returns it if the place has been passed over.
    fn fill(self, value: T) -> Result<(), T> {
        // SAFETY: the segment is not freed before this place is full or, if it is passed over,
        // before this thread leaves it.
        let segment = unsafe { &*self.segment };
        segment.canary.check();
        let place = &segment.places[self.at];
        // SAFETY: the drain reads the value only once the place is full.
        place.value.with_mut(|to| unsafe { (*to).write(value) });
        // Release: publishes the value. Acquire: pairs with the release that passes it over.
        let filled =
            place
                .state
                .compare_exchange(EMPTY, FULL, Ordering::Release, Ordering::Acquire);
        if filled.is_ok() {
            return Ok(());
        }
        segment.canary.check();
        // SAFETY: written above, and nobody else reads it.
        let value = place
            .value
            .with(|value| unsafe { (*value).assume_init_read() });
        // SAFETY: the drain has made this thread a user when it passed the place over.
        unsafe { Segment::leave(self.segment) };
        Err(value)
    }
}

impl<T> EventQueue<T> {
    /// Creates an empty queue.
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU64::new(Head::NONE.0),
            values: PhantomData,
        }
    }

    /// Adds a value. Lock-free; allocates if the newest segment is full.
    pub(crate) fn push(&self, value: T) {
        let left = match self.claim() {
            Some(claimed) => claimed.fill(value),
            None => Err(value),
        };
        if let Err(value) = left {
            self.push_segment(Segment::new(value));
        }
    }

    /// Claims a place of the newest segment, unless that is full.
    fn claim(&self) -> Option<Claimed<T>> {
        let mut head = Head(self.head.load(Ordering::Relaxed));
        while head != Head::NONE && head.len() < SEGMENT {
            let claimed = Head(head.0 + 1);
            // Acquire: pairs with the release of the segment's push, whose release sequence all
            // exchanges of the head continue.
            match self.head.compare_exchange_weak(
                head.0,
                claimed.0,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Some(Claimed {
                        segment: head.segment(),
                        at: head.len(),
                    });
                }
                Err(current) => head = Head(current),
            }
        }
        None
    }

    /// Pushes a segment that has its first value.
    #[cold]
    fn push_segment(&self, segment: Box<Segment<T>>) {
        let segment = Box::into_raw(segment);
        let first = Head::first_of(segment);
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: the segment is this thread's until it is pushed.
            unsafe { &*segment }
                .neighbour
                .store(head, Ordering::Relaxed);
            // Release: pairs with the acquires of claims and of the drain.
            match self.head.compare_exchange_weak(
                head,
                first.0,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(current) => head = current,
            }
        }
    }

    /// Returns whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        Head(self.head.load(Ordering::Relaxed)) == Head::NONE
    }

    /// Takes everything whose push has ended, oldest first. What is being pushed meanwhile is taken
    /// as well, or left to the next drain.
    pub(crate) fn drain(&self) -> Drain<T> {
        // Acquire: pairs with the release of each segment's push, see `claim`.
        let mut newest = Head(self.head.swap(Head::NONE.0, Ordering::Acquire));
        let mut oldest = Head::NONE;
        while newest != Head::NONE {
            // SAFETY: the swap has made this thread a user of the segments. Only the drain uses
            // their links now.
            let neighbour = &unsafe { &*newest.segment::<T>() }.neighbour;
            let below = Head(neighbour.load(Ordering::Relaxed));
            neighbour.store(oldest.0, Ordering::Relaxed);
            oldest = newest;
            newest = below;
        }
        Drain {
            from: oldest,
            at: 0,
            values: PhantomData,
        }
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
    /// The oldest segment that is left.
    from: Head,
    /// Its next place.
    at: usize,
    values: PhantomData<T>,
}

impl<T> Iterator for Drain<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        while self.from != Head::NONE {
            let segment: *mut Segment<T> = self.from.segment();
            // SAFETY: this iterator is a user of the segment.
            let shared = unsafe { &*segment };
            if self.at == self.from.len() {
                self.from = Head(shared.neighbour.load(Ordering::Relaxed));
                self.at = 0;
                // SAFETY: as above, until now.
                unsafe { Segment::leave(segment) };
                continue;
            }
            self.at += 1;
            if let Some(value) = shared.take(self.at - 1) {
                return Some(value);
            }
        }
        None
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
        let many = 3 * SEGMENT + 1;
        (0..many).for_each(|n| queue.push(n));
        assert!(!queue.is_empty());
        assert!(queue.drain().eq(0..many));
        queue.push(5);
        assert_eq!(queue.drain().collect::<Vec<_>>(), [5]);
        assert!(queue.is_empty());
    }

    #[test]
    fn memory_is_allocated_for_several_values_at_once() {
        let queue = EventQueue::new();
        (0..10 * SEGMENT).for_each(|n| queue.push(n));
        let mut segments = 0;
        let mut head = Head(queue.head.load(Ordering::Relaxed));
        while head != Head::NONE {
            segments += 1;
            assert_eq!(head.len(), SEGMENT, "it is full");
            // SAFETY: the queue has the segment, and no other thread uses it.
            let segment = unsafe { &*head.segment::<usize>() };
            head = Head(segment.neighbour.load(Ordering::Relaxed));
        }
        assert_eq!(segments, 10);
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

    /// A pusher that stops before it fills its place holds up neither pushers nor a drain, and its
    /// value is not lost.
    #[test]
    fn a_place_that_is_not_filled_is_passed_over() {
        let value = Arc::new(());
        let queue = EventQueue::new();
        queue.push((0, Arc::clone(&value)));
        let late = queue.claim().expect("there is a place");
        queue.push((2, Arc::clone(&value)));
        let drained: Vec<_> = queue.drain().map(|(n, _)| n).collect();
        assert_eq!(drained, [0, 2]);
        let Err(left) = late.fill((1, Arc::clone(&value))) else {
            panic!("it has been passed over");
        };
        queue.push(left);
        assert_eq!(queue.drain().map(|(n, _)| n).collect::<Vec<_>>(), [1]);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn threads_lose_no_value() {
        const EACH: usize = if cfg!(miri) { 100 } else { 20_000 };
        let queue = EventQueue::new();
        let mut seen = [0; 4];
        let mut see = |drain: Drain<(usize, usize)>| {
            for (pusher, n) in drain {
                assert_eq!(seen[pusher], n, "in the order of its pushes");
                seen[pusher] += 1;
            }
        };
        std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4)
                .map(|pusher| {
                    let queue = &queue;
                    scope.spawn(move || (0..EACH).for_each(|n| queue.push((pusher, n))))
                })
                .collect();
            while pushers.iter().any(|pusher| !pusher.is_finished()) {
                see(queue.drain());
            }
        });
        see(queue.drain());
        assert_eq!(seen, [EACH; 4]);
    }
}
