//! Allocation: reserve first, then find.
//!
//! A reservation of credits decides whether the allocation succeeds. What is
//! left is to find blocks that are known to exist: free ones first, then what was
//! forgotten when the store was cleared, then victims from the policy plane, and if the plane is held by someone who does not come
//! back, victims from a sweep over the slots.
//!
//! # When a reserved block cannot be found
//!
//! It exists: see "Reserve before you take" in [`credit`](super::credit). But
//! between two lines of another thread it can be in nobody's list: not yet
//! announced by a summary, drained and not yet in the order, popped from it and
//! not yet vacated. Those moments pass; if their thread is suspended, an
//! exhaustive search, of every slot and every word of the freelists, finds the
//! block all the same. Where the search finds too little, blocks have moved behind
//! its back, which means that others got on, and it is repeated.

use crate::SequenceHash;
use crate::metrics::Counter;
use crate::suspension::step;
use crate::sync::{spin_loop, yield_now};

use super::plane::{Order, vacate_inactive};
use super::prefetch::prefetch_to_write;
use super::release::Free;
use super::slot::{NIL, Slot};
use super::stash::{self, STASHED, Stash};
use super::store::Store;

/// Tries to find a reserved block before the thread lets others run.
const SPINS: u32 = if cfg!(kvbm_loom) { 1 } else { 64 };
/// Tries to find a reserved block before the thread searches everywhere.
const PATIENCE: u32 = if cfg!(kvbm_loom) { 2 } else { SPINS + 256 };
/// Pauses between two tries: few enough that a plane let go of is noticed before
/// its last holder is back.
const PAUSES: u32 = if cfg!(kvbm_loom) { 1 } else { 8 };
/// Pauses between two tries while the plane is seen to be taken.
const LONG_PAUSES: u32 = if cfg!(kvbm_loom) { 1 } else { 64 };

/// Blocks that have been reserved: an allocation that has been decided. What is not
/// taken is given back when this is dropped.
pub(crate) struct Reserved<'a> {
    store: &'a Store,
    home: usize,
    count: usize,
}

