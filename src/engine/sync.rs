//! The atomics the engine is built on: `std`'s, or loom's when the crate is
//! compiled with `--cfg kvbm_loom` for model checking.
//!
//! Everything in the engine and the registry that is shared between threads
//! goes through this module, so that a model explores the very code that ships.

#[cfg(not(kvbm_loom))]
pub(crate) use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
    thread::yield_now,
};

#[cfg(kvbm_loom)]
pub(crate) use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence},
    thread::yield_now,
};
