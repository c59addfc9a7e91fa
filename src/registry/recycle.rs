//! Where entries come from and go to.
//!
//! A removed entry may still be read by threads that are under an epoch guard,
//! so it cannot be used again at once. It is *retired*: collected, with others,
//! in a chain of its thread; a full chain is handed to the epoch collector in
//! one deferral, and after the grace period goes to a common stack of recycled
//! chains, from which the threads that make entries refill, a chain at a time.
//! In a steady state no entry is allocated or freed.
//!
//! Popping that stack is free of ABA because it happens under an epoch guard: a
//! chain cannot be popped, used, retired and pushed again before the guard is
//! gone.
//!
//! What is kept is bounded by what is in use: a chain that comes back when fewer
//! entries are live than are kept is freed instead. So memory returns after the
//! registry has drained, up to a chain for each thread.
//!
//! Threads without a row of their own (more than [`ROWS`] at once) allocate and
//! free every entry.

use std::cell::UnsafeCell;
use std::ptr;
use std::sync::Arc;

use crossbeam_epoch::Guard;
use crossbeam_utils::CachePadded;

use crate::SequenceHash;
use crate::engine::sync::{AtomicPtr, AtomicU64, Ordering};
use crate::engine::thread;

use super::core::Core;
use super::entry::Entry;
use super::tally::{ROWS, Tally};

/// Entries of a full chain.
const CHAIN: usize = 64;
/// Entries that may be kept beyond the number that are live.
const SPARE: u64 = 4 * CHAIN as u64;

/// Removed entries, linked through the field their extras had.
struct Chain {
    first: *mut Entry,
    len: usize,
}

impl Chain {
    const fn new() -> Self {
        Self { first: ptr::null_mut(), len: 0 }
    }

    /// # Safety
    ///
    /// `entry` is removed, and the caller's alone or kept by its grace period.
    unsafe fn push(&mut self, entry: *mut Entry) {
        // SAFETY: the caller's contract.
        unsafe { (*entry).set_next_removed(self.first) };
        self.first = entry;
        self.len += 1;
    }

    fn pop(&mut self) -> Option<*mut Entry> {
        let entry = self.first;
        if entry.is_null() {
            return None;
        }
        // SAFETY: entries of a chain are the chain's, and not freed.
        self.first = unsafe { (*entry).next_removed() };
        self.len = self.len.saturating_sub(1);
        Some(entry)
    }

    /// # Safety
    ///
    /// Nobody can reach the entries any more.
    unsafe fn free(mut self) {
        while let Some(entry) = self.pop() {
            // SAFETY: every entry came from `Box::into_raw` in `make`; the field
            // the chain uses for its links is not an entry's extras any more.
            drop(unsafe { Box::from_raw(entry) });
        }
    }
}

/// What one thread keeps.
struct Row {
    /// Past their grace period, ready to be made.
    ready: Chain,
    /// Removed, not handed to the collector yet.
    retired: Chain,
}

/// See the module documentation.
pub(super) struct Recycler {
    rows: [CachePadded<UnsafeCell<Row>>; ROWS],
    /// Chains past their grace period, linked by their first entries.
    recycled: CachePadded<AtomicPtr<Entry>>,
    recycled_chains: AtomicU64,
    /// Retired minus reclaimed.
    pending: Tally,
}

// SAFETY: row `i` is used only by the thread whose index is `i`, one thread at a
// time, and successive owners are ordered by `engine::thread`. Entries are plain
// memory that may be freed by any thread.
unsafe impl Send for Recycler {}
// SAFETY: as above.
unsafe impl Sync for Recycler {}

impl Recycler {
    pub(super) fn new() -> Self {
        Self {
            rows: std::array::from_fn(|_| {
                CachePadded::new(UnsafeCell::new(Row {
                    ready: Chain::new(),
                    retired: Chain::new(),
                }))
            }),
            recycled: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
            recycled_chains: AtomicU64::new(0),
            pending: Tally::new(),
        }
    }

    /// Runs `f` with the calling thread's row, if it has one.
    #[inline]
    fn with_row<R>(&self, f: impl FnOnce(&mut Row) -> R) -> Option<R> {
        let row = self.rows.get(thread::index())?;
        // SAFETY: only this thread uses the row, and `f` does not come back
        // here: no caller below calls anything else with the row.
        Some(f(unsafe { &mut *row.get() }))
    }

    /// An entry with one strong reference, the caller's alone.
    #[inline]
    pub(super) fn make(&self, key: u64, hash: SequenceHash, guard: &Guard) -> *mut Entry {
        let ready = self.with_row(|row| {
            if row.ready.first.is_null() {
                row.ready.first = self.pop_recycled(guard);
            }
            row.ready.pop()
        });
        match ready.flatten() {
            Some(entry) => {
                // SAFETY: the entry is past its grace period and out of every
                // chain, so it is this thread's alone.
                unsafe { Entry::renew(entry, key, hash) };
                entry
            }
            None => Box::into_raw(Box::new(Entry::new(key, hash))),
        }
    }

