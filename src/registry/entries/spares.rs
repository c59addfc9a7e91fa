//! Spare entries: ended ones that no reader can see any more, kept to be used again.
//!
//! While handles come and go, a registry thus neither allocates nor frees memory. The spares are
//! a stack, of at most [`SPARES`] entries. Only the thread that holds the upkeep adds to it; any
//! thread takes from it.
//!
//! # Why is there no ABA problem?
//!
//! A thread takes the first entry by an exchange, after it has read where the entry leads to. It
//! must not succeed if the entry has been taken and added again meanwhile. It cannot have been:
//! the thread is under a guard, and an entry that has been taken is added again only after a
//! grace period, which waits for that guard. For the same reason, the thread may read an entry
//! that another thread has taken: it is not freed either.

use std::ptr;

use crate::sync::epoch::Guard;
use crate::sync::limits::SPARES;
use crate::sync::{AtomicPtr, Ordering};

use super::entry::Entry;

/// The spare entries of a registry.
pub(super) struct Spares(AtomicPtr<Entry>);

impl Spares {
    pub(super) fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Adds an entry, and returns whether there was room for it. Lock-free.
    ///
    /// # Safety
    ///
    /// The caller owns the entry, which no reader can reach any more, and whose extras have been
    /// taken. It gives it up if this returns `true`. No other thread adds an entry meanwhile.
    pub(super) unsafe fn put(&self, entry: *mut Entry, _guard: &Guard) -> bool {
        let mut first = self.0.load(Ordering::Acquire);
        loop {
            let count = if first.is_null() {
                0
            } else {
                // If another thread has taken it meanwhile, the exchange fails.
                // SAFETY: under the guard, an entry that was spare is not freed.
                unsafe { Entry::next_unused(first).1 }
            };
            if count >= SPARES {
                return false;
            }
            // SAFETY: the caller's contract.
            unsafe { Entry::link_unused(entry, first, count + 1) };
            // Release: pairs with the acquires in `take`.
            match self
                .0
                .compare_exchange_weak(first, entry, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return true,
                Err(now) => first = now,
            }
        }
    }

    /// Takes an entry, which then belongs to the caller. Lock-free.
    #[inline]
    pub(super) fn take(&self, _guard: &Guard) -> Option<*mut Entry> {
        // Acquire: pairs with the release in `put`, so that the entry's memory is written after
        // everything that was done with it before.
        let mut first = self.0.load(Ordering::Acquire);
        while !first.is_null() {
            // SAFETY: under the guard, an entry that was spare is not freed.
            let (next, _) = unsafe { Entry::next_unused(first) };
            match self
                .0
                .compare_exchange_weak(first, next, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return Some(first),
                Err(now) => first = now,
            }
        }
        None
    }

    /// Takes all entries. For the owner of the registry, when no other thread uses it.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = *mut Entry> {
        let mut at = self.0.swap(ptr::null_mut(), Ordering::Acquire);
        std::iter::from_fn(move || {
            let first = at;
            // SAFETY: no other thread uses the registry, and the entry is not freed before the
            // caller has it.
            (!first.is_null()).then(|| at = unsafe { Entry::next_unused(first).0 })?;
            Some(first)
        })
    }
}
