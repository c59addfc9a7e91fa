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
//! At the end of the operation, push the blocks that became active again onto the release logs of the
//! shards that have released them, and return the credits left over.
//!
//! A match of many hashes takes a short path for what is usual. If the first slot in the hash's
//! chain is the primary and has pins, steps 1, 3 and 4 are all there is to do. If it is inactive, the
//! match looks up a whole [window](LOOK_AHEAD) of hashes, as long as their blocks are inactive, before it pins
//! any of them: it keeps each slot with the word it had, reserves the credits of all of them
//! together, and then pins them by exchanges from those words. Whatever is not as usual (a longer
//! chain, a cleared block, too few credits, a word that has changed) is left to the general path,
//! hash by hash.
//!
//! # What does it cost?
//!
//! One exchange per active block. Inactive blocks that follow each other share a reservation of
//! credits (one exchange for up to 32 of them) and, 64 of them, one push onto the
//! release log. Nothing is allocated, and no thread waits for a lock. If a block is matched while its release is still
//! queued, and the policy needs to see both in order, the thread also tries to take the plane and
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
use crate::engine::buffer::Room;
use crate::engine::hold::Pinned;
use crate::engine::parts::plane::Cancelled;
use crate::engine::parts::prefetch::prefetch_to_write;
use crate::engine::parts::release_log::Run;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::engine::store::Store;
use crate::key::Key;
use crate::metrics::Counter;
use crate::registry::{BlockRegistrationHandle, Leftovers};
use crate::sync::limits::{CREDIT_LOOKS, CREDIT_YIELDS};
use crate::sync::{spin_loop, step, thread, yield_now};

/// The number of hashes whose cache lines are fetched together.
const WINDOW: usize = 16;

/// The number of inactive blocks that are looked up before the first of them is pinned.
const LOOK_AHEAD: usize = 32;

/// The number of blocks up to which slots and buckets are not prefetched.
///
/// Their slots take 2 MiB, about as much as a core's private caches. Prefetching takes some 25
/// instructions per hash, and pays where a lookup would wait for memory. Measured on an AMD EPYC
/// with 1 MiB of second-level cache per core, for requests of 32 blocks in use, chosen at random
/// and released again, in ns per block without and with it: 11.0 and 12.5 in a pool of 4,096
/// blocks, 13.3 and 13.8 of 16,384, 16.4 and 16.3 of 32,768, 19.3 and 18.0 of 65,536, 67 and 21 of
/// 131,072, and 316 and 148 of a million.
const NEAR_BLOCKS: usize = 1 << 15;

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
    /// Blocks that became active again and are still to be pushed onto the release log of the shard
    /// `queue_at`.
    queued: Run<'a>,
    queue_at: usize,
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

/// Why the short path for blocks with pins has stopped.
enum Stop {
    /// There are no more hashes.
    Pinned,
    /// The next hash is not registered.
    Absent,
    /// The primary of the next hash is inactive.
    Inactive,
    /// The next hash is to be looked up in the general way.
    Other,
}

impl<'a> Pins<'a> {
    /// Creates a set of pins for the calling thread.
    #[inline]
    pub(in crate::engine) fn new(store: &'a Store) -> Self {
        Self::of(store, thread::index())
    }

    /// Creates a set of pins for the calling thread, which has this number.
    #[inline]
    fn of(store: &'a Store, thread: usize) -> Self {
        Self {
            store,
            home: store.home_of(thread),
            reserved: 0,
            yields: 0,
            shared: 0,
            queued: Run::new(),
            queue_at: 0,
        }
    }

    /// Pins the primary of a hash. Returns `None` if there is none, or it is cleared, or no
    /// credit is left for it. The primaries of `next` are likely to be pinned next.
    ///
    /// Out of line, for the loops that take a shorter path for most hashes.
    #[inline(never)]
    fn pin(&mut self, hash: SequenceHash, next: &[SequenceHash]) -> Option<Pinned> {
        let key = self.store.registry.key(hash);
        loop {
            let (slot, seen) = self.store.index.find(&self.store.slots, key)?;
            match self.pin_seen(slot, seen, hash, next) {
                Pin::Made(pinned) => return Some(pinned),
                Pin::Gone => {}
                Pin::Cleared | Pin::NoCredit => return None,
            }
        }
    }

