//! Buffers of guards as buffers of holds.
//!
//! A guard is its hold, and a metadata type that takes no space. Methods of a manager are generic
//! over that type, and so are compiled again in each crate that uses them, in which the compiler
//! decides afresh what to inline. The loops that pin and unpin blocks are therefore not generic: they
//! are compiled once, in this crate, and take a buffer of holds, whatever the guards are.
//!
//! * [`append`] lends the spare capacity of a vector of guards as a [`Room`] for holds.
//! * [`drain`] takes the guards out of a vector as [`Holds`].
//!
//! Both turn guards into holds and back one by one, in place. For a guard that is nothing but its hold
//! that is no work, and the compiler removes it.

use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};

/// Room for holds.
pub(crate) struct Room<'b, H> {
    next: *mut H,
    end: *mut H,
    buffer: PhantomData<&'b mut [MaybeUninit<H>]>,
}

impl<H> Room<'_, H> {
    /// Returns for how many more holds there is room.
    #[inline]
    pub(crate) fn left(&self) -> usize {
        // SAFETY: both point into the same buffer, or to its end, `next` not behind `end`.
        unsafe { self.end.offset_from_unsigned(self.next) }
    }

    /// Returns the same room, for a loop that adds holds: as a variable of its own, it can be kept in
    /// registers. What is added there counts once this [has caught up](Self::catch_up).
    #[inline(always)]
    pub(crate) fn ahead(&mut self) -> Self {
        Self { ..*self }
    }

    /// Counts what has been added ahead.
    ///
    /// # Safety
    ///
    /// `ahead` was returned by [`ahead`](Self::ahead) of this room.
    #[inline(always)]
    pub(crate) unsafe fn catch_up(&mut self, ahead: &Self) {
        debug_assert!(self.end == ahead.end && self.next <= ahead.next);
        self.next = ahead.next;
    }

    /// Adds a hold.
    ///
    /// # Safety
    ///
    /// There is room for it.
    #[inline(always)]
    pub(crate) unsafe fn push(&mut self, hold: H) {
        debug_assert!(self.left() > 0);
        // SAFETY: the caller's contract, by which `next` is before the end of the buffer.
        unsafe {
            self.next.write(hold);
            self.next = self.next.add(1);
        }
    }
}

/// Calls `fill` with room for `room` holds, and appends the holds that it adds to `guards`, as the
/// guards that `guard` makes of them: even if `fill` panics. Returns how many there are.
///
/// Allocates only if `guards` has too little capacity.
#[inline]
pub(crate) fn append<H, G>(
    guards: &mut Vec<G>,
    room: usize,
    guard: impl Fn(H) -> G,
    fill: impl FnOnce(&mut Room<'_, H>),
) -> usize {
    const { assert!(size_of::<H>() == size_of::<G>() && align_of::<H>() == align_of::<G>()) };

    struct Filling<'g, 'b, H, G, F: Fn(H) -> G> {
        guards: &'g mut Vec<G>,
        guard: F,
        first: *mut H,
        room: Room<'b, H>,
    }

    impl<H, G, F: Fn(H) -> G> Filling<'_, '_, H, G, F> {
        #[inline(always)]
        fn added(&self) -> usize {
            // SAFETY: both point into the same buffer, and `next` only moves forward.
            unsafe { self.room.next.offset_from_unsigned(self.first) }
        }
    }

    impl<H, G, F: Fn(H) -> G> Drop for Filling<'_, '_, H, G, F> {
        #[inline(always)]
        fn drop(&mut self) {
            let added = self.added();
            for at in 0..added {
                // SAFETY: `Room::push` has written these holds. Each is read once, and a guard, which
                // has the same size and alignment, is written in its place.
                unsafe {
                    let hold = self.first.add(at);
                    hold.cast::<G>().write((self.guard)(hold.read()));
                }
            }
            // SAFETY: as many guards have just been written behind those that were there, within the
            // capacity.
            unsafe { self.guards.set_len(self.guards.len() + added) };
        }
    }

    guards.reserve(room);
    let first = guards.spare_capacity_mut().as_mut_ptr().cast::<H>();
    let mut filling = Filling {
        guards,
        guard,
        first,
        room: Room {
            next: first,
            // SAFETY: the vector has just reserved that much.
            end: unsafe { first.add(room) },
            buffer: PhantomData,
        },
    };
    fill(&mut filling.room);
    filling.added()
}

/// Holds that were taken out of a vector. Those that are not taken out of here are dropped.
pub(crate) struct Holds<'b, H> {
    next: *mut H,
    end: *mut H,
    buffer: PhantomData<&'b mut [H]>,
}

