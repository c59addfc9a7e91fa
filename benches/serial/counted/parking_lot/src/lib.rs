//! A stand-in for `parking_lot` that tells when a mutex is taken and released.
//!
//! It has what the reference and its dependencies use. Its locks spin, and its condition variable
//! wakes up all the time: the program that counts lets one thread run at a time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

// Defined by the program that counts; see `sync/serial.rs` of this crate.
unsafe extern "Rust" {
    safe fn kvbm_serial_begins(lock: usize, guards: &'static str);
    safe fn kvbm_serial_ends(lock: usize);
}

pub type Mutex<T> = lock_api::Mutex<RawMutex, T>;
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;
pub type RwLock<T> = lock_api::RwLock<RawRwLock, T>;
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

pub const fn const_mutex<T>(value: T) -> Mutex<T> {
    Mutex::const_new(<RawMutex as lock_api::RawMutex>::INIT, value)
}

pub struct RawMutex(AtomicBool);

impl RawMutex {
    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

// SAFETY: only the thread that has changed the flag from false to true holds the mutex.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        while !self.try_lock() {
            std::thread::yield_now();
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        let is_taken = (self.0)
            .compare_exchange_weak(false, true, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if is_taken {
            kvbm_serial_begins(self.address(), "Mutex");
        }
        is_taken
    }

    #[inline]
    unsafe fn unlock(&self) {
        // An exchange, as in `parking_lot`.
        let _ = (self.0).compare_exchange(true, false, Ordering::Release, Ordering::Relaxed);
        kvbm_serial_ends(self.address());
    }
}

/// The number of readers, or [`WRITER`].
pub struct RawRwLock(AtomicUsize);

const WRITER: usize = usize::MAX;

// SAFETY: a writer has changed the number from 0, and readers increment only other numbers.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(AtomicUsize::new(0));
    type GuardMarker = lock_api::GuardSend;

    fn lock_shared(&self) {
        while !self.try_lock_shared() {
            std::thread::yield_now();
        }
    }

    fn try_lock_shared(&self) -> bool {
        let seen = self.0.load(Ordering::Relaxed);
        seen != WRITER
            && (self.0)
                .compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    unsafe fn unlock_shared(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    fn lock_exclusive(&self) {
        while !self.try_lock_exclusive() {
            std::thread::yield_now();
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        (self.0)
            .compare_exchange(0, WRITER, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    unsafe fn unlock_exclusive(&self) {
        self.0.store(0, Ordering::Release);
    }
}

pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

#[derive(Debug, Default)]
pub struct Condvar(());

impl Condvar {
    const NAP: Duration = Duration::from_millis(1);

    pub const fn new() -> Self {
        Self(())
    }

    pub fn notify_one(&self) -> bool {
        false
    }

    pub fn notify_all(&self) -> usize {
        0
    }

    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        MutexGuard::unlocked(guard, || std::thread::sleep(Self::NAP));
    }

    pub fn wait_for<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        timeout: Duration,
    ) -> WaitTimeoutResult {
        let end = Instant::now() + timeout;
        MutexGuard::unlocked(guard, || std::thread::sleep(Self::NAP.min(timeout)));
        WaitTimeoutResult(Instant::now() >= end)
    }
}
