//! Allocation: reserve first, then find.
//!
//! A reservation of credits decides whether the allocation succeeds. What is
//! left is to find blocks that are known to exist: free ones first, then what was
//! cleared, then victims from the policy plane, and if the plane is held by someone who does
//! not come back, victims from a sweep over the slots.
//!
//! # When a reserved block cannot be found
//!
//! It exists: see "Reserve before you take" in [`credit`](crate::engine::parts::credits). But
//! between two lines of another thread it can be in nobody's list: not yet
//! announced by a summary, drained and not yet in the order, popped from it and
//! not yet vacated. Those moments pass; if their thread is suspended, an
//! exhaustive search, of every slot and every word of the freelists, finds the
//! block all the same. Where the search finds too little, blocks have moved behind
//! its back, which means that others got on, and it is repeated.

use std::ptr::NonNull;

use crate::SequenceHash;
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::limits::{FIND_ATTEMPTS, FIND_PAUSES, FIND_PAUSES_WHILE_HELD, FIND_SPINS};
use crate::sync::step;
use crate::sync::{spin_loop, yield_now};

use crate::engine::hold::{Exclusive, Mutable};
use crate::engine::parts::plane::EvictionOrder;
use crate::engine::parts::prefetch::prefetch_to_write;
use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::victim_cache::{CAPACITY, PrefetchedVictims, VictimCache};
use crate::engine::parts::word::Word;
use crate::engine::store::Store;

/// Blocks that have been reserved: an allocation that has been decided. What is not
/// taken is given back when this is dropped.
pub(crate) struct Reserved<'a> {
    store: &'a Store,
    home: usize,
    count: usize,
}

impl<'a> Reserved<'a> {
    /// Takes the blocks. Calls `sink` with each, the free ones first, and `evicted`
    /// with the hash of each that was evicted, in the policy's order. What that leaves to
    /// user code is the caller's to settle, when the blocks are where they belong.
    #[inline]
    pub(crate) fn take(
        self,
        mut sink: impl FnMut(Exclusive<Mutable>),
        evicted: impl FnMut(SequenceHash),
    ) -> Leftovers {
        let Self { store, home, count } = self;
        std::mem::forget(self);
        // SAFETY: the slots come from the freelist, or have been vacated, and a credit has
        // been reserved for each.
        let mut sink = |slot: &'a Slot| sink(unsafe { Exclusive::of(slot) });
        if count == 1
            && let Some(id) = store.free.take_one(home)
        {
            store.count_free(1);
            sink(&store.slots[id as usize]);
            return Leftovers::new();
        }
        let from_reset = store.take_free(home, count, &mut sink);
        if from_reset == count {
            store.count_free(count as u64);
            Leftovers::new()
        } else {
            store.allocate_evicting(home, count, from_reset, sink, evicted)
        }
    }
}

impl Reserved<'_> {
    /// Leaves the blocks reserved, for the caller to take or give back in another way.
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        // SAFETY: they were reserved, and not taken. The store is there afterwards: the
        // caller has a manager.
        unsafe {
            Store::return_credits(NonNull::from(self.store), self.home, self.count as u32);
        }
    }
}

