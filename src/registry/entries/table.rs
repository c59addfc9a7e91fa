//! The entries' hash table: a split-ordered list under epochs.
//!
//! All entries stand in one linked list, sorted by their *split order*: the bits
//! of the keyed hash reversed (Shalev and Shavit, "Split-Ordered Lists:
//! Lock-Free Extensible Hash Tables", J. ACM 53(3), 2006). A bucket is a
//! [marker](super::markers) node in that list, placed where its entries begin, and doubling
//! the number of buckets only adds markers between entries that stay where they are. So the
//! table grows without moving anything and without stopping a reader, and it
//! [shrinks](super::shrinking) by taking markers out again.

use std::ptr;

use crate::key::Key;
use crate::sync::Ordering;
use crate::sync::epoch::Guard;

use super::chain;
use super::entry::Entry;
use super::markers::Markers;
use super::node::{ENTRY, NodeLink, entry_order};

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

    /// The buckets.
    #[inline]
    pub(super) fn markers(&self) -> &Markers {
        &self.markers
    }

    /// The entry of a hash.
    #[inline]
    pub(super) fn find<'g>(&'g self, key: Key, guard: &'g Guard) -> Option<&'g Entry> {
        let start = self.markers.start(key.keyed, guard);
        chain::seek(start, entry_order(key.keyed), Some(key.hash), guard).found
    }

    /// The entry of a hash with a new handle, made if there is none. Returns
    /// whether it was made.
    #[inline]
    pub(super) fn find_or_insert<'g>(&'g self, key: Key, guard: &'g Guard) -> (&'g Entry, bool) {
        let start = self.markers.start(key.keyed, guard);
        let mut made: Option<Box<Entry>> = None;
        loop {
            let position = chain::seek(start, entry_order(key.keyed), Some(key.hash), guard);
            if let Some(entry) = position.found {
                if entry.try_acquire() {
                    return (entry, false);
                }
                // Dead, and whoever killed it may sleep: finish the removal.
                entry.node.kill();
                continue;
            }
            let new = Box::into_raw(made.take().unwrap_or_else(|| Box::new(Entry::new(key))));
            // Entries are freed by their address, which is all that is left of
            // the pointer where it has been a reference.
            new.expose_provenance();
            // SAFETY: the box's, and the caller's alone until it is linked.
            let entry: &'g Entry = unsafe { &*new };
            entry.node.next.store(position.at.0, Ordering::Relaxed);
            if position
                .before
                .exchange_next(position.at, NodeLink(new.cast()))
            {
                return (entry, true);
            }
            // SAFETY: it was not linked, so the box is still the caller's alone.
            made = Some(unsafe { Box::from_raw(new) });
        }
    }

    /// Calls `visit` with every entry.
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

    /// Unlinks a dead entry. When this returns, nobody who is not already under a guard can reach it.
    #[inline]
    pub(super) fn remove(&self, entry: &Entry, guard: &Guard) {
        entry.node.kill();
        let order = entry.node.order();
        let start = self.markers.start(order.reverse_bits(), guard);
        // Passes every entry of this order, and unlinks the dead among them.
        chain::seek(start, order, None, guard);
    }
}
