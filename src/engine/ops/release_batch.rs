//! Release of many blocks at once: one push onto the release log and one return of credits
//! for all of them.
//!
//! 1. Take the pin off each block, or put it onto the freelist, in the order of the holds.
//! 2. Push the blocks that became inactive onto the home shard's release log, in runs of up to
//!    64.
//! 3. Return all credits.
//!
//! As in [`release`](crate::engine::ops), the credits are returned once others can find every
//! block, and user code runs after that. A release that cannot be batched, because it has to
//! consult the policy plane or a tracker or frees its block, is done on its own, after those
//! before it have been pushed.
//!
//! # What does it cost?
//!
//! One exchange per pin, or per run of neighbouring blocks that are freed, one per run of 64
//! blocks that become inactive, and one per batch. It takes no lock, allocates nothing and never
//! waits, except where a single release does.
//!
//! # What can a suspended thread delay?
//!
//! The blocks of the batch: none of them counts as available before step 3.

use std::mem;
use std::ptr::NonNull;

use crate::engine::buffer::Holds;
use crate::engine::hold::{Exclusive, Mutable, Pinned};
use crate::engine::parts::freelist::Puts;
use crate::engine::parts::release_log::Run;
use crate::engine::parts::slot::Slot;
use crate::engine::store::Store;
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::step;

impl Store {
    /// Drops holds in order, and returns the user code that this defers. The caller has a
    /// reference to the store.
    #[inline(never)]
    pub(crate) fn unpin_all(&self, holds: Holds<'_, Pinned>) -> Leftovers {
        let mut batch = Unpins {
            store: self,
            home: self.home(),
            queued: Run::new(),
            credits: 0,
            shared: 0,
            leftovers: Leftovers::new(),
        };
        // One era for the whole batch: a clearing during it may fall on either side.
        let (era, has_levels) = (self.clearing.era(), self.has_levels());
        for hold in holds {
            if !hold.is_of(self) {
                // A block of another manager is released on its own.
                batch.leftovers.catch(|| drop(hold));
                continue;
            }
            let slot = hold.into_slot();
            // SAFETY: the store outlives the call, and with it the slot.
            let at = unsafe { slot.as_ref() };
            let seen = at.word();
            if seen.is_shared() {
                step!(Unpinning);
                // SAFETY: the pin is that of the hold.
                if unsafe { Slot::unpin_shared(slot, seen).is_ok() } {
                    batch.shared += 1;
                    continue;
                }
            } else if seen.is_sole_unmarked_pin() && !has_levels {
                at.begin_release(era);
                if at.unpin_last(seen).is_ok() {
                    step!(Unpinned);
                    // SAFETY: the exchange has set the mark, and `seen` had none.
                    unsafe { batch.queue(at) };
                    continue;
                }
            }
            // SAFETY: the pin is that of the hold.
            unsafe { batch.unpin_slowly(slot) };
        }
        batch.finish()
    }

    /// Drops holds of mutable guards, and runs the user code that this defers. The caller has
    /// a reference to the store.
    pub(crate) fn free_all(&self, holds: impl Iterator<Item = Exclusive<Mutable>>) {
        let home = self.home();
        let mut puts = Puts::new(&self.free, home);
        let mut leftovers = Leftovers::new();
        let mut count = 0;
        for hold in holds {
            if hold.is_of(self) {
                // SAFETY: the credit keeps the store alive, and so does the caller. The block is
                // that of the hold, which is consumed.
                unsafe { puts.add(hold.into_slot().as_ref().id()) };
                count += 1;
            } else {
                // If it is the last block of a manager that is gone, this ends its store, which
                // may run user code.
                leftovers.catch(|| drop(hold));
            }
        }
        drop(puts);
        step!(Freed);
        if count > 0 {
            self.count(Counter::MutableReleased, u64::from(count));
            // SAFETY: each hold came with a credit.
            unsafe { Self::return_credits(NonNull::from(self), home, count) };
        }
        leftovers.settle();
    }
}

/// A batch of releases: blocks whose last pins have been taken off and that are still to be
/// pushed onto the release log, and the credits to be returned for them. Dropping it completes
/// the batch.
struct Unpins<'a> {
    store: &'a Store,
    home: usize,
    /// Blocks that are marked as queued and still to be pushed.
    queued: Run<'a>,
    /// Credits to be returned.
    credits: u32,
    /// The number of pins taken off blocks that kept other pins.
    shared: u64,
    leftovers: Leftovers,
}

impl<'a> Unpins<'a> {
    /// Adds a block that has become inactive, which leaves a credit.
    ///
    /// # Safety
    ///
    /// The caller has marked the slot as queued, and has not queued it since.
    #[inline(always)]
    unsafe fn queue(&mut self, slot: &'a Slot) {
        if self.queued.is_empty() && self.store.release_logs[self.home].has_cancelled() {
            // The cancelled releases belong to blocks that were matched before this release, so
            // they are applied before it is queued.
            self.store.try_drain();
        }
        self.credits += 1;
        // SAFETY: the caller's contract.
        if unsafe { self.queued.add(slot) } {
            self.push_queued();
        }
    }

    /// Takes a pin off in whichever way the word requires.
    ///
    /// # Safety
    ///
    /// The caller owns the pin, and gives it up.
    #[inline(never)]
    unsafe fn unpin_slowly(&mut self, slot: NonNull<Slot>) {
        // This release may apply what is queued, or queue a slot. The earlier ones of the batch
        // come before it.
        self.push_queued();
        // SAFETY: the caller's contract.
        unsafe { Store::unpin_into(slot, &mut self.leftovers) };
    }

    /// Pushes what is queued onto the home shard's release log.
    #[inline(never)]
    fn push_queued(&mut self) {
        if !self.queued.is_empty() {
            let queued = mem::replace(&mut self.queued, Run::new());
            self.store.queue_run(self.home, queued);
        }
    }

    /// Completes the batch and returns the user code that it defers.
    fn finish(mut self) -> Leftovers {
        mem::take(&mut self.leftovers)
    }
}

impl Drop for Unpins<'_> {
    /// Completes the batch, even if the iterator over the holds has panicked.
    fn drop(&mut self) {
        self.push_queued();
        step!(Queued);
        if self.shared > 0 {
            self.store.count(Counter::SharedUnpins, self.shared);
        }
        if self.credits > 0 {
            // SAFETY: each last pin has left a credit.
            unsafe { Store::return_credits(NonNull::from(self.store), self.home, self.credits) };
        }
    }
}