impl Store {
    /// Reserves `count` blocks or none: this decides an allocation.
    #[inline]
    pub(crate) fn reserve(&self, count: usize) -> Option<Reserved<'_>> {
        self.reserve_or_else(count, || false)
    }

    /// As [`reserve`](Self::reserve). Where that would be refused, `otherwise` says
    /// whether it has reserved as many after all, and kept them.
    #[inline(always)]
    pub(crate) fn reserve_or_else(
        &self,
        count: usize,
        otherwise: impl FnOnce() -> bool,
    ) -> Option<Reserved<'_>> {
        let home = self.home();
        // The caller has a manager, so the store is not retired, and a reservation
        // asks for no references.
        if count > self.slots.len()
            || !self.credits.reserve(home, count as u32).is_made && !otherwise()
        {
            return None;
        }
        step!(CreditsReserved);
        Some(Reserved {
            store: self,
            home,
            count,
        })
    }

    #[inline]
    fn count_free(&self, count: u64) {
        let both = [Counter::Allocations, Counter::AllocationsFromReset];
        self.count_each(both.map(|counter| (counter, count)));
    }

    /// The rest of an allocation that has reserved `count` blocks and found
    /// `from_reset` free ones.
    fn allocate_evicting<'a>(
        &'a self,
        home: usize,
        count: usize,
        from_reset: usize,
        mut sink: impl FnMut(&'a Slot),
        mut evicted: impl FnMut(SequenceHash),
    ) -> Leftovers {
        step!(FreeTaken);
        let mut victims = Victims::new(self);
        let mut missing = count - from_reset;
        let mut tries = 0;
        loop {
            missing -= self.take_cleared(missing, &mut victims);
            if missing == 0 {
                break;
            }
            missing -= self.evict(home, missing, &mut victims);
            if missing == 0 {
                break;
            }
            let free = self.take_free(home, missing, &mut sink);
            missing -= free;
            if missing == 0 {
                break;
            }
            tries += 1;
            if tries <= FIND_SPINS {
                let mut pauses = 0;
                while pauses < FIND_PAUSES
                    || self.plane.is_taken() && pauses < FIND_PAUSES_WHILE_HELD
                {
                    spin_loop();
                    pauses += 1;
                }
            } else {
                yield_now();
            }
            if tries > FIND_ATTEMPTS {
                let (swept, free) = self.search(missing, &mut victims, &mut sink);
                missing -= swept + free;
                if missing == 0 {
                    break;
                }
            }
        }
        let mut leftovers = Leftovers::new();
        let Taken { cleared, evicted } = victims.finish(&mut sink, &mut evicted, &mut leftovers);
        self.count_each([
            (Counter::ClearedTaken, cleared as u64),
            (Counter::Allocations, count as u64),
            (Counter::AllocationsFromReset, (count - evicted) as u64),
            (Counter::Evictions, evicted as u64),
        ]);
        leftovers
    }

    /// Vacates up to `max` blocks in the policy's order. Returns how many: fewer if
    /// the order came to its end, or the plane was taken.
    fn evict<'a>(&'a self, home: usize, max: usize, victims: &mut Victims<'a>) -> usize {
        let mut evicted = 0;
        if self.plane.hands_out_ahead()
            && let Some(mut victim_cache) = self.victim_caches[home].try_hold()
            && !self.directives.are_used()
        {
            step!(StashHeld);
            loop {
                evicted += self.evict_stashed(&mut victim_cache, max - evicted, victims);
                if evicted == max {
                    return evicted;
                }
                if self.directives.are_used() {
                    break;
                }
                let mut candidates = [NIL; CAPACITY];
                let found = self.candidates(home, &mut candidates).unwrap_or(0);
                if found == 0 {
                    break;
                }
                victim_cache.fill(&self.slots, &candidates[..found]);
            }
            drop(victim_cache);
            if !self.directives.are_used() {
                // What other shards have put aside is all that is left.
                for mut away in self.victim_caches.iter().filter_map(VictimCache::try_hold) {
                    evicted += self.evict_stashed(&mut away, max - evicted, victims);
                }
                return evicted;
            }
        }
        while evicted < max {
            let mut candidates = [NIL; CAPACITY];
            let wanted = CAPACITY.min(max - evicted);
            let Some(found) = self.candidates(home, &mut candidates[..wanted]) else {
                break;
            };
            for &candidate in &candidates[..found] {
                let slot = &self.slots[candidate as usize];
                evicted += usize::from(self.evict_one(slot, victims));
            }
            if found < wanted {
                break;
            }
        }
        evicted
    }

    fn evict_stashed<'a>(
        &'a self,
        victim_cache: &mut PrefetchedVictims,
        max: usize,
        victims: &mut Victims<'a>,
    ) -> usize {
        let mut evicted = 0;
        // What is said of a block from now on is not for this victim_cache to know: the rest goes
        // back to the plane, see `empty_stashes`.
        while evicted < max
            && !self.directives.are_used()
            && let Some(slot) = victim_cache.pop(&self.slots)
        {
            evicted += usize::from(self.evict_one(slot, victims));
        }
        evicted
    }

    #[inline]
    fn evict_one<'a>(&'a self, slot: &'a Slot, victims: &mut Victims<'a>) -> bool {
        // One that is queued has been released again since it was listed, on another shard
        // whose stack has not been drained: it is to be listed anew, and is no victim yet.
        if slot.word().is_queued() {
            return false;
        }
        let vacated = slot.vacate_unheld(self.reset_on_release);
        if let Some(before) = vacated {
            self.index.prefetch_to_write(slot.key().keyed);
            victims.push(slot, before);
        }
        vacated.is_some()
    }

    /// Takes the next candidates from the plane and has their slots fetched.
    /// Returns how many, or `None` if the plane was taken.
    fn candidates(&self, home: usize, candidates: &mut [u32]) -> Option<usize> {
        let mut plane = self.plane.try_hold()?;
        step!(PlaneHeld);
        if self.plane.hands_out_ahead() && self.directives.are_used() {
            self.empty_stashes(&mut plane);
        }
        if self.plane.observes_resurrection() || plane.is_turn_to_drain_all() {
            plane.drain(&self.slots, &self.release_logs);
        } else {
            plane.drain(&self.slots, [&self.release_logs[home]]);
        }
        let mut found = plane.pop(&self.slots, candidates);
        if found < candidates.len() {
            plane.drain(&self.slots, &self.release_logs);
            found += plane.pop(&self.slots, &mut candidates[found..]);
        }
        step!(VictimsPopped);
        drop(plane);
        step!(VictimsInHand);
        for &candidate in &candidates[..found] {
            prefetch_to_write(&self.slots[candidate as usize]);
        }
        Some(found)
    }

    /// Puts what was handed out ahead of need back into the order, now that there are
    /// priorities: victim_caches are not filled any more, see [`evict`](Self::evict).
    #[cold]
    fn empty_stashes(&self, plane: &mut EvictionOrder) {
        for mut victim_cache in self.victim_caches.iter().filter_map(VictimCache::try_hold) {
            while let Some(slot) = victim_cache.pop(&self.slots) {
                plane.put_back(slot);
            }
        }
    }

    /// Looks for reserved blocks everywhere: at every slot and every word of the
    /// freelists. Returns how many it swept and how many it found free.
    #[cold]
    fn search<'a>(
        &'a self,
        max: usize,
        victims: &mut Victims<'a>,
        sink: &mut impl FnMut(&'a Slot),
    ) -> (usize, usize) {
        step!(Searching);
        self.count(Counter::PlaneFallbacks, 1);
        let swept = self
            .sweep
            .evict(max, &self.slots, self.reset_on_release, |slot, before| {
                victims.push(slot, before);
            });
        let free = self
            .free
            .take_hidden(max - swept, |id| sink(&self.slots[id as usize]));
        (swept, free)
    }

    #[inline]
    fn take_free<'a>(&'a self, home: usize, max: usize, sink: &mut impl FnMut(&'a Slot)) -> usize {
        let taken = self
            .free
            .take(home, max, |id| sink(&self.slots[id as usize]));
        if taken.stolen > 0 {
            self.count(Counter::Steals, taken.stolen as u64);
        }
        taken.count
    }

    /// Resets all inactive blocks. Blocks that become inactive meanwhile may be
    /// missed.
    ///
    /// One at a time, and reserved as allocations are: a block on its way from
    /// inactive to free is nobody else's, and no more than one is at a time.
    pub(crate) fn reset_inactive(&self) -> Leftovers {
        let home = self.home();
        let mut leftovers = Leftovers::new();
        while self.credits.reserve(home, 1).is_made {
            let mut victims = Victims::new(self);
            let mut evicted = self.evict(home, 1, &mut victims);
            if evicted == 0 {
                // The order is at its end, or in the hand of another thread.
                evicted =
                    self.sweep
                        .evict(1, &self.slots, self.reset_on_release, |slot, before| {
                            victims.push(slot, before);
                        });
            }
            if evicted == 0 {
                // SAFETY: it was reserved just now. The caller has a manager.
                unsafe { Self::return_credits(NonNull::from(self), home, 1) };
                break;
            }
            victims.free(&mut leftovers);
        }
        leftovers
    }
}

