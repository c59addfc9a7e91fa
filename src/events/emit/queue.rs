//! The notes that registrations leave: a stack that is emptied at once.
//!
//! A push is an exchange of the head and retries only because another push has
//! succeeded, so a thread that is suspended in one stops nobody. (The queues of
//! `crossbeam_queue` make pushers wait for one that is suspended while it adds a
//! segment.) Taking everything by one exchange is what makes the stack safe
//! without epochs: nobody follows a link of a note that another can free.

use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

struct Note<T> {
    value: T,
    /// The note before this one.
    before: *mut Note<T>,
}

/// See the module documentation.
pub(crate) struct Notes<T> {
    newest: AtomicPtr<Note<T>>,
}

// SAFETY: a note is one thread's until it is pushed, and one thread's again once
// it has been taken.
unsafe impl<T: Send> Send for Notes<T> {}
// SAFETY: as above; there are no references to notes in the stack.
unsafe impl<T: Send> Sync for Notes<T> {}

impl<T> Notes<T> {
    pub(crate) fn new() -> Self {
        Self {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Leaves a note. Lock-free; allocates it.
    pub(crate) fn push(&self, value: T) {
        let mut before = self.newest.load(Ordering::Relaxed);
        let note = Box::into_raw(Box::new(Note { value, before }));
        // For `take`.
        note.expose_provenance();
        // Release: pairs with the acquire in `take`, for the note; those below
        // came with releases of their own, whose sequence this exchange goes on.
        while let Err(now) =
            self.newest
                .compare_exchange_weak(before, note, Ordering::Release, Ordering::Relaxed)
        {
            before = now;
            // SAFETY: the note is this thread's until it is pushed.
            unsafe { (*note).before = before };
        }
    }

    /// Whether there are no notes.
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.load(Ordering::Relaxed).is_null()
    }

    /// Takes all notes, the oldest first.
    pub(crate) fn take(&self) -> Taken<T> {
        // Acquire: pairs with the release in `push`.
        let mut newest = self.newest.swap(ptr::null_mut(), Ordering::Acquire);
        let mut oldest = ptr::null_mut();
        while !newest.is_null() {
            // SAFETY: notes in the stack came from `Box::into_raw` in `push`, and
            // the exchange has made them this thread's.
            let before = unsafe { ptr::replace(&raw mut (*newest).before, oldest) };
            oldest = newest;
            // The link is the address that the head had at the push. The note there may
            // be a later one than that which the pusher read it of.
            newest = ptr::with_exposed_provenance_mut(before.addr());
        }
        Taken { next: oldest }
    }
}

impl<T> Drop for Notes<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Notes that have been taken, the oldest first.
pub(crate) struct Taken<T> {
    next: *mut Note<T>,
}

impl<T> Iterator for Taken<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.next.is_null() {
            return None;
        }
        // SAFETY: the notes are this iterator's and came from `Box::into_raw`.
        let note = unsafe { Box::from_raw(self.next) };
        // `take` has turned the links round.
        self.next = note.before;
        Some(note.value)
    }
}

impl<T> Drop for Taken<T> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn notes_come_in_the_order_they_were_left() {
        let notes = Notes::new();
        assert!(notes.is_empty());
        assert_eq!(notes.take().next(), None);
        (0..5).for_each(|n| notes.push(n));
        assert!(!notes.is_empty());
        assert_eq!(notes.take().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        notes.push(5);
        assert_eq!(notes.take().collect::<Vec<_>>(), [5]);
        assert!(notes.is_empty());
    }

    #[test]
    fn what_is_not_read_is_dropped_once() {
        let value = Arc::new(());
        let notes = Notes::new();
        (0..4).for_each(|_| notes.push(Arc::clone(&value)));
        let mut taken = notes.take();
        taken.next();
        assert_eq!(Arc::strong_count(&value), 4);
        drop(taken);
        assert_eq!(Arc::strong_count(&value), 1);
        notes.push(Arc::clone(&value));
        drop(notes);
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
