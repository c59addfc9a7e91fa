//! Allocation: reserve first, then find the blocks.
//!
//! 1. *Reserve* a credit for each block, all or none. This alone decides whether the
//!    allocation succeeds ([`Store::reserve`]).
//! 2. *Find* that many blocks ([`Reserved::take`]): free blocks from the freelist first, then
//!    cleared blocks (`clear`), then victims in the policy's order (`evict`).
//! 3. If another thread keeps holding the policy plane, or has held it for so long that the order
//!    has too many candidates that are no victims any more, find the rest by a *search* of the slots
//!    and, if need be, of every word of the freelists.
//! 4. End the tenancies of the victims and hand them out ([`Victims`]).
//!
//! # What does it cost?
//!
//! * A refusal: all shard balances are folded into the central one, which proves that too few
//!   credits are left. The next ones are two loads, as long as none are returned. Nothing is
//!   searched.
//! * Blocks from the freelist: one exchange for the credits, plus about one per freelist word,
//!   each of which yields up to 64 blocks.
//! * Victims: three exchanges per block (its word, its link, which is marked dead, and the
//!   cell that led to it), plus, per batch of up to 64, a try-lock for each plane whose shard has
//!   victims that come first, and a look at the published keys of all shards before each.
//! * The wait for a plane that another thread holds: some 40 microseconds of the thread's own
//!   running time, divided between pauses and yields.
//! * A search: as many slots as it has to pass until it has found its blocks; all of them, and
//!   all words of the freelists, only if it finds too few (see
//!   [`sweep`](crate::engine::parts::sweep)).
//!
//! Allocation itself never waits for a lock and does not allocate memory, but a user's policy
//! may.
//!
//! # What if a reserved block cannot be found?
//!
//! It exists: a credit is returned only after its block (see "Reserve before you take" in
//! [`credits`](crate::engine::parts::credits)), so there are never more credits than blocks to
//! be found (invariant 2). But between two steps of another thread, a block may be on no list:
//! already in the freelist but not yet announced by a summary, drained but not yet in the
//! order, or popped from the order but not yet vacated. These states are brief. Even if the
//! thread is suspended in one of them, the search finds the block. If a search finds too few
//! blocks, some have moved behind it, so other threads have made progress, and the search is
//! repeated. The allocation is therefore lock-free.
//!
//! # What can a suspended thread delay?
//!
//! Its credits are reserved, so other allocations may be refused as if it had the blocks.
//! While it holds the plane, others evict by the search, which follows no policy's order.

use std::mem;
use std::ptr::NonNull;

use crate::SequenceHash;
use crate::engine::hold::{Exclusive, Mutable};
use crate::engine::ops::victims::{HandedOut, Victims};
use crate::engine::parts::freelist::TakenBlocks;
use crate::engine::parts::slot::Slot;
use crate::engine::store::Store;
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::limits::{FIND_ATTEMPTS, FIND_PAUSES, FIND_PAUSES_WHILE_HELD, FIND_SPINS};
use crate::sync::step;
use crate::sync::{spin_loop, yield_now};

/// Reserved blocks: an allocation whose success is decided. Dropping it without taking the
/// blocks returns their credits.
#[must_use = "dropping a reservation cancels the allocation"]
pub(crate) struct Reserved<'a> {
    store: &'a Store,
    home: u32,
    count: u32,
}

impl<'a> Reserved<'a> {
    /// Takes the blocks. Appends them to `blocks`, the free ones first, and passes the hash of
    /// each evicted block to `evicted`, in the policy's order.
    ///
    /// Returns the user code that the evictions defer. The caller runs it once the blocks are
    /// where they belong.
    #[inline]
    pub(crate) fn take(
        self,
        blocks: &mut impl Extend<Exclusive<Mutable>>,
        evicted: impl FnMut(SequenceHash),
    ) -> Leftovers {
        let reserved = if self.count == 1 {
            match self.take_next() {
                Ok(block) => {
                    blocks.extend([block]);
                    return Leftovers::new();
                }
                Err(reserved) => reserved,
            }
        } else {
            self
        };
        let store = reserved.store;
        let (home, count) = (reserved.home as usize, reserved.count as usize);
        mem::forget(reserved);
        if count == 0 {
            return Leftovers::new();
        }
        let from_free = store.take_free(home, count, blocks);
        if from_free == count {
            store.count_free(count as u64);
            Leftovers::new()
        } else {
            store.allocate_evicting(home, count, from_free, blocks, evicted)
        }
    }

    /// Takes the block that was reserved, if it can be taken off the freelist by a single
    /// exchange.
    #[inline(always)]
    pub(crate) fn take_next(self) -> Result<Exclusive<Mutable>, Self> {
        debug_assert_eq!(self.count, 1);
        let store = self.store;
        let Some(id) = store.free.take_one(self.home as usize) else {
            return Err(self);
        };
        store.count_free(1);
        mem::forget(self);
        // SAFETY: the block comes from the freelist, and a credit has been reserved for it.
        Ok(unsafe { Exclusive::of(&store.slots[id as usize]) })
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        // SAFETY: the credits were reserved and not used. The store outlives the call: the
        // caller has a manager.
        unsafe {
            Store::return_credits(NonNull::from(self.store), self.home as usize, self.count);
        }
    }
}

