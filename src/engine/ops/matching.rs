//! Matching: pinning registered blocks by their hashes.
//!
//! Everything that makes a block active again goes through here: matches, upgrades of weak
//! guards, and registrations that find an existing primary. For each hash:
//!
//! 1. Find the primary in the index, and its word. If it is cleared, the hash is a miss.
//! 2. If the block is inactive, reserve a credit, and one for each other inactive block that
//!    is likely to be pinned next.
//! 3. Exchange the word for one with another pin. If the word has changed, examine it again.
//! 4. Check the hash once more, now that the pin keeps the tenancy.
//!
//! At the end of the operation, push the blocks that became active again onto the home
//! shard's release log, if the policy observes that, and return the credits left over.
//!
//! # What does it cost?
//!
//! One exchange per active block. Inactive blocks share a reservation of credits (one exchange
//! for up to a window of 16 hashes) and, 64 of them, one push onto the release log. Nothing is
//! allocated,
//! and no thread waits for a lock. If a block is matched while its release is still queued,
//! and the policy needs to see both in order, the thread also tries to take the plane and
//! applies what is queued.
//!
//! # Can a registered block be missed?
//!
//! Yes: an inactive block is not matched while all available blocks, itself included, are
//! reserved by other operations, see "Reserve before you take" in
//! [`credits`](crate::engine::parts::credits). The match first retries up to [`CREDIT_LOOKS`]
//! times per block and yields up to [`CREDIT_YIELDS`] times per operation, so the wait is
//! bounded.
//!
//! # What can a suspended thread delay?
//!
//! The blocks it has pinned are active, and the credits it has reserved are unavailable.
//! Nothing else is delayed: a block that it has found but not yet pinned can be matched,
//! evicted or released by others.

use std::mem::{self, MaybeUninit};
use std::ptr::NonNull;

use crate::SequenceHash;
use crate::engine::hold::Pinned;
use crate::engine::parts::prefetch::prefetch_to_write;
use crate::engine::parts::release_log::Run;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::{State, Word};
use crate::engine::store::Store;
use crate::key::Key;
use crate::metrics::Counter;
use crate::registry::{BlockRegistrationHandle, Leftovers};
use crate::sync::limits::{CREDIT_LOOKS, CREDIT_YIELDS};
use crate::sync::step;
use crate::sync::{spin_loop, yield_now};

/// The number of hashes that are looked up together.
const WINDOW: usize = 16;

/// Adds the pins of one operation.
///
/// Blocks that became active again are pushed onto the release log in runs, the last of which
/// when this is dropped. Credits that were not used are then returned in one exchange.
pub(in crate::engine) struct Pins<'a> {
    store: &'a Store,
    /// The home shard of the calling thread.
    home: usize,
    /// The number of credits that are reserved but not yet used.
    reserved: u32,
    /// The number of times the operation has yielded to other threads.
    yields: u32,
    /// The number of pins added to blocks that already had pins.
    shared: u64,
    /// Blocks that became active again and are still to be pushed onto the release log.
    queued: Run<'a>,
}

/// The outcome of an attempt to pin a block.
pub(in crate::engine) enum Pin {
    /// The block is pinned.
    Made(Pinned),
    /// The block has left the tenancy in which it was seen.
    Gone,
    /// The block is inactive and cleared.
    Cleared,
    /// The block is inactive, but other operations in progress have reserved all available
    /// blocks, this one included.
    NoCredit,
}

impl<'a> Pins<'a> {
    /// Creates a set of pins for the calling thread.
    #[inline]
    pub(in crate::engine) fn new(store: &'a Store) -> Self {
        Self {
            store,
            home: store.home(),
            reserved: 0,
            yields: 0,
            shared: 0,
            queued: Run::new(),
        }
    }

    /// Pins the primary of a hash. Returns `None` if there is none, or it is cleared, or no
    /// credit is left for it. The primaries of `next` are likely to be pinned next.
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

    /// Pins the primary of `hash` that was found with the word `seen`. The primaries of `next`
    /// are likely to be pinned next.
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
            let queues = resurrects && self.store.plane.observes_resurrection();
            if queues && seen.is_queued() && !drained {
                // The block's release is still queued, and must be applied first, unless that
                // order does not matter to the policy: then this pin cancels the release.
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
            if let Err(now) = slot.pin(seen, queues) {
                seen = now;
                continue;
            }
            step!(Pinned);
            // SAFETY: the exchange has added one pin. If it is the only one, a reserved credit
            // goes with it.
            let pinned = unsafe { Pinned::of(slot) };
            self.reserved -= u32::from(resurrects);
            self.shared += u64::from(!resurrects);
            if queues && !seen.is_queued() {
                // SAFETY: the exchange has set the mark.
                if unsafe { self.queued.add(slot) } {
                    self.push_queued();
                }
            }
            // Generations wrap around, hashes do not: the pin keeps the tenancy (invariant 5),
            // so the comparison is final.
            if slot.hash_bits() == hash.as_u128() {
                return Pin::Made(pinned);
            }
            self.push_queued();
            drop(pinned);
            return Pin::Gone;
        }
        Pin::Gone
    }

    /// Reserves a credit for the inactive block `slot` and one for each other inactive block
    /// among the primaries of `next`; if there are not enough, only the first. Returns whether
    /// it has reserved any.
    ///
    /// An operation must not reserve more credits than the blocks it needs, so each block
    /// counts once.
    #[inline(never)]
    fn reserve(&mut self, slot: &Slot, next: &[Key]) -> bool {
        let store = self.store;
        let bit = |slot: &Slot| 1_u64 << (slot.id() % 64);
        // One bit per block, chosen by its number. Two blocks with the same bit count as one.
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

    /// Reserves `count` credits or none. Returns whether it did.
    fn reserve_credits(&mut self, count: u32) -> bool {
        let is_made = self.store.reserve_credits(self.home, count);
        self.reserved += count * u32::from(is_made);
        is_made
    }

    /// Pushes what is queued onto the home shard's release log.
    fn push_queued(&mut self) {
        let queued = mem::replace(&mut self.queued, Run::new());
        self.store.queue_run(self.home, queued);
    }
}

