//! A lock with only `try_lock`: if it is held, callers take another path.
//!
//! Each policy plane, and the registry's upkeep, is guarded by one. They
//! contain plain sequential data, and there is a way around each in case the holder is
//! suspended.

use std::ops::{Deref, DerefMut};

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, Ordering, UnsafeCell, serial};

/// A lock that can only be tried; see the module documentation.
pub(crate) struct TryLock<T> {
    taken: CachePadded<AtomicBool>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through `TryLockGuard`, of which there is at most one at a
// time, so threads use it one after another.
unsafe impl<T: Send> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: CachePadded::new(AtomicBool::new(false)),
            value: UnsafeCell::new(value),
        }
    }

    /// Returns whether the lock is held. Only reads, so the lock's cache line stays shared.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes the lock unless it is held.
    #[inline]
    pub(crate) fn try_hold(&self) -> Option<TryLockGuard<'_, T>> {
        // An exchange rather than a swap, because a failed one writes nothing. Acquire: pairs
        // with the previous holder's release. Only the winner may create a `TryLockGuard`,
        // because dropping it releases the lock.
        self.taken
            .compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then(|| {
                serial::begins::<_, T>(self);
                TryLockGuard { lock: self }
            })
    }
}

/// A guard that releases the lock when it is dropped.
pub(crate) struct TryLockGuard<'a, T> {
    lock: &'a TryLock<T>,
}

impl<T> Drop for TryLockGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Release: pairs with the next holder's acquire.
        self.lock.taken.store(false, Ordering::Release);
        serial::ends(self.lock);
    }
}

impl<T> Deref for TryLockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `taken` was false when this `TryLockGuard` was created and is true until
        // this one is dropped, so this is the only one, and it is borrowed.
        self.lock.value.with(|value| unsafe { &*value })
    }
}

impl<T> DerefMut for TryLockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; and it is mutably borrowed.
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
        // A failed attempt must not release it either.
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
