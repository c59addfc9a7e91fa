//! Letting go of many blocks at once: one return of credits, and one push of notes,
//! for all of them.
//!
//! As in [`release`](super::release) the credits come last, after every block is
//! where others find it.

use crate::metrics::Counter;
use crate::suspension::step;

use super::freelist::Puts;
use super::released::Run;
use super::slot::Slot;
use super::store::Store;

impl Store {
    /// Takes a pin off each of `slots`, in their order, as [`unpin`](Self::unpin)
    /// would. The caller has a reference to the store.
    pub(crate) fn unpin_all<'a>(&'a self, slots: impl Iterator<Item = &'a Slot>) {
        let mut batch = Unpins {
            store: self,
            home: self.home(),
            notes: Run::new(),
            credits: 0,
        };
        for slot in slots {
            batch.unpin(slot);
        }
    }

    /// Frees the blocks of mutable guards, as [`free_mutable`](Self::free_mutable)
    /// would. The caller has a reference to the store.
    pub(crate) fn free_all<'a>(&'a self, slots: impl Iterator<Item = &'a Slot>) {
        let home = self.home();
        let mut puts = Puts::new(&self.free, home);
        let mut count = 0;
        for slot in slots {
            puts.add(slot.id());
            count += 1;
        }
        drop(puts);
        step!(Freed);
        if count > 0 {
            self.count(Counter::MutableReleased, u64::from(count));
            self.return_credits(home, count);
        }
    }
}

/// Blocks whose last pins are off, and which are still to be noted, and the credits
/// to be returned for them: when this is dropped, also by a panic.
struct Unpins<'a> {
    store: &'a Store,
    home: usize,
    notes: Run<'a>,
    credits: u32,
}

impl<'a> Unpins<'a> {
    #[inline]
    fn unpin(&mut self, slot: &'a Slot) {
        let seen = slot.word();
        if seen.count() > 1 {
            return Store::unpin_shared(slot);
        }
        if seen.is_plainly_pinned_once() && !self.store.has_levels() {
            slot.begin_release(self.store.clearing.era());
            if slot.unpin_last(seen).is_ok() {
                step!(Unpinned);
                if self.notes.is_empty() && self.store.released[self.home].has_undone() {
                    // Those blocks were matched before this release.
                    self.store.try_drain();
                }
                self.notes.add(slot);
                self.credits += 1;
                return;
            }
        } else {
            // It may apply notes, or leave one: those before come before it.
            self.push_notes();
        }
        Store::unpin(slot);
    }

    fn push_notes(&mut self) {
        if !self.notes.is_empty() {
            let notes = std::mem::replace(&mut self.notes, Run::new());
            notes.push_to(&self.store.released[self.home]);
        }
    }
}

impl Drop for Unpins<'_> {
    fn drop(&mut self) {
        self.push_notes();
        step!(Noted);
        if self.credits > 0 {
            self.store.return_credits(self.home, self.credits);
        }
    }
}
