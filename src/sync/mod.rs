//! What threads share, by three names: `std`'s, loom's or shuttle's.
//!
//! Everything in the engine and the registry through which threads meet comes
//! from this module, so that a model explores the very code that ships. Compiled
//! with `--cfg kvbm_loom` or `--cfg kvbm_shuttle` the atomics are the checker's,
//! and so is the time at which garbage is freed: see [`epoch`].
//!
//! Metrics and frequency trackers are not part of this: their counters decide
//! nothing.

#[cfg(kvbm_loom)]
#[path = "model_atomic.rs"]
mod atomic;
pub(crate) mod canary;
#[cfg(any(kvbm_loom, kvbm_shuttle))]
#[path = "model_epoch.rs"]
pub(crate) mod epoch;
pub(crate) mod limits;
mod probe;
#[cfg_attr(any(kvbm_loom, kvbm_shuttle), path = "model_thread.rs")]
pub(crate) mod thread;
pub(crate) mod try_lock;

pub(crate) use probe::step;

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

/// A cell whose accesses loom can watch, with loom's way to access it.
#[cfg(not(kvbm_loom))]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(kvbm_loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// The value's address, to be read.
    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// The value's address, to be read and written.
    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}
