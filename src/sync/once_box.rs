//! A value that is made once, by the first thread that needs it. No thread waits for another.
//!
//! | the cell | a thread that needs the value | orderings |
//! |---|---|---|
//! | is empty | makes a value and tries to put it into the cell | release: what is in the value happens before its uses |
//! | is empty, but filled when the thread tries | drops its own value and uses the other | acquire |
//! | is full | uses the value; the cell never changes again | acquire |
//!
//! Threads that need the first value at the same time each make one. In return, a thread that is
//! suspended while it makes its value blocks nobody.

use std::marker::PhantomData;
use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// See the module documentation.
pub(crate) struct OnceBox<T> {
    value: AtomicPtr<T>,
    /// Drops the value, on whichever thread drops the cell.
    owns: PhantomData<Box<T>>,
}

impl<T: Send + Sync> OnceBox<T> {
    pub(crate) fn new() -> Self {
        Self {
            value: AtomicPtr::new(ptr::null_mut()),
            owns: PhantomData,
        }
    }

    /// Returns the value, if there is one.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the release in `get_or_make`.
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: the cell's pointer is null or that of a value that was put into the cell, which
        // is dropped only with the cell.
        unsafe { value.as_ref() }
    }

    /// Returns the value. Makes it first if there is none, in which case the value that is made
    /// may turn out not to be needed, and is dropped.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let made = Box::into_raw(Box::new(make()));
        // Release: the value is complete before it can be seen. Acquire: so is the other one.
        let put = self.value.compare_exchange(
            ptr::null_mut(),
            made,
            Ordering::Release,
            Ordering::Acquire,
        );
        let value = put.map_or_else(
            |first| {
                // SAFETY: `made` comes from a box, and is known to this thread only.
                drop(unsafe { Box::from_raw(made) });
                first
            },
            |_| made,
        );
        // SAFETY: `value` is in the cell now, so it is dropped only with the cell.
        unsafe { &*value }
    }
}

impl<T> Drop for OnceBox<T> {
    fn drop(&mut self) {
        // Relaxed: whoever drops the cell has been told of it by all threads that used it.
        let value = self.value.load(Ordering::Relaxed);
        if !value.is_null() {
            // SAFETY: the pointer comes from a box, and nothing uses the cell any more.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_first_value_stays_and_all_are_dropped() {
        let counted = Arc::new(());
        let cell = OnceBox::new();
        assert!(cell.get().is_none());
        let values: Vec<usize> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|n| {
                    let (cell, counted) = (&cell, &counted);
                    scope.spawn(move || cell.get_or_make(|| (n, Arc::clone(counted))).0)
                })
                .collect();
            let joined = threads.into_iter().map(|thread| thread.join().unwrap());
            joined.collect()
        });
        let &(first, _) = cell.get().expect("it is full");
        assert_eq!(values, [first; 4]);
        assert_eq!(Arc::strong_count(&counted), 2);
        drop(cell);
        assert_eq!(Arc::strong_count(&counted), 1);
    }
}

#[cfg(all(test, kvbm_loom))]
mod models {
    use std::sync::Arc;

    use super::*;
    use crate::models::{explore, spawn};
    use crate::sync::UnsafeCell;

    struct Shared(UnsafeCell<u32>);

    // SAFETY: written only before it is shared.
    unsafe impl Sync for Shared {}

    fn read(cell: &OnceBox<Shared>) {
        let Shared(value) = cell.get_or_make(|| {
            let value = UnsafeCell::new(0);
            // SAFETY: no other thread knows the value yet.
            value.with_mut(|value| unsafe { *value = 7 });
            Shared(value)
        });
        // SAFETY: no thread writes it any more.
        assert_eq!(value.with(|value| unsafe { *value }), 7);
    }

    /// What a thread reads of the value was written before, whichever thread made it.
    #[test]
    fn two_threads_need_the_value() {
        explore(|| {
            let cell = Arc::new(OnceBox::new());
            let other = {
                let cell = Arc::clone(&cell);
                spawn(0, move || read(&cell))
            };
            read(&cell);
            other.join().unwrap();
        });
    }
}