impl Store {
    /// Allocates a block, if that takes one exchange of the home shard's credits and one of its
    /// freelist. If not, the allocation is still undecided, or it is reserved.
    #[inline(always)]
    pub(crate) fn allocate_next(&self) -> Result<Exclusive<Mutable>, Option<Reserved<'_>>> {
        let Some(row) = self.own_row() else {
            return Err(None);
        };
        let home = self.home_of(row.thread());
        if !self.credits.reserve_at_home(home, 1) {
            return Err(None);
        }
        step!(CreditsReserved);
        let Some(id) = self.free.take_one(home) else {
            return Err(Some(Reserved {
                store: self,
                home: home as u32,
                count: 1,
            }));
        };
        row.add(Counter::Allocations, 1);
        row.add(Counter::AllocationsFromReset, 1);
        // SAFETY: the block comes from the freelist, and a credit has been reserved for it.
        Ok(unsafe { Exclusive::of(&self.slots[id as usize]) })
    }

    /// Reserves `count` blocks or none. This decides an allocation.
    ///
    /// If it returns `None`, then at some instant during the call fewer than `count` blocks
    /// were available.
    #[inline(always)]
    pub(crate) fn reserve(&self, count: usize) -> Option<Reserved<'_>> {
        let home = self.home();
        if count > self.slots.len() {
            return None;
        }
        let count = count as u32;
        // The caller has a manager, so the store is not retired, and a reservation
        // asks for no references.
        if !self.credits.reserve(home, count).is_made {
            return None;
        }
        step!(CreditsReserved);
        Some(Reserved {
            store: self,
            home: home as u32,
            count,
        })
    }

    /// Counts blocks that were allocated from the freelist.
    #[inline]
    fn count_free(&self, count: u64) {
        let both = [Counter::Allocations, Counter::AllocationsFromReset];
        self.count_each(both.map(|counter| (counter, count)));
    }

    /// Completes an allocation that has reserved `count` blocks and found `from_free` of them
    /// on the freelist.
    fn allocate_evicting(
        &self,
        home: usize,
        count: usize,
        from_free: usize,
        blocks: &mut impl Extend<Exclusive<Mutable>>,
        mut evicted: impl FnMut(SequenceHash),
    ) -> Leftovers {
        step!(FreeTaken);
        let mut victims = Victims::new(self);
        let mut missing = count - from_free;
        let mut attempts = 0;
        loop {
            missing -= self.take_cleared(missing, &mut victims);
            if missing == 0 {
                break;
            }
            missing -= self.evict(home, missing, &mut victims);
            if missing == 0 {
                break;
            }
            let free = self.take_free(home, missing, blocks);
            missing -= free;
            if missing == 0 {
                break;
            }
            attempts += 1;
            if attempts <= FIND_SPINS {
                let mut pauses = 0;
                while pauses < FIND_PAUSES
                    || self.planes.is_taken(self.planes.of_shard(home))
                        && pauses < FIND_PAUSES_WHILE_HELD
                {
                    spin_loop();
                    pauses += 1;
                }
            } else {
                yield_now();
            }
            if attempts > FIND_ATTEMPTS || victims.have_passed_over_too_many() {
                let (swept, free) = self.search(missing, &mut victims, blocks);
                missing -= swept + free;
                if missing == 0 {
                    break;
                }
            }
        }
        let mut leftovers = Leftovers::new();
        let HandedOut { cleared, evicted } = victims.hand_out(blocks, &mut evicted, &mut leftovers);
        self.count_each([
            (Counter::ClearedTaken, cleared as u64),
            (Counter::Allocations, count as u64),
            (Counter::AllocationsFromReset, (count - evicted) as u64),
            (Counter::Evictions, evicted as u64),
        ]);
        leftovers
    }

    /// Searches the slots, and then every word of the freelists, for up to `max` reserved blocks.
    /// Returns how many it swept and how many it found free.
    #[cold]
    fn search<'a>(
        &'a self,
        max: usize,
        victims: &mut Victims<'a>,
        blocks: &mut impl Extend<Exclusive<Mutable>>,
    ) -> (usize, usize) {
        step!(Searching);
        self.count(Counter::PlaneFallbacks, 1);
        let swept = self.sweep(max, victims);
        let free = self
            .free
            .take_hidden(max - swept, |taken| self.append(taken, blocks));
        (swept, free)
    }

    /// Takes up to `max` blocks off the freelist, at least one, and appends them to `blocks`.
    /// Returns how many there were.
    #[inline]
    fn take_free(
        &self,
        home: usize,
        max: usize,
        blocks: &mut impl Extend<Exclusive<Mutable>>,
    ) -> usize {
        let taken = self
            .free
            .take(home, max, |taken| self.append(taken, blocks));
        if taken.stolen > 0 {
            self.count(Counter::Steals, taken.stolen as u64);
        }
        taken.count
    }

    /// Appends blocks that come from the freelist to `blocks`. A credit has been reserved for
    /// each.
    #[inline]
    fn append(&self, taken: TakenBlocks, blocks: &mut impl Extend<Exclusive<Mutable>>) {
        // SAFETY: the blocks come from the freelist, and the caller has a credit for each.
        let hold = |slot: &Slot| unsafe { Exclusive::of(slot) };
        // As slices and exact iterators, so that a vector is written without further checks.
        match taken {
            TakenBlocks::Range(range) => {
                let slots = &self.slots[range.start as usize..range.end as usize];
                blocks.extend(slots.iter().map(hold));
            }
            TakenBlocks::Scattered(taken) => {
                blocks.extend(taken.ids().map(|id| hold(&self.slots[id as usize])));
            }
        }
    }
}