    /// Takes back an entry that was made and not linked.
    ///
    /// # Safety
    ///
    /// `entry` came from [`make`](Self::make) and nobody else knows of it.
    pub(super) unsafe fn unmake(&self, entry: *mut Entry) {
        // SAFETY: the caller's contract.
        if self.with_row(|row| unsafe { row.ready.push(entry) }).is_none() {
            // SAFETY: the caller's contract; a thread without a row has it from
            // `Box::into_raw`, as all entries are.
            drop(unsafe { Box::from_raw(entry) });
        }
    }

    /// Takes a chain off the stack; null if there is none.
    #[cold]
    fn pop_recycled(&self, _guard: &Guard) -> *mut Entry {
        // Acquire: pairs with the release in `push_recycled`.
        let mut first = self.recycled.load(Ordering::Acquire);
        while !first.is_null() {
            // SAFETY: an entry that was on the stack under this guard is not
            // freed before the guard is gone: it would have to be retired first.
            let next = unsafe { (*first).next_chain() };
            match self.recycled.compare_exchange_weak(
                first,
                next,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    self.recycled_chains.fetch_sub(1, Ordering::Relaxed);
                    break;
                }
                Err(now) => first = now,
            }
        }
        first
    }

    /// # Safety
    ///
    /// The chain that begins with `first` is past its grace period.
    unsafe fn push_recycled(&self, first: *mut Entry) {
        let mut head = self.recycled.load(Ordering::Relaxed);
        loop {
            // SAFETY: the caller's contract.
            unsafe { (*first).set_next_chain(head) };
            // Release: pairs with the acquire in `pop_recycled`.
            match self.recycled.compare_exchange_weak(
                head,
                first,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        self.recycled_chains.fetch_add(1, Ordering::Relaxed);
    }

    /// Reclaims an entry once nobody can be reading it any more.
    ///
    /// # Safety
    ///
    /// The table no longer leads to `entry`, its extras have been taken, and
    /// this is called once for it, by the thread whose guard unlinked it.
    pub(super) unsafe fn retire(&self, core: &Arc<Core>, entry: *mut Entry, guard: &Guard) {
        self.pending.add(1);
        let full = self.with_row(|row| {
            // SAFETY: the caller's contract; readers under a guard do not look
            // at the extras of an entry they hold no reference to.
            unsafe { row.retired.push(entry) };
            (row.retired.len == CHAIN).then(|| std::mem::replace(&mut row.retired, Chain::new()))
        });
        let chain = match full {
            Some(None) => return,
            Some(Some(chain)) => chain,
            None => {
                let mut chain = Chain::new();
                // SAFETY: as above.
                unsafe { chain.push(entry) };
                chain
            }
        };
        let retired = Retired { core: Arc::clone(core), chain };
        guard.defer(move || retired.reclaim());
        guard.flush();
    }

    /// Entries that are retired and not reclaimed yet.
    pub(super) fn pending(&self) -> u64 {
        self.pending.sum()
    }
}

/// A chain on its way through a grace period.
struct Retired {
    core: Arc<Core>,
    chain: Chain,
}

// SAFETY: the entries are reclaimed by whichever thread runs the deferral, and
// are nobody else's by then.
unsafe impl Send for Retired {}

impl Retired {
    fn reclaim(self) {
        let recycler = self.core.recycler();
        recycler.pending.subtract(self.chain.len as u64);
        let kept = recycler.recycled_chains.load(Ordering::Relaxed) * CHAIN as u64;
        if self.chain.len < CHAIN || kept > self.core.live() + SPARE {
            // SAFETY: the grace period is over, and nobody else has the chain.
            unsafe { self.chain.free() };
        } else {
            // SAFETY: as above.
            unsafe { recycler.push_recycled(self.chain.first) };
        }
    }
}

impl Drop for Recycler {
    fn drop(&mut self) {
        let mut chain = *self.recycled.get_mut();
        while !chain.is_null() {
            // SAFETY: the registry is gone, and with it everyone who could have
            // reached an entry; chains on the stack are whole.
            let next = unsafe { (*chain).next_chain() };
            // SAFETY: as above.
            unsafe { Chain { first: chain, len: CHAIN }.free() };
            chain = next;
        }
        for row in &mut self.rows {
            let row = row.get_mut();
            for chain in [&mut row.ready, &mut row.retired] {
                // SAFETY: as above.
                unsafe { std::mem::replace(chain, Chain::new()).free() };
            }
        }
    }
}