    /// Takes a pin off a block whose hash has turned out to be another.
    #[cold]
    fn cancel(&mut self, pinned: Pinned) {
        self.push_queued();
        drop(pinned);
    }

    /// Pins the primaries of hashes in order, up to the first hash that cannot be matched, and adds
    /// the pins to `room`. Returns whether all are pinned.
    ///
    /// # Safety
    ///
    /// There is room for that many.
    unsafe fn pin_prefix(&mut self, hashes: &[SequenceHash], room: &mut Room<'_, Pinned>) -> bool {
        let mut left = hashes;
        loop {
            // SAFETY: the caller's contract, here and below: each pin is that of another hash.
            let (count, stop) = unsafe { self.share(left, room) };
            left = &left[count..];
            match stop {
                Stop::Pinned => return true,
                Stop::Absent => return false,
                Stop::Inactive => {
                    let mut window = 0;
                    loop {
                        // SAFETY: as above.
                        let count = unsafe { self.resurrect(left, room) };
                        left = &left[count..];
                        window += count;
                        if count < LOOK_AHEAD {
                            break;
                        }
                    }
                    if window > 0 {
                        continue;
                    }
                }
                Stop::Other => {}
            }
            let [hash, rest @ ..] = left else {
                return true;
            };
            let Some(pinned) = self.pin(*hash, &rest[..rest.len().min(WINDOW - 1)]) else {
                return false;
            };
            // SAFETY: as above.
            unsafe { room.push(pinned) };
            left = rest;
        }
    }

    /// Pins the primaries of hashes as long as each is the first in its chain and has pins, and adds
    /// the pins to `room`. Returns how many it has pinned, and what is next.
    ///
    /// Out of line and without a call: so everything that the loop needs is in registers.
    ///
    /// # Safety
    ///
    /// There is room for as many as the hashes.
    #[inline(never)]
    unsafe fn share(
        &mut self,
        hashes: &[SequenceHash],
        room: &mut Room<'_, Pinned>,
    ) -> (usize, Stop) {
        let store = self.store;
        let (buckets, slots, secret) = (store.index.view(), &*store.slots, store.registry.secret());
        let mut ahead = room.ahead();
        let mut left = hashes.iter();
        let (stop, other) = loop {
            let Some(&hash) = left.next() else {
                break (Stop::Pinned, None);
            };
            let Some(slot) = buckets.first(slots, secret.keyed(hash)) else {
                break (Stop::Absent, None);
            };
            let seen = slot.word();
            // Half of the hash now, all of it when the pin keeps the tenancy.
            if !slot.may_be_of(hash) || !seen.can_be_shared() {
                let is_inactive = seen.is_inactive() && slot.is_of(hash);
                break (
                    if is_inactive {
                        Stop::Inactive
                    } else {
                        Stop::Other
                    },
                    None,
                );
            }
            step!(Pinning);
            if !slot.pin_shared(seen) {
                break (Stop::Other, None);
            }
            step!(Pinned);
            // SAFETY: the exchange has added a pin beside others.
            let pinned = unsafe { Pinned::of(slot) };
            if !slot.is_of(hash) {
                break (Stop::Other, Some(pinned));
            }
            // SAFETY: the caller's contract.
            unsafe { ahead.push(pinned) };
        };
        let count = room.left() - ahead.left();
        // SAFETY: it comes from this room.
        unsafe { room.catch_up(&ahead) };
        self.shared += count as u64;
        if let Some(other) = other {
            self.shared += 1;
            self.cancel(other);
        }
        (count, stop)
    }

