//! A lock that nobody waits for: who finds it taken does without.
//!
//! The policy plane, the stashes and the registry's upkeep are guarded by one each: plain
//! sequential data, with a way around for when the holder does not come back.

use std::ops::{Deref, DerefMut};

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, Ordering, UnsafeCell};

/// See the module documentation.
pub(crate) struct TryLock<T> {
    taken: CachePadded<AtomicBool>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through `Held`, of which there is one at a
// time, on one thread after the other.
unsafe impl<T: Send> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: CachePadded::new(AtomicBool::new(false)),
            value: UnsafeCell::new(value),
        }
    }

    /// Whether someone has the lock: a look that does not take its line away.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes the lock, unless someone has it.
    #[inline]
    pub(crate) fn try_hold(&self) -> Option<Held<'_, T>> {
        // Not a swap: a try that fails writes nothing. Acquire: pairs with the
        // release of the holder before. A `Held` is made only by the winner:
        // dropping one lets go of the lock.
        self.taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| Held { lock: self })
    }
}

/// The lock, taken until this is dropped.
pub(crate) struct Held<'a, T> {
    lock: &'a TryLock<T>,
}

impl<T> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the acquire of the next holder.
        self.lock.taken.store(false, Ordering::Release);
    }
}

impl<T> Deref for Held<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `taken` was false when this `Held` was made and is true until
        // it is dropped, so it is the only one, and it is borrowed.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for Held<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and it is borrowed mutably.
        self.lock.value.with_mut(|value| unsafe { &mut *value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_holds_it() {
        let lock = TryLock::new(0);
        let held = lock.try_hold().unwrap();
        assert!(lock.is_taken() && lock.try_hold().is_none());
        // A try that failed must not let go of it either.
        assert!(lock.is_taken());
        drop(held);
        assert!(lock.try_hold().is_some());
    }

    #[test]
    fn threads_take_turns() {
        let lock = TryLock::new(0_u64);
        let taken: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..50_000)
                            .filter(|_| lock.try_hold().map(|mut held| *held += 1).is_some())
                            .count() as u64
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(*lock.try_hold().unwrap(), taken);
    }
}
