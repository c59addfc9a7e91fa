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
    pub(crate) fn unpin_all(&self, mut holds: Holds<'_, Pinned>) -> Leftovers {
        let mut batch = Unpins {
            store: self,
            home: self.home(),
            queued: Run::new(),
            credits: 0,
            shared: 0,
            leftovers: Leftovers::new(),
        };
        loop {
            match batch.unpin_run(&mut holds) {
                Stop::Done => break,
                Stop::Full => batch.push_queued(),
                // Holds that take more often follow each other.
                Stop::Other(hold) => {
                    let mut next = Some(hold);
                    while let Some(hold) = next
                        && !batch.unpin(hold)
                    {
                        next = holds.next();
                    }
                }
            }
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
    /// Credits to be returned, besides those of the blocks that are still to be pushed.
    credits: u32,
    /// The number of pins taken off blocks that kept other pins.
    shared: u64,
    leftovers: Leftovers,
}

/// Why taking pins off in the short way has stopped.
enum Stop {
    /// There are no more holds.
    Done,
    /// There are as many blocks to be pushed as are pushed together.
    Full,
    /// This hold takes more.
    Other(Pinned),
}

impl<'a> Unpins<'a> {
    /// Takes off pins as long as that takes nothing but exchanges of words, until there are enough
    /// blocks to be pushed.
    ///
    /// Out of line and without a call: so everything that the loop needs is in registers.
    #[inline(never)]
    fn unpin_run(&mut self, holds: &mut Holds<'_, Pinned>) -> Stop {
        let store = self.store;
        // The policy plane has to be consulted before the first is queued if there are cancelled
        // releases, and the frequency tracker if the policy has levels.
        let mut run = mem::replace(&mut self.queued, Run::new());
        let may_queue = !store.has_levels()
            && (!run.is_empty() || !store.release_logs[self.home].has_cancelled());
        let mut shared = 0;
        let mut left = holds.take();
        let stop = loop {
            let Some(hold) = left.next() else {
                break Stop::Done;
            };
            if !hold.is_of(store) {
                break Stop::Other(hold);
            }
            // SAFETY: the store outlives the batch, and with it the slot.
            let slot: &'a Slot = unsafe { hold.address().as_ref() };
            let seen = slot.word();
            if seen.is_shared() {
                step!(Unpinning);
                // SAFETY: the pin is that of the hold.
                if unsafe { Slot::unpin_shared(hold.address(), seen).is_err() } {
                    break Stop::Other(hold);
                }
                hold.into_slot();
                shared += 1;
                continue;
            }
            if !seen.is_sole_unmarked_pin() || !may_queue {
                break Stop::Other(hold);
            }
            slot.begin_release(self.home, store.clearing.era());
            if slot.unpin_last(seen).is_err() {
                break Stop::Other(hold);
            }
            step!(Unpinned);
            hold.into_slot();
            // SAFETY: the exchange has set the mark, and `seen` had none.
            if unsafe { run.add(slot) } {
                break Stop::Full;
            }
        };
        *holds = left;
        self.queued = run;
        self.shared += shared;
        stop
    }

    /// Drops a hold in whichever way that requires. Returns whether it took no more than exchanges
    /// of the word, most likely.
    #[inline(never)]
    fn unpin(&mut self, hold: Pinned) -> bool {
        let store = self.store;
        // A block of another manager is released on its own.
        if !hold.is_of(store) {
            self.leftovers.catch(|| drop(hold));
            return false;
        }
        // SAFETY: the store outlives the batch, and with it the slot.
        let slot: &'a Slot = unsafe { hold.into_slot().as_ref() };
        let seen = slot.word();
        // SAFETY: the pin is that of the hold.
        if seen.is_shared() && unsafe { Slot::unpin_shared(NonNull::from(slot), seen).is_ok() } {
            self.shared += 1;
            return true;
        }
        if seen.is_sole_unmarked_pin() && !store.has_levels() {
            if self.queued.is_empty() && store.release_logs[self.home].has_cancelled() {
                // The cancelled releases belong to blocks that were matched before this release,
                // so they are applied before it is queued.
                store.try_drain_of(self.home);
            }
            slot.begin_release(self.home, store.clearing.era());
            if slot.unpin_last(seen).is_ok() {
                step!(Unpinned);
                // SAFETY: the exchange has set the mark, and `seen` had none.
                if unsafe { self.queued.add(slot) } {
                    self.push_queued();
                }
                return true;
            }
        }
        // This release may apply what is queued, or queue a slot. The earlier ones of the batch
        // come before it.
        self.push_queued();
        // SAFETY: the pin is that of the hold.
        unsafe { Store::unpin_into(NonNull::from(slot), &mut self.leftovers) };
        false
    }

    /// Pushes what is queued onto the home shard's release log.
    fn push_queued(&mut self) {
        if !self.queued.is_empty() {
            let queued = mem::replace(&mut self.queued, Run::new());
            self.credits += queued.len();
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
