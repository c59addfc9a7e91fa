//! Letting go of many blocks at once: one return of credits, and one push of notes,
//! for all of them.
//!
//! As in [`release`](crate::engine::ops::release) the credits come last, after every block is
//! where others find it, and user code after that.

use std::ptr::NonNull;

use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::step;

use crate::engine::hold::{Exclusive, Mutable, Pinned};
use crate::engine::parts::freelist::Puts;
use crate::engine::parts::release_log::Run;
use crate::engine::parts::slot::Slot;
use crate::engine::store::Store;

impl Store {
    /// Drops holds in their order, and leaves user code to the caller, who has a reference to
    /// the store.
    pub(crate) fn unpin_all(&self, holds: impl Iterator<Item = Pinned>) -> Leftovers {
        let mut batch = Unpins {
            store: self,
            home: self.home(),
            notes: Run::new(),
            credits: 0,
            shared: 0,
            leftovers: Leftovers::new(),
        };
        for hold in holds {
            if hold.is_of(self) {
                batch.unpin(hold);
            } else {
                // Another manager's goes its own way.
                batch.leftovers.catch(|| drop(hold));
            }
        }
        batch.finish()
    }

    /// Drops holds of mutable guards. The caller has a reference to the store.
    pub(crate) fn free_all(&self, holds: impl Iterator<Item = Exclusive<Mutable>>) {
        let home = self.home();
        let mut puts = Puts::new(&self.free, home);
        let mut leftovers = Leftovers::new();
        let mut count = 0;
        for hold in holds {
            if hold.is_of(self) {
                // SAFETY: the credit keeps the store, and the caller does too.
                puts.add(unsafe { hold.into_slot().as_ref() }.id());
                count += 1;
            } else {
                // The last block of another manager that is gone ends its store.
                leftovers.catch(|| drop(hold));
            }
        }
        drop(puts);
        step!(Freed);
        if count > 0 {
            self.count(Counter::MutableReleased, u64::from(count));
            // SAFETY: a credit came with each hold.
            unsafe { Self::return_credits(NonNull::from(self), home, count) };
        }
        leftovers.settle();
    }
}

/// Blocks whose last pins are off, and which are still to be queued, and the credits
/// to be returned for them.
struct Unpins<'a> {
    store: &'a Store,
    home: usize,
    notes: Run<'a>,
    credits: u32,
    /// Pins taken off of blocks that others hold.
    shared: u64,
    leftovers: Leftovers,
}

impl<'a> Unpins<'a> {
    /// Takes off the pin of a hold on a block of this store.
    #[inline]
    fn unpin(&mut self, hold: Pinned) {
        let slot = hold.into_slot();
        // SAFETY: the store is there for as long as the batch.
        let at: &'a Slot = unsafe { slot.as_ref() };
        let mut seen = at.word();
        while seen.count() > 1 {
            step!(Unpinning);
            // SAFETY: the hold's pin.
            match unsafe { Slot::unpin_shared(slot, seen) } {
                Ok(()) => {
                    self.shared += 1;
                    return;
                }
                Err(now) => seen = now,
            }
        }
        if seen.is_sole_unmarked_pin() && !self.store.has_levels() {
            at.begin_release(self.store.clearing.era());
            if at.unpin_last(seen).is_ok() {
                step!(Unpinned);
                if self.notes.is_empty() && self.store.release_logs[self.home].has_cancelled() {
                    // Those blocks were matched before this release.
                    self.store.try_drain();
                }
                self.notes.add(at);
                self.credits += 1;
                return;
            }
        } else {
            // It may apply notes, or leave one: those before come before it.
            self.push_notes();
        }
        // SAFETY: the hold's pin.
        unsafe { Store::unpin_leaving(slot, &mut self.leftovers) };
    }

    fn push_notes(&mut self) {
        if !self.notes.is_empty() {
            let notes = std::mem::replace(&mut self.notes, Run::new());
            notes.push_to(&self.store.release_logs[self.home]);
        }
    }

    fn finish(mut self) -> Leftovers {
        std::mem::take(&mut self.leftovers)
    }
}

impl Drop for Unpins<'_> {
    /// Also where the iterator over the holds has panicked.
    fn drop(&mut self) {
        self.push_notes();
        step!(Noted);
        if self.shared > 0 {
            self.store.count(Counter::SharedUnpins, self.shared);
        }
        if self.credits > 0 {
            // SAFETY: a credit was left by each last pin.
            unsafe { Store::return_credits(NonNull::from(self.store), self.home, self.credits) };
        }
    }
}
