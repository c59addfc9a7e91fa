//! Getting hold of registered blocks: match, upgrade, and what a registration
//! does with a primary that is already there.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::SequenceHash;
use crate::metrics::Counter;
use crate::registry::{BlockRegistrationHandle, Leftovers};
use crate::sync::limits::{CREDIT_LOOKS, CREDIT_YIELDS};
use crate::sync::step;
use crate::sync::{spin_loop, yield_now};

use crate::engine::hold::Pinned;
use crate::engine::parts::prefetch::prefetch_to_write;
use crate::engine::parts::release_log::Run;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::{State, Word};
use crate::engine::store::Store;
use crate::key::Key;

/// Hashes looked up together.
const WINDOW: usize = 16;

/// The pins of one operation.
///
/// An inactive block is pinned with a credit that has been reserved before, see
/// [`credit`](crate::engine::parts::credits). Credits left over are returned, and the policy is
/// told of the pins, once for the operation: when this is dropped.
pub(in crate::engine) struct Pins<'a> {
    store: &'a Store,
    /// The shard of the calling thread.
    home: usize,
    /// Credits that are reserved and not used.
    reserved: u32,
    /// Times the operation has let others run.
    yields: u32,
    /// Pins of blocks that others held already.
    shared: u64,
    /// Blocks that came into use again, of which the policy is to be told.
    notes: Run<'a>,
}

/// What came of a try to pin a block.
pub(in crate::engine) enum Pin {
    /// It is pinned.
    Made(Pinned),
    /// It has left the tenancy in which it was seen.
    Gone,
    /// It is inactive, and was when the store was cleared.
    Cleared,
    /// It is inactive, and it and all other available blocks are promised to
    /// operations under way.
    NoCredit,
}

impl<'a> Pins<'a> {
    pub(in crate::engine) fn new(store: &'a Store) -> Self {
        Self {
            store,
            home: store.home(),
            reserved: 0,
            yields: 0,
            shared: 0,
            notes: Run::new(),
        }
    }

    /// Pins the primary of a hash, unless there is none or it is promised. The
    /// primaries of `next` are likely to be pinned next.
    #[inline]
    fn pin(&mut self, key: Key, next: &[Key]) -> Option<Pinned> {
        loop {
            let (slot, seen) = self.store.index.find(&self.store.slots, key)?;
            match self.pin_seen(slot, seen, key.hash, next) {
                Pin::Made(pinned) => return Some(pinned),
                Pin::Gone => {}
                Pin::Cleared | Pin::NoCredit => return None,
            }
        }
    }

    /// Pins a primary of `hash` whose word was `seen`. The primaries of `next` are
    /// likely to be pinned next.
    #[inline]
    pub(in crate::engine) fn pin_seen(
        &mut self,
        slot: &'a Slot,
        mut seen: Word,
        hash: SequenceHash,
        next: &[Key],
    ) -> Pin {
        let generation = seen.generation();
        let mut drained = false;
        let mut looks = 0;
        while seen.is_primary() && seen.generation() == generation {
            let resurrects = seen.count() == 0;
            if resurrects && self.store.is_of_earlier_era(slot) {
                return Pin::Cleared;
            }
            if resurrects && self.reserved == 0 && !self.reserve(slot, next) {
                if looks < CREDIT_LOOKS {
                    looks += 1;
                    spin_loop();
                } else if self.yields < CREDIT_YIELDS {
                    self.yields += 1;
                    yield_now();
                } else {
                    return Pin::NoCredit;
                }
                seen = slot.word();
                continue;
            }
            let notes = resurrects && self.store.plane.observes_resurrection();
            if notes && seen.is_queued() && !drained {
                // Its release is still to be applied, and comes first.
                drained = true;
                if self.store.plane.resurrections_commute() {
                    self.store.release_logs[self.store.home()].mark_cancelled();
                } else {
                    self.store.try_drain();
                    seen = slot.word();
                    continue;
                }
            }
            step!(Pinning);
            if let Err(now) = slot.pin(seen, notes) {
                seen = now;
                continue;
            }
            step!(Pinned);
            // SAFETY: the exchange has made one pin, and if it is the only one a credit that
            // was reserved goes with it.
            let pinned = unsafe { Pinned::of(slot) };
            self.reserved -= u32::from(resurrects);
            self.shared += u64::from(!resurrects);
            if notes && !seen.is_queued() {
                self.notes.add(slot);
            }
            // Generations wrap, identity does not.
            if slot.hash_bits() == hash.as_u128() {
                return Pin::Made(pinned);
            }
            self.push_notes();
            drop(pinned);
            return Pin::Gone;
        }
        Pin::Gone
    }