    /// Pins the primaries of a window of hashes while they are inactive, and adds the pins to
    /// `room`. Stops at the first block that takes more than the usual steps, which may be the very
    /// first. Returns how many it has pinned.
    ///
    /// # Safety
    ///
    /// There is room for as many as the hashes.
    #[inline(never)]
    unsafe fn resurrect(&mut self, hashes: &[SequenceHash], room: &mut Room<'_, Pinned>) -> usize {
        let mut found = [MaybeUninit::uninit(); LOOK_AHEAD];
        let (count, era) = self.look_ahead(hashes, &mut found);
        if self.reserved < count && !self.reserve_credits(count - self.reserved) {
            return 0;
        }
        let found = found[..count as usize].iter().zip(hashes);
        // SAFETY: the look-ahead has written the first `count`. There is room, by the caller's
        // contract, and a credit for each.
        unsafe { self.pin_found(found, era, room) }
    }

    /// Looks up the primary of a hash that is probably not the first of its chain.
    #[inline(never)]
    fn find_later(&self, hash: SequenceHash) -> Option<(&'a Slot, Word)> {
        let store = self.store;
        store.index.find(&store.slots, store.registry.key(hash))
    }

    /// Looks up a window of hashes up to the first whose block is not inactive, or is probably one
    /// of those before. Writes the slots of the others to `found`, with their words. Returns how
    /// many there are, and the era in which they are not cleared.
    #[inline(always)]
    fn look_ahead(
        &self,
        hashes: &[SequenceHash],
        found: &mut [MaybeUninit<(&'a Slot, Word)>; LOOK_AHEAD],
    ) -> (u32, u16) {
        let store = self.store;
        let (buckets, slots, secret) = (store.index.view(), &*store.slots, store.registry.secret());
        let era = store.clearing.era();
        let mut count = 0;
        // One bit per block, chosen by its number. No more credits may be reserved than are
        // needed, so each block counts once.
        let mut blocks = 0_u64;
        for (&hash, place) in hashes.iter().zip(found) {
            let Some(slot) = buckets.first(slots, secret.keyed(hash)) else {
                break;
            };
            let mut at = (slot, slot.word());
            if !at.1.is_inactive() || !slot.is_of(hash) {
                match self.find_later(hash) {
                    Some(other) if other.1.is_inactive() => at = other,
                    _ => break,
                }
            }
            let (slot, seen) = at;
            let bit = 1 << (slot.id().wrapping_mul(0x9e37_79b9) >> 26);
            if slot.era() != era || blocks & bit != 0 {
                break;
            }
            blocks |= bit;
            place.write((slot, seen));
            count += 1;
        }
        (count, era)
    }

    /// Pins inactive blocks of these hashes, from the words that they had, and adds the pins to
    /// `room`. Stops at the first that has changed, and when they have been cleared, because the
    /// store is no longer in this era. Returns how many it has pinned.
    ///
    /// # Safety
    ///
    /// What was found is initialized. There is room, and a credit is reserved, for each.
    #[inline(always)]
    unsafe fn pin_found<'f>(
        &mut self,
        found: impl Iterator<Item = (&'f MaybeUninit<(&'a Slot, Word)>, &'f SequenceHash)>,
        era: u16,
        room: &mut Room<'_, Pinned>,
    ) -> usize
    where
        'a: 'f,
    {
        let store = self.store;
        let before = room.left();
        let mut ahead = room.ahead();
        for (place, &hash) in found {
            // SAFETY: the caller's contract.
            let (slot, seen) = unsafe { place.assume_init() };
            if seen.is_queued() && !self.cancel_release(slot) {
                // The block's release, which is still queued, must be applied first.
                break;
            }
            step!(Pinning);
            if store.clearing.era() != era || !slot.pin_first(seen) {
                break;
            }
            step!(Pinned);
            // SAFETY: the exchange has added the only pin, and a reserved credit goes with it.
            let pin = unsafe { Pinned::of(slot) };
            self.reserved -= 1;
            if !seen.is_queued() {
                // What pushes may run user code, which may panic.
                // SAFETY: it comes from this room; and the exchange has set the mark.
                unsafe { self.queue(slot, || room.catch_up(&ahead)) };
            }
            if !slot.is_of(hash) {
                // SAFETY: as above.
                unsafe { room.catch_up(&ahead) };
                self.cancel(pin);
                break;
            }
            // SAFETY: the caller's contract.
            unsafe { ahead.push(pin) };
        }
        // SAFETY: it comes from this room.
        unsafe { room.catch_up(&ahead) };
        before - room.left()
    }

    /// Pins the primary of `hash` that was found with the word `seen`. The primaries of `next`
    /// are likely to be pinned next.
    pub(in crate::engine) fn pin_seen(
        &mut self,
        slot: &'a Slot,
        mut seen: Word,
        hash: SequenceHash,
        next: &[SequenceHash],
    ) -> Pin {
        let generation = seen.generation();
        let mut drained = false;
        let mut looks = 0;
        while seen.is_primary() && seen.generation() == generation {
            let resurrects = !seen.is_pinned();
            if resurrects {
                match self.store.was_cleared(slot, seen) {
                    Some(true) => return Pin::Cleared,
                    Some(false) => {}
                    None => {
                        seen = slot.word();
                        continue;
                    }
                }
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
            if resurrects && seen.is_queued() && !drained {
                // The block's release is still queued, and must be applied first, unless that
                // order does not matter to the policy: then this pin cancels the release.
                drained = true;
                if !self.cancel_release(slot) {
                    let shard = self.store.shard_of(slot, self.home);
                    self.store.try_drain_of(shard);
                    seen = slot.word();
                    continue;
                }
            }
            step!(Pinning);
            if let Err(now) = slot.pin(seen, resurrects) {
                seen = now;
                continue;
            }
            step!(Pinned);
            // SAFETY: the exchange has added one pin. If it is the only one, a reserved credit
            // goes with it.
            let pinned = unsafe { Pinned::of(slot) };
            self.reserved -= u32::from(resurrects);
            self.shared += u64::from(!resurrects);
            if resurrects && !seen.is_queued() {
                // SAFETY: the exchange has set the mark.
                unsafe { self.queue(slot, || {}) };
            }
            // Generations wrap around, hashes do not: the pin keeps the tenancy (invariant 5),
            // so the comparison is final.
            if slot.is_of(hash) {
                return Pin::Made(pinned);
            }
            self.cancel(pinned);
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
    fn reserve(&mut self, slot: &Slot, next: &[SequenceHash]) -> bool {
        let store = self.store;
        let (buckets, secret) = (store.index.view(), store.registry.secret());
        let bit = |slot: &Slot| 1_u64 << (slot.id() % 64);
        // One bit per block, chosen by its number. Two blocks with the same bit count as one.
        let mut counted = bit(slot);
        for &hash in next {
            match buckets.first(&store.slots, secret.keyed(hash)) {
                Some(slot)
                    if slot.word().is_inactive()
                        && slot.is_of(hash)
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

    /// Prepares to pin a block whose release is still queued: returns whether that may be done before
    /// the release has been applied.
    #[inline(always)]
    fn cancel_release(&self, slot: &Slot) -> bool {
        let store = self.store;
        match store.planes.cancelled() {
            Cancelled::AppliedFirst => return false,
            Cancelled::Marked => {
                store.release_logs[store.shard_of(slot, self.home)].mark_cancelled();
            }
            Cancelled::Forgotten => {}
        }
        true
    }

    /// Adds a block that became active again to what is queued. Pushes what is queued already if the
    /// block belongs onto another log, or if there are enough blocks; but calls `before` first.
    ///
    /// # Safety
    ///
    /// The caller has marked the slot as queued, and has not pushed it since.
    #[inline(always)]
    unsafe fn queue(&mut self, slot: &'a Slot, mut before: impl FnMut()) {
        let shard = self.store.shard_of(slot, self.home);
        let is_elsewhere = shard != self.queue_at && !self.queued.is_empty();
        if is_elsewhere {
            before();
            self.push_queued();
        }
        self.queue_at = shard;
        // SAFETY: the caller's contract.
        if unsafe { self.queued.add(slot) } {
            before();
            self.push_queued();
        }
    }

    /// Pushes what is queued onto the log that it belongs onto.
    fn push_queued(&mut self) {
        let queued = mem::replace(&mut self.queued, Run::new());
        self.store.queue_run(self.queue_at, queued);
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
    /// Prefetches the buckets and slots of a window of hashes, so that the cache misses of the
    /// lookups overlap.
    #[inline(never)]
    fn fetch(&self, hashes: &[SequenceHash]) {
        let (buckets, secret) = (self.index.view(), self.registry.secret());
        for &hash in hashes {
            buckets.prefetch(secret.keyed(hash));
        }
        for &hash in hashes {
            if let Some(slot) = buckets.first(&self.slots, secret.keyed(hash)) {
                prefetch_to_write(slot);
            }
        }
    }

    /// Returns whether blocks are likely to be far from the calling thread's core, so that it pays
    /// to prefetch them.
    #[inline]
    fn is_far(&self) -> bool {
        self.slots.len() > NEAR_BLOCKS
    }

    /// Pins the longest prefix of `hashes` that is registered here, at most as many as there is
    /// room for, and adds the pins to `room`. Counts `requested` hashes, and the blocks.
    #[inline(never)]
    pub(crate) fn match_prefix(
        &self,
        hashes: &[SequenceHash],
        requested: usize,
        room: &mut Room<'_, Pinned>,
    ) {
        // Usually a prompt has either no blocks here, or many.
        if hashes.first().is_some_and(|&first| self.may_match(first)) {
            self.pin_prefix(hashes, requested, room);
        } else {
            self.count(Counter::MatchHashesRequested, requested as u64);
        }
    }

    /// Does what [`match_prefix`](Self::match_prefix) does, if the first hash is probably
    /// registered here.
    #[inline(never)]
    fn pin_prefix(&self, hashes: &[SequenceHash], requested: usize, room: &mut Room<'_, Pinned>) {
        let thread = thread::index();
        let before = room.left();
        let hashes = &hashes[..hashes.len().min(before)];
        let mut pins = Pins::of(self, thread);
        // SAFETY: there is room for all hashes.
        unsafe {
            if self.is_far() {
                // The first hash is matched alone.
                let (first, rest) = hashes.split_at(hashes.len().min(1));
                for window in [first].into_iter().chain(rest.chunks(WINDOW)) {
                    self.fetch(window);
                    if !pins.pin_prefix(window, room) {
                        break;
                    }
                }
            } else {
                pins.pin_prefix(hashes, room);
            }
        }
        drop(pins);
        let counts = [
            (Counter::MatchHashesRequested, requested as u64),
            (Counter::MatchBlocksReturned, (before - room.left()) as u64),
        ];
        self.count_each_as(thread, counts);
    }

    /// Returns whether a hash can be matched, or its chain begins with a slot that has half of it.
    #[inline]
    pub(crate) fn may_match(&self, hash: SequenceHash) -> bool {
        let keyed = self.registry.secret().keyed(hash);
        match self.index.view().first(&self.slots, keyed) {
            Some(slot) => slot.may_be_of(hash) || self.finds_in_chain(Key { hash, keyed }),
            None => false,
        }
    }

    #[inline(never)]
    fn finds_in_chain(&self, key: Key) -> bool {
        self.index.find(&self.slots, key).is_some()
    }

    /// Pins the block of each hash that is registered here. Calls `sink` once per hash, in
    /// their order.
    pub(crate) fn match_each(&self, hashes: &[SequenceHash], mut sink: impl FnMut(Option<Pinned>)) {
        let mut pins = Pins::new(self);
        for window in hashes.chunks(WINDOW) {
            if self.is_far() {
                self.fetch(window);
            }
            let mut hashes = window;
            while let [hash, next @ ..] = hashes {
                sink(pins.pin(*hash, next));
                hashes = next;
            }
        }
    }

    /// Returns whether a hash is registered here, without pinning its block.
    #[inline]
    pub(in crate::engine) fn finds(&self, key: Key) -> bool {
        // No exchange follows that would fail if the word had changed, so this checks that the
        // hash and the word belong to the same tenancy.
        while let Some((slot, seen)) = self.index.find(&self.slots, key) {
            if let Some(was_cleared) = self.was_cleared(slot, seen)
                && slot.is_tenancy(seen)
            {
                return !was_cleared;
            }
        }
        false
    }

    /// Sets the flag of each hash that is registered here, and leaves the others.
    pub(in crate::engine) fn mark_registered(&self, hashes: &mut [(SequenceHash, bool)]) {
        let secret = self.registry.secret();
        let (buckets, slots) = (self.index.view(), &*self.slots);
        for window in hashes.chunks_mut(WINDOW) {
            if self.is_far() {
                for &(hash, _) in &*window {
                    buckets.prefetch(secret.keyed(hash));
                }
            }
            for (hash, is_registered) in window {
                let key = secret.key(*hash);
                let Some(slot) = buckets.first(slots, key.keyed) else {
                    continue;
                };
                // What is usual: the first slot of the chain, neither cleared nor about to change.
                let seen = slot.word();
                *is_registered |= seen.is_primary()
                    && slot.is_of(*hash)
                    && (seen.is_pinned() || !self.is_of_earlier_era(slot))
                    && slot.is_tenancy(seen)
                    || self.finds(key);
            }
        }
    }

    /// Pins the primary of a hash, if it is registered here.
    #[inline(never)]
    pub(crate) fn match_one(&self, hash: SequenceHash) -> Option<Pinned> {
        let keyed = self.registry.secret().keyed(hash);
        let slot = self.index.view().first(&self.slots, keyed)?;
        let seen = slot.word();
        // What is usual, as in a match of many.
        if slot.may_be_of(hash)
            && seen.can_be_shared()
            && let Some(pinned) = self.share_one(slot, seen, hash)
        {
            return Some(pinned);
        }
        Pins::new(self).pin(hash, &[])
    }

    /// Adds a pin to a block that had pins when its word was `seen`, if the word has not changed
    /// and the block's hash is `hash`.
    #[inline(always)]
    fn share_one(&self, slot: &Slot, seen: Word, hash: SequenceHash) -> Option<Pinned> {
        step!(Pinning);
        if !slot.pin_shared(seen) {
            return None;
        }
        step!(Pinned);
        self.count(Counter::SharedPins, 1);
        // SAFETY: the exchange has added a pin beside others.
        let pinned = unsafe { Pinned::of(slot) };
        slot.is_of(hash).then_some(pinned)
    }

    /// Returns where to find a block that the caller holds: its slot number and generation.
    pub(crate) fn address(slot: &Slot) -> (u32, u32) {
        (slot.id(), slot.word().generation())
    }

    /// Pins the block at an address, whether primary or duplicate, if it still has pins (though not
    /// the maximum) and its hash is `hash`.
    ///
    /// Needs no credit, since the block has pins.
    #[inline]
    pub(crate) fn pin_held(
        &self,
        (id, generation): (u32, u32),
        hash: SequenceHash,
    ) -> Option<Pinned> {
        let slot = &self.slots[id as usize];
        let mut seen = slot.word();
        while seen.can_be_shared_in(generation) {
            if slot.pin_shared(seen) {
                self.count(Counter::SharedPins, 1);
                // SAFETY: the exchange has added a pin beside others.
                let pinned = unsafe { Pinned::of(slot) };
                // Generations wrap around, hashes do not.
                return slot.is_of(hash).then_some(pinned);
            }
            seen = slot.word();
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
