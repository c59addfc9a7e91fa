//! The entries' hash table: a split-ordered list under epochs.
//!
//! All entries stand in one linked list, sorted by their *split order*: the reversed bits of
//! the keyed hash (Shalev and Shavit, "Split-Ordered Lists: Lock-Free Extensible Hash
//! Tables", J. ACM 53(3), 2006). A bucket is a [marker](super::markers) node in that list,
//! at the place where the bucket's entries begin. Doubling the number of buckets only adds
//! markers between entries that stay where they are, so the table grows without moving
//! anything and without stopping a reader. It [shrinks](super::shrinking) by removing
//! markers.

use std::ptr;

use crate::key::Key;
use crate::sync::Ordering;
use crate::sync::epoch::Guard;

use super::chain;
use super::entry::{Acquired, Entry};
use super::markers::Markers;
use super::node::{ENTRY, NodeLink, entry_order};
use super::upkeep::address_of;

/// A hash table of entries.
pub(super) struct EntryTable {
    markers: Markers,
}

impl EntryTable {
    pub(super) fn new() -> Self {
        Self {
            markers: Markers::new(),
        }
    }

    /// Returns the buckets.
    #[inline]
    pub(super) fn markers(&self) -> &Markers {
        &self.markers
    }

    /// Returns the entry of a hash.
    #[inline]
    pub(super) fn find<'g>(&'g self, key: Key, guard: &'g Guard) -> Option<&'g Entry> {
        let start = self.markers.start(key.keyed, guard);
        chain::find(start, entry_order(key.keyed), key.hash, guard)
    }

    /// Returns the entry of a hash with one more handle, and how that was added.
    ///
    /// Calls `make` for the address of an entry with one handle that belongs to the caller, and
    /// `unmake` if it turns out not to be needed.
    #[inline]
    pub(super) fn find_or_insert<'g>(
        &'g self,
        key: Key,
        guard: &'g Guard,
        make: impl Fn() -> *mut Entry,
        unmake: impl Fn(&'g Entry),
    ) -> (&'g Entry, Acquired) {
        let start = self.markers.start(key.keyed, guard);
        let mut made: Option<&'g Entry> = None;
        loop {
            let position = chain::seek(start, entry_order(key.keyed), Some(key.hash), guard);
            if let Some(entry) = position.found {
                if let Some(acquired) = entry.try_acquire() {
                    if let Some(made) = made {
                        unmake(made);
                    }
                    return (entry, acquired);
                }
                // The entry is dead, and the thread that ended it may be suspended: finish
                // the removal.
                entry.node.kill();
                continue;
            }
            let entry: &'g Entry = match made {
                Some(entry) => entry,
                // SAFETY: the address is that of an entry of this thread's, which is not freed
                // while the thread is under the guard.
                None => unsafe { &*make() },
            };
            made = Some(entry);
            entry.node.next.store(position.at.0, Ordering::Relaxed);
            let link = NodeLink(address_of(entry).cast());
            if position.before.exchange_next(position.at, link) {
                return (entry, Acquired::Made);
            }
        }
    }

    /// Calls `visit` with every live entry.
    pub(super) fn for_each<'g>(&'g self, guard: &'g Guard, mut visit: impl FnMut(&'g Entry)) {
        let mut at = self.markers.marker(0).next();
        // SAFETY: read under `guard` from a node of the table.
        while let Some(node) = unsafe { at.node(guard) } {
            at = node.next();
            if node.order() & ENTRY == ENTRY && !at.is_dead() {
                // SAFETY: only entries have an entry's order; see `node`.
                visit(unsafe { &*ptr::from_ref(node).cast::<Entry>() });
            }
        }
    }

    /// Unlinks a dead entry. After this returns, only threads that are already under a guard
    /// can reach it.
    #[inline]
    pub(super) fn remove(&self, entry: &Entry, guard: &Guard) {
        entry.node.kill();
        let order = entry.node.order();
        let start = self.markers.start(entry.key().keyed, guard);
        // Walks past every entry of this order and unlinks the dead ones.
        chain::seek(start, order, None, guard);
    }
}