    /// Reserves a credit for the inactive block at hand, and one for every other block
    /// that is seen to be inactive among the primaries of `next`; or if there are not
    /// as many, for the one at hand; or none.
    ///
    /// No operation is to have more credits than it needs blocks, so the same block
    /// counts once.
    #[inline(never)]
    fn reserve(&mut self, slot: &Slot, next: &[Key]) -> bool {
        let store = self.store;
        let bit = |slot: &Slot| 1_u64 << (slot.id() % 64);
        // A bit for each block, by its number: two that meet are taken for one.
        let mut counted = bit(slot);
        for key in next {
            match store.index.first(&store.slots, *key) {
                Some(slot)
                    if slot.word().is_inactive()
                        && slot.hash() == key.hash
                        && !store.is_of_earlier_era(slot) =>
                {
                    counted |= bit(slot);
                }
                _ => {}
            }
        }
        self.reserve_credits(counted.count_ones()) || self.reserve_credits(1)
    }

    fn reserve_credits(&mut self, count: u32) -> bool {
        let is_made = self.store.reserve_credits(self.home, count);
        self.reserved += count * u32::from(is_made);
        is_made
    }

    fn push_notes(&mut self) {
        let notes = std::mem::replace(&mut self.notes, Run::new());
        notes.push_to(&self.store.release_logs[self.home]);
    }
}

impl Drop for Pins<'_> {
    #[inline]
    fn drop(&mut self) {
        step!(MatchUnsettled);
        if !self.notes.is_empty() {
            self.push_notes();
        }
        if self.shared > 0 {
            self.store.count(Counter::SharedPins, self.shared);
        }
        if self.reserved > 0 {
            // SAFETY: they were reserved, and not used. The store is there afterwards: the
            // caller has a reference.
            unsafe {
                Store::return_credits(NonNull::from(self.store), self.home, self.reserved);
            }
        }
    }
}

impl Store {
    #[inline]
    fn key(&self, hash: SequenceHash) -> Key {
        self.registry.key(hash)
    }

