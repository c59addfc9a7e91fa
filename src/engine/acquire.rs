//! Getting hold of registered blocks: match, upgrade, and what a registration
//! does with a primary that is already there.

use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::SequenceHash;
use crate::registry::BlockRegistrationHandle;

use super::index::Key;
use super::prefetch::prefetch_to_write;
use super::released::Run;
use super::slot::Slot;
use super::store::Store;
use super::word::{State, Word};

/// Hashes looked up together.
const WINDOW: usize = 16;

/// The pins of one operation, which settles for them once, at its end: one
/// debit and one note run, however many blocks it pinned.
pub(super) struct Pins<'a> {
    store: &'a Store,
    /// Pins that ended an inactive period, and are not debited yet.
    resurrected: u32,
    /// Those of them that the policy is to be told of.
    notes: Run<'a>,
}

impl<'a> Pins<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            resurrected: 0,
            notes: Run::new(),
        }
    }

    /// Pins the primary of a hash.
    #[inline]
    pub(super) fn pin(&mut self, key: Key) -> Option<&'a Slot> {
        loop {
            let (slot, seen) = self.store.index.find(&self.store.slots, key)?;
            if self.pin_seen(slot, seen, key.hash) {
                return Some(slot);
            }
        }
    }

    /// Pins a primary of `hash` whose word was `seen`, unless it has left that
    /// tenancy.
    #[inline]
    pub(super) fn pin_seen(&mut self, slot: &'a Slot, mut seen: Word, hash: SequenceHash) -> bool {
        let generation = seen.generation();
        let mut drained = false;
        while seen.is_primary() && seen.generation() == generation {
            let resurrects = seen.count() == 0;
            let notes = resurrects && self.store.plane.observes_resurrection();
            if notes && seen.is_noted() && !drained {
                // Its release is still to be applied, and comes first.
                drained = true;
                self.store.try_drain();
                seen = slot.word();
                continue;
            }
            if let Err(now) = slot.pin(seen, notes) {
                seen = now;
                continue;
            }
            self.resurrected += u32::from(resurrects);
            if notes && !seen.is_noted() {
                self.notes.add(slot);
            }
            // Generations wrap, identity does not.
            if slot.hash_bits() == hash.as_u128() {
                return true;
            }
            self.unpin_stranger(slot);
            return false;
        }
        false
    }

    /// Takes back a pin of a block that turned out to be another one.
    #[cold]
    fn unpin_stranger(&mut self, slot: &Slot) {
        self.settle_now();
        Store::unpin(slot);
    }

    fn settle_now(&mut self) {
        let store = self.store;
        let home = store.home();
        std::mem::replace(&mut self.notes, Run::new()).push_to(&store.released[home]);
        let count = std::mem::take(&mut self.resurrected);
        if count > 0 {
            let debited = store.credits.debit(home, count);
            store.adjust_pool_references(debited.references);
        }
    }

    /// Tells the policy and the credits of the pins.
    #[inline]
    pub(super) fn settle(mut self) {
        if self.resurrected > 0 {
            self.settle_now();
        }
    }
}

impl Store {
    #[inline]
    fn key(&self, hash: SequenceHash) -> Key {
        self.registry.key(hash)
    }

    /// The keys of a window of hashes, with their buckets and slots on the way to
    /// this core: the look-ups then miss together, not one after the other.
    #[inline]
    fn fetched<'k>(
        &self,
        hashes: &[SequenceHash],
        keys: &'k mut [MaybeUninit<Key>; WINDOW],
    ) -> &'k [Key] {
        let keys = &mut keys[..hashes.len()];
        for (key, &hash) in keys.iter_mut().zip(hashes) {
            self.index.prefetch(key.write(self.key(hash)).keyed);
        }
        // SAFETY: all of them were written just now.
        let keys = unsafe { &*(std::ptr::from_mut(keys) as *const [Key]) };
        for key in keys {
            if let Some(slot) = self.index.first(&self.slots, *key) {
                prefetch_to_write(slot);
            }
        }
        keys
    }

    /// Pins the longest prefix of `hashes` that is registered here and calls
    /// `sink` with each block. Returns how many.
    #[inline]
    pub(crate) fn match_prefix<'a>(
        &'a self,
        hashes: &[SequenceHash],
        mut sink: impl FnMut(&'a Slot),
    ) -> usize {
        let mut pins = Pins::new(self);
        let mut matched = 0;
        'hashes: for window in hashes.chunks(WINDOW) {
            for &key in self.fetched(window, &mut [MaybeUninit::uninit(); WINDOW]) {
                let Some(slot) = pins.pin(key) else {
                    break 'hashes;
                };
                sink(slot);
                matched += 1;
            }
        }
        pins.settle();
        matched
    }

    /// Pins the block of every hash that is registered here and calls `sink`
    /// once for each hash.
    pub(crate) fn match_each<'a>(
        &'a self,
        hashes: &[SequenceHash],
        mut sink: impl FnMut(Option<&'a Slot>),
    ) {
        let mut pins = Pins::new(self);
        for window in hashes.chunks(WINDOW) {
            for &key in self.fetched(window, &mut [MaybeUninit::uninit(); WINDOW]) {
                sink(pins.pin(key));
            }
        }
        pins.settle();
    }

    /// Pins the primary of a hash.
    #[inline]
    pub(crate) fn match_one(&self, hash: SequenceHash) -> Option<&Slot> {
        let mut pins = Pins::new(self);
        let slot = pins.pin(self.key(hash));
        pins.settle();
        slot
    }

    /// Where to find a block the caller holds if it is a duplicate: its slot
    /// and generation.
    pub(crate) fn duplicate_address(slot: &Slot) -> Option<(u32, u32)> {
        let word = slot.word();
        (word.state() == State::Duplicate).then(|| (slot.id(), word.generation()))
    }

    /// Pins the duplicate of `hash` at this address if it is still held.
    pub(crate) fn pin_duplicate(
        &self,
        (id, generation): (u32, u32),
        hash: SequenceHash,
    ) -> Option<&Slot> {
        let slot = &self.slots[id as usize];
        let mut seen = slot.word();
        while seen.state() == State::Duplicate
            && seen.generation() == generation
            && seen.count() > 0
        {
            match slot.pin(seen, false) {
                Ok(()) if slot.hash() == hash => return Some(slot),
                // Generations wrap, identity does not.
                Ok(()) => {
                    Self::unpin(slot);
                    return None;
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// A handle to the hash of a block the caller holds.
    pub(crate) fn handle_of(&self, slot: &Slot) -> BlockRegistrationHandle {
        self.registry.handle(slot.hash()).0
    }

    /// Applies the notes, if the plane is free.
    pub(super) fn try_drain(&self) {
        if let Some(mut plane) = self.plane.try_hold() {
            plane.drain(&self.slots, &self.released);
        }
    }

    /// Takes or drops references on behalf of the pool, as a debit asked for.
    /// The caller has a reference of its own.
    fn adjust_pool_references(&self, references: i32) {
        for _ in 0..references {
            // SAFETY: the caller has a reference, so the store is alive, in the
            // `Arc` that `new` made.
            unsafe { Arc::increment_strong_count(self.as_ptr()) };
        }
        for _ in references..0 {
            // SAFETY: the credits said so.
            unsafe { Self::drop_pool_reference(self.as_ptr()) };
        }
    }
}
