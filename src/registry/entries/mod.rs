//! The entries of a registry: how they are found, created, ended and freed.
//!
//! A hash has an entry once a handle to it has been requested. The [registration
//! protocol](super::registration) decides when entries are created and ended; this module
//! stores them.
//!
//! | file | idea |
//! |---|---|
//! | `node` | the nodes of the list, and the order in which they stand |
//! | `entry` | the handles and extras of one hash |
//! | `chain` | walking the list, and unlinking dead nodes |
//! | `markers` | buckets: where a walk starts, and how the table grows |
//! | `grace` | grace periods that no thread waits for |
//! | `shrinking` | freeing the upper markers |
//! | `spares` | ended entries that are kept to be used again |
//! | `table` | the hash table: find, insert, remove |
//! | `upkeep` | freeing ended entries and shrinking, in small steps |

mod chain;
mod entry;
mod grace;
mod markers;
mod node;
mod shrinking;
mod spares;
mod table;
mod upkeep;

use crate::key::Key;
use crate::sync::epoch::{self, Guard};
use crate::sync::limits::{IS_CHECKED, UPKEEP_EVERY};
use crate::sync::step;
use crate::sync::{AtomicU64, Ordering, fence};

use spares::Spares;
use table::EntryTable;
use upkeep::{Effort, Upkeep};

pub(super) use entry::{Acquired, Entry, Unheld};

/// The number of fruitless rounds after which a flush gives up. An entry is freed after three
/// rounds, the markers of a shrinking table after six.
const FRUITLESS: u64 = 16;

/// The entries of a registry.
pub(super) struct Entries {
    table: EntryTable,
    /// The number of entries created and not ended.
    count: AtomicU64,
    spares: Spares,
    upkeep: Upkeep,
}

impl Entries {
    pub(super) fn new() -> Self {
        Self {
            table: EntryTable::new(),
            count: AtomicU64::new(0),
            spares: Spares::new(),
            upkeep: Upkeep::new(),
        }
    }

    /// Returns the number of entries. A gauge.
    #[inline]
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Returns whether a hash that has just lost its block may have an entry. For the thread
    /// that took the block away; see [`acquire`](Self::acquire).
    #[inline]
    pub(super) fn may_be_left(&self) -> bool {
        fence(Ordering::SeqCst);
        self.count.load(Ordering::SeqCst) != 0
    }

    /// Returns the entry of a hash.
    #[inline]
    pub(super) fn find<'g>(&'g self, key: Key, guard: &'g Guard) -> Option<&'g Entry> {
        if self.count() == 0 {
            return None;
        }
        self.table.find(key, guard)
    }