/// Vacated slots whose tenancies are still to be ended: those that had been cleared,
/// and those that are evicted, each in the order they were vacated. A credit is reserved
/// for each.
pub(in crate::engine) struct Victims<'a> {
    store: &'a Store,
    cleared: Chain,
    evicted: Chain,
}

/// How many victims there were.
struct Taken {
    cleared: usize,
    evicted: usize,
}

impl<'a> Victims<'a> {
    pub(in crate::engine) fn new(store: &'a Store) -> Self {
        Self {
            store,
            cleared: Chain::EMPTY,
            evicted: Chain::EMPTY,
        }
    }

    /// Adds a slot whose word was `before` when it was vacated.
    fn push(&mut self, slot: &Slot, before: Word) {
        if self.store.is_cleared(slot, before) {
            self.push_cleared(slot);
        } else {
            self.evicted.push(&self.store.slots, slot);
        }
    }

    pub(in crate::engine) fn push_cleared(&mut self, slot: &Slot) {
        self.cleared.push(&self.store.slots, slot);
    }

    /// Ends the tenancies and hands the blocks out, the cleared first.
    fn finish(
        self,
        sink: &mut impl FnMut(&'a Slot),
        evicted: &mut impl FnMut(SequenceHash),
        leftovers: &mut Leftovers,
    ) -> Taken {
        let store = self.store;
        let mut taken = Taken {
            cleared: 0,
            evicted: 0,
        };
        self.end_each(leftovers, |slot, hash| {
            match hash {
                None => taken.cleared += 1,
                Some(hash) => {
                    evicted(hash);
                    taken.evicted += 1;
                }
            }
            sink(&store.slots[slot.id() as usize]);
        });
        taken
    }

    /// Ends the tenancies and frees the blocks.
    fn free(self, leftovers: &mut Leftovers) {
        let store = self.store;
        self.end_each(leftovers, |slot, hash| {
            if hash.is_none() {
                store.count(Counter::ClearedFreed, 1);
            }
            store.count(Counter::Reset, 1);
            // SAFETY: the block has been vacated, and a credit is reserved for it.
            unsafe { Store::free(NonNull::from(slot)) };
        });
    }

    /// Ends each tenancy and calls `then` with the slot, and the hash if it was not cleared
    /// before.
    fn end_each(
        mut self,
        leftovers: &mut Leftovers,
        mut then: impl FnMut(&Slot, Option<SequenceHash>),
    ) {
        let store = self.store;
        let has_entries = store.registry.has_entries();
        while let Some(slot) = self.cleared.pop(&store.slots) {
            store.end_tenancy(slot, has_entries, leftovers);
            then(slot, None);
        }
        while let Some(slot) = self.evicted.pop(&store.slots) {
            let hash = slot.hash();
            store.end_tenancy(slot, has_entries, leftovers);
            then(slot, Some(hash));
        }
    }
}

/// Slots of one thread, in order. Linked through the field that names a duplicate's
/// primary, so that nothing is allocated between taking the plane and letting go of
/// it.
struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    const EMPTY: Self = Self {
        first: NIL,
        last: NIL,
    };

    #[inline]
    fn is_empty(&self) -> bool {
        self.first == NIL
    }

    #[inline]
    fn push(&mut self, slots: &[Slot], slot: &Slot) {
        slot.set_next_victim(NIL);
        match self.last {
            NIL => self.first = slot.id(),
            last => slots[last as usize].set_next_victim(slot.id()),
        }
        self.last = slot.id();
    }

    #[inline]
    fn pop<'a>(&mut self, slots: &'a [Slot]) -> Option<&'a Slot> {
        if self.is_empty() {
            return None;
        }
        let slot = &slots[self.first as usize];
        self.first = slot.next_victim();
        if self.first == NIL {
            self.last = NIL;
        }
        Some(slot)
    }
}