impl<'a> Reserved<'a> {
    /// Takes the blocks. Calls `sink` with each, the free ones first, and `evicted`
    /// with the hash of each that was evicted, in the policy's order.
    #[inline]
    pub(crate) fn take(self, mut sink: impl FnMut(&'a Slot), evicted: impl FnMut(SequenceHash)) {
        let Self { store, home, count } = self;
        std::mem::forget(self);
        if count == 1
            && let Some(id) = store.free.take_one(home)
        {
            store.count_free(1);
            return sink(&store.slots[id as usize]);
        }
        let from_reset = store.take_free(home, count, &mut sink);
        if from_reset == count {
            store.count_free(count as u64);
        } else {
            store.allocate_evicting(home, count, from_reset, sink, evicted);
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
        // The store is there afterwards: the caller has a manager.
        self.store.return_credits(self.home, self.count as u32);
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
        self.metrics.add_each(both.map(|counter| (counter, count)));
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
    ) {
        step!(FreeTaken);
        let mut victims = Victims::new(self);
        let mut missing = count - from_reset;
        let mut tries = 0;
        loop {
            missing -= self.take_forgotten(missing, &mut victims);
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
            if tries <= SPINS {
                let mut pauses = 0;
                while pauses < PAUSES || self.plane.is_taken() && pauses < LONG_PAUSES {
                    spin_loop();
                    pauses += 1;
                }
            } else {
                yield_now();
            }
            if tries > PATIENCE {
                let (swept, free) = self.search(missing, &mut victims, &mut sink);
                missing -= swept + free;
                if missing == 0 {
                    break;
                }
            }
        }
        let evictions = victims.finish(&mut sink, &mut evicted);
        self.metrics.add_each([
            (Counter::Allocations, count as u64),
            (Counter::AllocationsFromReset, (count - evictions) as u64),
            (Counter::Evictions, evictions as u64),
        ]);
    }

    /// Vacates up to `max` blocks in the policy's order. Returns how many: fewer if
    /// the order came to its end, or the plane was taken.
    fn evict<'a>(&'a self, home: usize, max: usize, victims: &mut Victims<'a>) -> usize {
        if self.plane.hands_out_ahead()
            && let Some(mut stash) = self.stashes[home].try_hold()
            && !self.directives.are_used()
        {
            step!(StashHeld);
            let mut evicted = 0;
            loop {
                evicted += self.evict_stashed(&mut stash, max - evicted, victims);
                if evicted == max {
                    return evicted;
                }
                let mut candidates = [NIL; STASHED];
                let found = self.candidates(home, &mut candidates).unwrap_or(0);
                if found == 0 {
                    break;
                }
                stash.fill(&self.slots, &candidates[..found]);
            }
            // What other shards have put aside is all that is left.
            drop(stash);
            for mut away in self.stashes.iter().filter_map(Stash::try_hold) {
                evicted += self.evict_stashed(&mut away, max - evicted, victims);
            }
            return evicted;
        }
        let mut evicted = 0;
        while evicted < max {
            let mut candidates = [NIL; STASHED];
            let wanted = STASHED.min(max - evicted);
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
        stash: &mut stash::Queue,
        max: usize,
        victims: &mut Victims<'a>,
    ) -> usize {
        let mut evicted = 0;
        while evicted < max
            && let Some(slot) = stash.pop(&self.slots)
        {
            evicted += usize::from(self.evict_one(slot, victims));
        }
        evicted
    }

    #[inline]
    fn evict_one<'a>(&'a self, slot: &'a Slot, victims: &mut Victims<'a>) -> bool {
        let is_vacated = vacate_inactive(slot, self.reset_on_release);
        if is_vacated {
            self.index.prefetch_to_write(slot.key().keyed);
            victims.push(slot);
        }
        is_vacated
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
            plane.drain(&self.slots, &self.released);
        } else {
            plane.drain(&self.slots, [&self.released[home]]);
        }
        let mut found = plane.pop(&self.slots, candidates);
        if found < candidates.len() {
            plane.drain(&self.slots, &self.released);
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
    /// priorities: stashes are not filled any more, see [`evict`](Self::evict).
    #[cold]
    fn empty_stashes(&self, plane: &mut Order) {
        for mut stash in self.stashes.iter().filter_map(Stash::try_hold) {
            while let Some(slot) = stash.pop(&self.slots) {
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
            .evict(max, &self.slots, self.reset_on_release, |slot| {
                victims.push(slot)
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
    pub(crate) fn reset_inactive(&self) {
        let home = self.home();
        while self.credits.reserve(home, 1).is_made {
            let mut victims = Victims::new(self);
            let mut evicted = self.evict(home, 1, &mut victims);
            if evicted == 0 {
                // The order is at its end, or in the hand of another thread.
                evicted = self
                    .sweep
                    .evict(1, &self.slots, self.reset_on_release, |slot| {
                        victims.push(slot);
                    });
            }
            if evicted == 0 {
                return self.return_credits(home, 1);
            }
            // Frees the victim, with its credit.
            drop(victims);
        }
    }
}

/// Vacated slots whose tenancies are still to be ended: those that had been forgotten,
/// and those that are evicted, each in the order they were vacated.
///
/// Those that are left when it is dropped are freed.
pub(super) struct Victims<'a> {
    store: &'a Store,
    forgotten: Chain,
    evicted: Chain,
}

impl<'a> Victims<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            forgotten: Chain::EMPTY,
            evicted: Chain::EMPTY,
        }
    }

    pub(super) fn push(&mut self, slot: &Slot) {
        let store = self.store;
        if store.is_of_earlier_era(slot) {
            self.forgotten.push(&store.slots, slot);
        } else {
            self.evicted.push(&store.slots, slot);
        }
    }

    /// Ends the tenancies and hands the blocks out, the forgotten first. Returns how
    /// many were evicted.
    fn finish(
        &mut self,
        sink: &mut impl FnMut(&'a Slot),
        evicted: &mut impl FnMut(SequenceHash),
    ) -> usize {
        let store = self.store;
        let mut count = 0;
        let has_entries = store.registry.has_entries();
        while let Some(slot) = self.forgotten.pop(&store.slots) {
            end_tenancy(store, slot, has_entries);
            sink(slot);
        }
        while let Some(slot) = self.evicted.pop(&store.slots) {
            let hash = slot.hash();
            end_tenancy(store, slot, has_entries);
            evicted(hash);
            sink(slot);
            count += 1;
        }
        count
    }
}

impl Drop for Victims<'_> {
    fn drop(&mut self) {
        if self.forgotten.is_empty() && self.evicted.is_empty() {
            return;
        }
        let store = self.store;
        let has_entries = store.registry.has_entries();
        for chain in [&mut self.forgotten, &mut self.evicted] {
            while let Some(slot) = chain.pop(&store.slots) {
                let _free = Free::new(store, slot);
                store.end_tenancy(slot, has_entries);
            }
        }
    }
}

/// Ends the tenancy of a block that is to be handed out.
#[inline]
fn end_tenancy(store: &Store, slot: &Slot, has_entries: bool) {
    // An attachment of the user's may panic when it is dropped: then this block and
    // the rest are freed.
    let free = Free::new(store, slot);
    store.end_tenancy(slot, has_entries);
    free.keep();
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
        slot.set_primary(NIL);
        match self.last {
            NIL => self.first = slot.id(),
            last => slots[last as usize].set_primary(slot.id()),
        }
        self.last = slot.id();
    }

    #[inline]
    fn pop<'a>(&mut self, slots: &'a [Slot]) -> Option<&'a Slot> {
        if self.is_empty() {
            return None;
        }
        let slot = &slots[self.first as usize];
        self.first = slot.primary();
        if self.first == NIL {
            self.last = NIL;
        }
        Some(slot)
    }
}