    /// Returns the entry of a hash with one more handle, and how that was added. An entry that
    /// is created for it belongs to the registry whose state is at `state`.
    ///
    /// The entry is counted before it is inserted, so a thread that reads a count of zero
    /// has missed no entry.
    #[inline]
    pub(super) fn acquire<'g>(
        &'g self,
        key: Key,
        state: *const (),
        guard: &'g Guard,
    ) -> (&'g Entry, Acquired) {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        step!(EntryCounted);
        let make = || self.make(key, state, guard);
        let unmake = |entry| self.retire_uncounted(entry, count, guard);
        let (entry, acquired) = self.table.find_or_insert(key, guard, make, unmake);
        if acquired == Acquired::Made {
            step!(EntryInserted);
            self.table.markers().grow_for(count);
            if count.is_multiple_of(UPKEEP_EVERY) && self.upkeep.is_busy() {
                self.keep_up(count, guard);
            }
        } else {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
        (entry, acquired)
    }

    /// Returns the address of an entry with one handle, which belongs to the caller: a spare one,
    /// or a new one if there is none.
    #[inline]
    fn make(&self, key: Key, state: *const (), guard: &Guard) -> *mut Entry {
        if let Some(spare) = self.spares.take(guard) {
            // SAFETY: it was just taken.
            unsafe { Entry::renew(spare, key, state) };
            return spare;
        }
        let new = Box::into_raw(Box::new(Entry::new(key, state)));
        // Entries are freed by their address, which is all that remains of the pointer after it
        // has been a reference.
        new.expose_provenance();
        new
    }

    /// Unlinks a dead entry. After this returns, only threads that are already under a guard
    /// can reach it.
    #[inline]
    pub(super) fn remove(&self, entry: &Entry, guard: &Guard) {
        self.table.remove(entry, guard);
    }

    /// Schedules a removed entry to be freed once no reader can see it. Its extras have been
    /// taken.
    #[inline]
    pub(super) fn retire(&self, entry: &Entry, guard: &Guard) {
        let left = self.count.fetch_sub(1, Ordering::Relaxed) - 1;
        self.retire_uncounted(entry, left, guard);
    }

    /// Schedules an entry to be freed that is out of the table, or was never in it. `entries` is
    /// the number of those in the table.
    #[inline]
    fn retire_uncounted(&self, entry: &Entry, entries: u64, guard: &Guard) {
        if self.upkeep.retire(entry) {
            self.keep_up(entries, guard);
        }
    }

    /// Takes a step of the upkeep in passing.
    #[inline(never)]
    fn keep_up(&self, entries: u64, guard: &Guard) {
        self.step(entries, Effort::PASSING, guard);
    }

    fn step(&self, entries: u64, effort: Effort, guard: &Guard) {
        self.upkeep
            .step(self.table.markers(), &self.spares, entries, effort, guard);
    }

    /// Drops the guard of an operation that may have ended an entry. Under a model checker,
    /// frees what may be freed now, since that is when a reader that breaks the rules is
    /// caught.
    #[inline]
    pub(super) fn leave(&self, guard: Guard) {
        drop(guard);
        if IS_CHECKED {
            let guard = &epoch::pin();
            self.keep_up(self.count(), guard);
        }
    }

    /// Calls `visit` with every entry.
    #[inline]
    pub(super) fn for_each<'g>(&'g self, guard: &'g Guard, visit: impl FnMut(&'g Entry)) {
        self.table.for_each(guard, visit);
    }

    /// Returns the number of ended entries that are not freed yet.
    pub(super) fn garbage(&self) -> u64 {
        if IS_CHECKED {
            // A model asks this at its end, when all garbage can be freed.
            for _ in 0..FRUITLESS {
                self.leave(epoch::pin());
            }
        }
        self.upkeep.garbage()
    }

    /// Frees garbage: see
    /// [`BlockRegistry::flush_garbage`](super::BlockRegistry::flush_garbage).
    pub(super) fn flush_garbage(&self) -> u64 {
        let mut left = self.garbage();
        let mut fruitless = 0;
        // Garbage that others produce meanwhile is not counted, so the loop ends.
        let mut rounds = left + FRUITLESS;
        while rounds > 0 && fruitless < FRUITLESS {
            let guard = epoch::pin();
            self.step(self.count(), Effort::FLUSH, &guard);
            guard.flush();
            drop(guard);
            let now = self.garbage();
            fruitless = if now < left { 0 } else { fruitless + 1 };
            left = now;
            rounds -= 1;
        }
        left
    }

    /// Frees all entries, each after calling `visit` with it.
    ///
    /// # Safety
    ///
    /// No entry has a handle, and the entries are dropped next: the table still leads to those
    /// that were freed.
    pub(super) unsafe fn end(&mut self, mut visit: impl FnMut(&Entry)) {
        let mut entries = Vec::new();
        self.table.for_each(&epoch::pin(), |entry| {
            visit(entry);
            entries.push(upkeep::address_of(entry));
        });
        // They are still linked in the table, but no thread walks it any more.
        for entry in entries {
            // SAFETY: the caller has exclusive access to the registry.
            unsafe { upkeep::free(entry) };
        }
        for entry in self.spares.take_all() {
            // SAFETY: as above.
            unsafe { upkeep::free_spare(entry) };
        }
    }

    /// Returns the hashes of all live entries, and checks that each can be found and was
    /// counted. Requires that no other thread uses the registry.
    #[cfg(all(test, kvbm_loom))]
    pub(super) fn audit(&self) -> Vec<crate::SequenceHash> {
        let guard = &epoch::pin();
        let mut hashes = Vec::new();
        self.table.for_each(guard, |entry| {
            let found = self.table.find(entry.key(), guard);
            assert!(found.is_some_and(|found| std::ptr::eq(found, entry)));
            hashes.push(entry.hash());
        });
        assert_eq!(self.count(), hashes.len() as u64);
        hashes
    }

    /// Returns the number of buckets in use.
    #[cfg(all(test, not(kvbm_loom)))]
    pub(super) fn buckets(&self) -> usize {
        self.table.markers().buckets()
    }
}