impl Drop for Pins<'_> {
    #[inline]
    fn drop(&mut self) {
        step!(MatchUnsettled);
        if !self.queued.is_empty() {
            self.push_queued();
        }
        if self.shared > 0 {
            self.store.count(Counter::SharedPins, self.shared);
        }
        if self.reserved > 0 {
            // SAFETY: the credits were reserved and not used. The store outlives the call: the
            // caller has a reference.
            unsafe {
                Store::return_credits(NonNull::from(self.store), self.home, self.reserved);
            }
        }
    }
}

impl Store {
    /// Returns the key of a hash in this store's registry.
    #[inline]
    fn key(&self, hash: SequenceHash) -> Key {
        self.registry.key(hash)
    }

    /// Returns the keys of a window of hashes and prefetches their buckets.
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
        // SAFETY: the loop has written all of them.
        unsafe { &*(std::ptr::from_mut(keys) as *const [Key]) }
    }

    /// Returns the keys of a window of hashes and prefetches their buckets and slots, so that
    /// the cache misses of the lookups overlap.
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

    /// Pins the longest prefix of `hashes` that is registered here and passes each block to
    /// `sink`. Returns how many there were.
    #[inline]
    pub(crate) fn match_prefix(
        &self,
        hashes: &[SequenceHash],
        mut sink: impl FnMut(Pinned),
    ) -> usize {
        let mut pins = Pins::new(self);
        let mut matched = 0;
        // The first hash is matched alone: usually a prompt has either no blocks here, or
        // many.
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

    /// Pins the block of each hash that is registered here. Calls `sink` once per hash, in
    /// their order.
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

    /// Returns whether a hash is registered here, without pinning its block.
    #[inline]
    pub(in crate::engine) fn finds(&self, key: Key) -> bool {
        // No exchange follows that would fail if the word had changed, so this checks that the
        // hash and the word belong to the same tenancy.
        while let Some((slot, seen)) = self.index.find(&self.slots, key) {
            if slot.is_tenancy(seen) {
                return !self.is_cleared(slot, seen);
            }
        }
        false
    }

    /// Sets the flag of each hash that is registered here, and leaves the others.
    pub(in crate::engine) fn mark_registered(&self, hashes: &mut [(SequenceHash, bool)]) {
        for window in hashes.chunks_mut(WINDOW) {
            let mut keys = [MaybeUninit::uninit(); WINDOW];
            let keys = self.keys(window, |&(hash, _)| hash, &mut keys);
            for ((_, is_registered), &key) in window.iter_mut().zip(keys) {
                *is_registered |= self.finds(key);
            }
        }
    }

    /// Pins the primary of a hash, if it is registered here.
    #[inline]
    pub(crate) fn match_one(&self, hash: SequenceHash) -> Option<Pinned> {
        Pins::new(self).pin(self.key(hash), &[])
    }

    /// Returns where to find a block that the caller holds: its slot number and generation.
    pub(crate) fn address(slot: &Slot) -> (u32, u32) {
        (slot.id(), slot.word().generation())
    }

    /// Pins the block at an address, whether primary or duplicate, if it still has pins and
    /// its hash is `hash`.
    ///
    /// Needs no credit, since the block has pins.
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
                    // SAFETY: the exchange has added a pin beside others.
                    let pinned = unsafe { Pinned::of(slot) };
                    // Generations wrap around, hashes do not.
                    return (slot.hash() == hash).then_some(pinned);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Returns a handle to the hash of a block that the caller holds.
    ///
    /// # Panics
    ///
    /// If user code that [`Core::handle`](crate::registry::Core::handle) defers panics.
    pub(crate) fn handle_of(&self, slot: &Slot) -> BlockRegistrationHandle {
        let mut leftovers = Leftovers::new();
        let (handle, _) = self.registry.handle(slot.key(), &mut leftovers);
        leftovers.settle();
        BlockRegistrationHandle::new(handle)
    }
}
