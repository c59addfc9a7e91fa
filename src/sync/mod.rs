//! Synchronization primitives, from `std`, loom, or shuttle.
//!
//! The engine and the registry take everything through which threads communicate from this
//! module, so that models explore the code that ships. With `--cfg kvbm_loom` or `--cfg
//! kvbm_shuttle`, the atomics are the model checker's, and [`epoch`] is this crate's own,
//! which decides when garbage is freed.
//!
//! Metrics do not use this module: no other decision depends on their counters. Frequency trackers
//! use it only in loom's models. Their tables are too long for shuttle, and their counts decide
//! nothing but the eviction order.

#[cfg(kvbm_loom)]
#[path = "model_atomic.rs"]
mod atomic;
pub(crate) mod canary;
#[cfg(any(kvbm_loom, kvbm_shuttle))]
#[path = "model_epoch.rs"]
pub(crate) mod epoch;
pub(crate) mod limits;
pub(crate) mod once_box;
mod probe;
pub(crate) mod serial;
#[cfg_attr(any(kvbm_loom, kvbm_shuttle), path = "model_thread.rs")]
pub(crate) mod thread;
pub(crate) mod try_lock;
pub(crate) mod work;
pub(crate) mod zeroed;

pub(crate) use probe::step;
pub(crate) use work::count_work;
#[cfg(all(test, not(kvbm_loom)))]
pub(crate) use work::work_of;

#[cfg(not(any(kvbm_loom, kvbm_shuttle)))]
pub(crate) use crossbeam_epoch as epoch;
#[cfg(not(any(kvbm_loom, kvbm_shuttle)))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence,
    },
    thread::yield_now,
};

#[cfg(kvbm_loom)]
pub(crate) use {
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64},
    loom::{
        cell::UnsafeCell,
        hint::spin_loop,
        sync::atomic::{Ordering, fence},
        thread::yield_now,
    },
};

#[cfg(kvbm_shuttle)]
pub(crate) use shuttle::{
    hint::spin_loop,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence,
    },
    thread::yield_now,
};

#[cfg(kvbm_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
#[cfg(kvbm_serial)]
pub(crate) use serial::{Mutex, MutexGuard};
#[cfg(kvbm_shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};
#[cfg(not(any(kvbm_loom, kvbm_shuttle, kvbm_serial)))]
pub(crate) use std::sync::{Mutex, MutexGuard};

/// A cell whose accesses loom can track, with loom's interface.
#[cfg(not(kvbm_loom))]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(kvbm_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer through which the value may be read.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer through which the value may be read and written.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