    /// The keys of a window of hashes, with their buckets on the way to this core.
    #[inline(always)]
    fn keys<'k, H>(
        &self,
        hashes: &[H],
        hash: impl Fn(&H) -> SequenceHash,
        keys: &'k mut [MaybeUninit<Key>; WINDOW],
    ) -> &'k [Key] {
        let keys = &mut keys[..hashes.len()];
        for (key, at) in keys.iter_mut().zip(hashes) {
            self.index.prefetch(key.write(self.key(hash(at))).keyed);
        }
        // SAFETY: all of them were written just now.
        unsafe { &*(std::ptr::from_mut(keys) as *const [Key]) }
    }

    /// The keys of a window of hashes, with their buckets and slots on the way to
    /// this core: the look-ups then miss together, not one after the other.
    #[inline]
    fn fetched<'k>(
        &self,
        hashes: &[SequenceHash],
        keys: &'k mut [MaybeUninit<Key>; WINDOW],
    ) -> &'k [Key] {
        let keys = self.keys(hashes, |&hash| hash, keys);
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
    pub(crate) fn match_prefix(
        &self,
        hashes: &[SequenceHash],
        mut sink: impl FnMut(Pinned),
    ) -> usize {
        let mut pins = Pins::new(self);
        let mut matched = 0;
        // The first alone: mostly, a prompt has no block here at all, or many.
        let (first, rest) = hashes.split_at(hashes.len().min(1));
        'hashes: for window in [first].into_iter().chain(rest.chunks(WINDOW)) {
            let mut keys = [MaybeUninit::uninit(); WINDOW];
            let mut keys = self.fetched(window, &mut keys);
            while let [key, next @ ..] = keys {
                let Some(pinned) = pins.pin(*key, next) else {
                    break 'hashes;
                };
                sink(pinned);
                matched += 1;
                keys = next;
            }
        }
        matched
    }

    /// Pins the block of every hash that is registered here and calls `sink`
    /// once for each hash.
    pub(crate) fn match_each(&self, hashes: &[SequenceHash], mut sink: impl FnMut(Option<Pinned>)) {
        let mut pins = Pins::new(self);
        for window in hashes.chunks(WINDOW) {
            let mut keys = [MaybeUninit::uninit(); WINDOW];
            let mut keys = self.fetched(window, &mut keys);
            while let [key, next @ ..] = keys {
                sink(pins.pin(*key, next));
                keys = next;
            }
        }
    }

    /// Whether a hash is registered here.
    #[inline]
    pub(in crate::engine) fn finds(&self, key: Key) -> bool {
        // Nobody is going to exchange the word that was seen, so it is for this to
        // see that the hash is that of the same tenancy.
        while let Some((slot, seen)) = self.index.find(&self.slots, key) {
            if slot.is_tenancy(seen) {
                return !self.is_cleared(slot, seen);
            }
        }
        false
    }

    /// Sets the flag of each hash that is registered here.
    pub(in crate::engine) fn mark_registered(&self, hashes: &mut [(SequenceHash, bool)]) {
        for window in hashes.chunks_mut(WINDOW) {
            let mut keys = [MaybeUninit::uninit(); WINDOW];
            let keys = self.keys(window, |&(hash, _)| hash, &mut keys);
            for ((_, is_registered), &key) in window.iter_mut().zip(keys) {
                *is_registered |= self.finds(key);
            }
        }
    }

    /// Pins the primary of a hash.
    #[inline]
    pub(crate) fn match_one(&self, hash: SequenceHash) -> Option<Pinned> {
        Pins::new(self).pin(self.key(hash), &[])
    }

    /// Where to find a block the caller holds: its slot and generation.
    pub(crate) fn address(slot: &Slot) -> (u32, u32) {
        (slot.id(), slot.word().generation())
    }

    /// Pins the block of `hash` at this address, primary or duplicate, if it is still
    /// held.
    pub(crate) fn pin_held(
        &self,
        (id, generation): (u32, u32),
        hash: SequenceHash,
    ) -> Option<Pinned> {
        let slot = &self.slots[id as usize];
        let mut seen = slot.word();
        while matches!(seen.state(), State::Primary | State::Duplicate)
            && seen.generation() == generation
            && seen.count() > 0
        {
            match slot.pin(seen, false) {
                Ok(()) => {
                    self.count(Counter::SharedPins, 1);
                    // SAFETY: the exchange has made a pin beside others.
                    let pinned = unsafe { Pinned::of(slot) };
                    // Generations wrap, identity does not.
                    return (slot.hash() == hash).then_some(pinned);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// A handle to the hash of a block the caller holds.
    ///
    /// # Panics
    ///
    /// As [`Core::handle`](crate::registry::Core::handle) leaves it to do.
    pub(crate) fn handle_of(&self, slot: &Slot) -> BlockRegistrationHandle {
        let mut leftovers = Leftovers::new();
        let (handle, _) = self.registry.handle(slot.hash(), &mut leftovers);
        leftovers.settle();
        handle
    }

    /// Applies the notes, if the plane is free.
    pub(in crate::engine) fn try_drain(&self) {
        if let Some(mut plane) = self.plane.try_hold() {
            step!(PlaneHeld);
            plane.drain(&self.slots, &self.release_logs);
        }
    }
}
