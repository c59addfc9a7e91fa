//! What all handles of a registry share: the table, its keyed hashing, and the
//! life of its entries.

use std::any::TypeId;
use std::sync::{Arc, OnceLock};

use ahash::RandomState;
use crossbeam_epoch::{self as epoch, Guard};

use crate::SequenceHash;
use crate::engine::index::Key;
use crate::tinylfu::FrequencyTracker;

use super::entry::{Entry, INLINE_TIERS};
use super::recycle::Recycler;
use super::table::Table;
use super::tally::Tally;

/// Metadata types one registry can tell apart.
pub(crate) const MAX_TIERS: usize = 64;

/// How often a thread compares the number of entries with the table's size.
const RESIZE_CHECK: u64 = 64;

/// See the module documentation.
pub(crate) struct Core {
    table: Table,
    hasher: RandomState,
    /// Entries with a strong reference: made minus removed.
    live: Tally,
    recycler: Recycler,
    tiers: [OnceLock<TypeId>; MAX_TIERS],
    tracker: Option<Arc<dyn FrequencyTracker<u128>>>,
}

impl Core {
    pub(super) fn new(tracker: Option<Arc<dyn FrequencyTracker<u128>>>) -> Self {
        Self {
            table: Table::new(),
            hasher: RandomState::new(),
            live: Tally::new(),
            recycler: Recycler::new(),
            tiers: [const { OnceLock::new() }; MAX_TIERS],
            tracker,
        }
    }

    #[inline]
    pub(crate) fn key(&self, hash: SequenceHash) -> Key {
        Key::new(&self.hasher, hash)
    }

    #[inline]
    pub(crate) fn tracker(&self) -> Option<&Arc<dyn FrequencyTracker<u128>>> {
        self.tracker.as_ref()
    }

    #[inline]
    pub(crate) fn touch(&self, hash: SequenceHash) {
        if let Some(tracker) = &self.tracker {
            tracker.touch(hash.as_u128());
        }
    }

    /// The number of a metadata type, given to it now if it has none; `None` if
    /// [`MAX_TIERS`] others have been seen before.
    pub(crate) fn tier(&self, type_id: TypeId) -> Option<usize> {
        self.tiers.iter().position(|tier| *tier.get_or_init(|| type_id) == type_id)
    }

    /// The number of a metadata type, if it has one.
    pub(super) fn known_tier(&self, type_id: TypeId) -> Option<usize> {
        self.tiers
            .iter()
            .map_while(OnceLock::get)
            .position(|&tier| tier == type_id)
    }

    pub(super) fn len(&self) -> usize {
        self.live.sum() as usize
    }

    /// The entry of a hash, if it is registered, for as long as the guard lives.
    #[inline]
    pub(crate) fn find<'g>(&'g self, key: Key, guard: &'g Guard) -> Option<&'g Entry> {
        self.table
            .find(key.keyed, key.hash, guard)
            .filter(|entry| entry.is_registered())
    }

    /// The entry of a hash with a new strong reference, if it is registered.
    pub(super) fn acquire<'g>(&'g self, key: Key, guard: &'g Guard) -> Option<&'g Entry> {
        self.table
            .find(key.keyed, key.hash, guard)
            .filter(|entry| entry.try_acquire())
    }

    /// Whether any of these tiers has a block of the hash.
    pub(super) fn is_present(self: &Arc<Self>, key: Key, tiers: &[usize], guard: &Guard) -> bool {
        if tiers.iter().all(|&tier| tier < INLINE_TIERS) {
            return self
                .find(key, guard)
                .is_some_and(|entry| tiers.iter().any(|&tier| entry.present(tier) > 0));
        }
        // The counts of further tiers are in the extras, which are gone with
        // the last strong reference: it takes one to look at them.
        self.acquire(key, guard).is_some_and(|entry| {
            let present = tiers.iter().any(|&tier| entry.present(tier) > 0);
            // SAFETY: `acquire` added the reference, to an entry of this table.
            unsafe { self.release(entry) };
            present
        })
    }

    /// The entry of a hash with a new strong reference, registered now if it was
    /// not: then `true` is returned with it.
    #[inline]
    pub(crate) fn register<'g>(&'g self, key: Key, guard: &'g Guard) -> (&'g Entry, bool) {
        let make = || self.recycler.make(key.keyed, key.hash, guard);
        let (entry, made) = self.table.find_or_insert(key.keyed, key.hash, make, guard);
        match made {
            Ok(_) => {
                if self.live.add(1).is_multiple_of(RESIZE_CHECK) {
                    self.table.grow_for(self.live.sum());
                }
                (entry, true)
            }
            Err(unused) => {
                if let Some(unused) = unused {
                    // SAFETY: `make` returned it and it was not linked.
                    unsafe { self.recycler.unmake(unused) };
                }
                (entry, false)
            }
        }
    }

    /// Takes a strong reference off an entry; the last removes it.
    ///
    /// # Safety
    ///
    /// The reference is the caller's, and the entry is one of this registry.
    #[inline]
    pub(crate) unsafe fn release(self: &Arc<Self>, entry: *const Entry) {
        // SAFETY: the caller's reference keeps the entry from being retired.
        if unsafe { (*entry).release() } {
            // SAFETY: that was the last reference, so nobody else removes it.
            unsafe { self.remove(entry) };
        }
    }

    /// # Safety
    ///
    /// The caller took the last strong reference off `entry`.
    #[cold]
    #[inline(never)]
    unsafe fn remove(self: &Arc<Self>, entry: *const Entry) {
        let guard = epoch::pin();
        // SAFETY: the entry is retired below, by nobody else, and freed only
        // after the guard is gone.
        let removed = unsafe { &*entry };
        self.table.remove(removed, &guard);
        let extras = removed.take_extras();
        let live_here = self.live.subtract(1);
        // SAFETY: the table no longer leads to the entry, and only this call
        // retires it.
        unsafe { self.recycler.retire(self, entry.cast_mut(), &guard) };
        if live_here.is_multiple_of(RESIZE_CHECK) {
            self.shrink_if_too_large(&guard);
        }
        drop(guard);
        // Last, with nothing half done: attachments are the user's, and may
        // panic or come back to the registry when they are dropped.
        drop(extras);
    }

    fn shrink_if_too_large(self: &Arc<Self>, guard: &Guard) {
        let live = self.live.sum();
        if self.table.is_too_large_for(live) {
            self.table.shrink_for(live, Arc::clone(self), |core| &core.table, guard);
        }
    }

    pub(super) fn recycler(&self) -> &Recycler {
        &self.recycler
    }

    /// Entries that have been removed and may still be read by someone.
    pub(crate) fn pending_garbage(&self) -> u64 {
        self.recycler.pending()
    }

    /// Entries that are live, for the recycler to decide what is worth keeping.
    pub(super) fn live(&self) -> u64 {
        self.live.sum()
    }
}
