//! Serial sections: what a thread does while it holds a lock, so that no other can do it.
//!
//! `benches/serial` counts the instructions in them. It builds the crate with `--cfg kvbm_serial`,
//! and is then told when each section begins and ends: at every [`TryLock`] and [`Mutex`] of
//! [`sync`](crate::sync). In every other build, this compiles to nothing.
//!
//! [`TryLock`]: crate::sync::try_lock::TryLock
//! [`Mutex`]: crate::sync::Mutex

#[cfg(kvbm_serial)]
use std::sync::PoisonError;

// Defined by the program that counts.
#[cfg(kvbm_serial)]
unsafe extern "Rust" {
    /// Called by a thread that has just taken the lock at this address, which guards a value of the
    /// type with this name.
    safe fn kvbm_serial_begins(lock: usize, guards: &'static str);
    /// Called by a thread that has just released the lock.
    safe fn kvbm_serial_ends(lock: usize);
}

/// The thread has just taken this lock, which guards a `T`.
#[inline(always)]
pub(crate) fn begins<L, T>(_lock: &L) {
    #[cfg(kvbm_serial)]
    kvbm_serial_begins(std::ptr::from_ref(_lock).addr(), std::any::type_name::<T>());
}

/// The thread has just released this lock.
#[inline(always)]
pub(crate) fn ends<L>(_lock: &L) {
    #[cfg(kvbm_serial)]
    kvbm_serial_ends(std::ptr::from_ref(_lock).addr());
}

/// Returns the number of cores that the program which counts pretends to have.
pub(crate) fn cores() -> Option<usize> {
    match cfg!(kvbm_serial) {
        true => std::env::var("KVBM_CORES").ok()?.parse().ok(),
        false => None,
    }
}

/// `std`'s mutex, with its sections.
#[cfg(kvbm_serial)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

/// `std`'s guard. The field is only empty while the guard is dropped.
#[cfg(kvbm_serial)]
pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    held: Option<std::sync::MutexGuard<'a, T>>,
}

#[cfg(kvbm_serial)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    fn guard<'a>(&'a self, held: std::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        begins::<_, T>(self);
        MutexGuard {
            mutex: self,
            held: Some(held),
        }
    }

    pub(crate) fn lock(&self) -> std::sync::LockResult<MutexGuard<'_, T>> {
        match self.0.lock() {
            Ok(held) => Ok(self.guard(held)),
            Err(poisoned) => Err(PoisonError::new(self.guard(poisoned.into_inner()))),
        }
    }

    pub(crate) fn try_lock(&self) -> std::sync::TryLockResult<MutexGuard<'_, T>> {
        use std::sync::TryLockError::{Poisoned, WouldBlock};
        match self.0.try_lock() {
            Ok(held) => Ok(self.guard(held)),
            Err(WouldBlock) => Err(WouldBlock),
            Err(Poisoned(poisoned)) => {
                let guard = self.guard(poisoned.into_inner());
                Err(Poisoned(PoisonError::new(guard)))
            }
        }
    }
}

#[cfg(kvbm_serial)]
impl<T> std::ops::Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("it is held")
    }
}

#[cfg(kvbm_serial)]
impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("it is held")
    }
}

#[cfg(kvbm_serial)]
impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        self.held = None;
        ends(self.mutex);
    }
}