/// Takes all guards out of a vector, which keeps its capacity, as the holds that `hold` makes of them.
#[inline]
pub(crate) fn drain<H, G>(guards: &mut Vec<G>, hold: impl Fn(G) -> H) -> Holds<'_, H> {
    const { assert!(size_of::<H>() == size_of::<G>() && align_of::<H>() == align_of::<G>()) };
    let count = guards.len();
    // SAFETY: the guards are now this function's. If `hold` panicked, they would be forgotten.
    unsafe { guards.set_len(0) };
    let first = guards.as_mut_ptr();
    for at in 0..count {
        // SAFETY: there are `count` guards. Each is read once, and a hold, which has the same size
        // and alignment, is written in its place.
        unsafe {
            let guard = first.add(at);
            guard.cast::<H>().write(hold(guard.read()));
        }
    }
    let next = first.cast::<H>();
    Holds {
        next,
        // SAFETY: the holds are that many.
        end: unsafe { next.add(count) },
        buffer: PhantomData,
    }
}

impl<H> Holds<'_, H> {
    /// Takes out all holds, for a loop: as a variable of its own, this can be kept in registers.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Self {
        let next = mem::replace(&mut self.next, self.end);
        Self {
            next,
            end: self.end,
            buffer: PhantomData,
        }
    }
}

impl<H> Iterator for Holds<'_, H> {
    type Item = H;

    #[inline(always)]
    fn next(&mut self) -> Option<H> {
        if self.next == self.end {
            return None;
        }
        let hold = self.next;
        // SAFETY: from `next` to `end` there are holds. This one is read, and then not one of them.
        unsafe {
            self.next = hold.add(1);
            Some(hold.read())
        }
    }
}

impl<H> Drop for Holds<'_, H> {
    #[inline]
    fn drop(&mut self) {
        if mem::needs_drop::<H>() {
            self.for_each(drop);
        }
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::rc::Rc;

    use super::*;

    #[derive(Debug)]
    struct Guard(Rc<u32>);

    fn values(guards: &[Guard]) -> Vec<u32> {
        guards.iter().map(|guard| *guard.0).collect()
    }

    fn push(room: &mut Room<'_, Rc<u32>>, values: impl IntoIterator<Item = u32>) {
        for value in values {
            assert!(room.left() > 0);
            // SAFETY: there is room.
            unsafe { room.push(Rc::new(value)) };
        }
    }

    #[test]
    fn what_is_pushed_is_appended() {
        let mut guards = vec![Guard(Rc::new(1))];
        assert_eq!(append(&mut guards, 3, Guard, |room| push(room, [2, 3])), 2);
        assert_eq!(append(&mut guards, 0, Guard, |_| {}), 0);
        assert_eq!(append(&mut guards, 2, Guard, |room| push(room, [4, 5])), 2);
        assert_eq!(values(&guards), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn nothing_is_allocated_within_the_capacity() {
        let mut guards = Vec::with_capacity(4);
        let address = guards.as_ptr();
        append(&mut guards, 4, Guard, |room| push(room, 0..4));
        assert_eq!(drain(&mut guards, |Guard(hold)| hold).count(), 4);
        append(&mut guards, 4, Guard, |room| push(room, 0..4));
        assert_eq!(guards.as_ptr(), address);
    }

    #[test]
    fn a_panic_loses_nothing() {
        let shared = Rc::new(7);
        let mut guards = Vec::new();
        let panics = catch_unwind(AssertUnwindSafe(|| {
            append(&mut guards, 3, Guard, |room| {
                // SAFETY: there is room for three.
                unsafe { room.push(Rc::clone(&shared)) };
                panic!("a policy");
            })
        }));
        assert!(panics.is_err());
        assert_eq!((values(&guards), Rc::strong_count(&shared)), (vec![7], 2));
    }

    #[test]
    fn holds_that_are_not_taken_are_dropped() {
        let shared = Rc::new(7);
        let mut guards: Vec<_> = (0..5).map(|_| Guard(Rc::clone(&shared))).collect();
        let mut holds = drain(&mut guards, |Guard(hold)| hold);
        let first = holds.next().unwrap();
        drop(holds);
        assert_eq!((guards.len(), Rc::strong_count(&first)), (0, 2));
    }
}
