//! Letting go of blocks: what the drop of each guard does.
//!
//! Whatever a release does, returning the credit comes last: from then on an
//! allocation may count on the block, and if the manager is gone the store may
//! be gone too.

use crate::metrics::Counter;
use crate::suspension::step;

use super::credit::Released;
use super::prefetch::prefetch_to_write;
use super::slot::Slot;
use super::store::Store;
use super::word::{State, Word};

impl Store {
    /// The store of a slot.
    ///
    /// # Safety
    ///
    /// The store is alive for as long as the result is used: the caller holds
    /// the block, or has a reference to the store.
    #[inline]
    pub(crate) unsafe fn of<'a>(slot: &Slot) -> &'a Self {
        // SAFETY: slots are adopted when their store is built, which has not
        // moved since; the caller's contract is that it is alive.
        unsafe { &*slot.store() }
    }

    /// Takes a pin off a registered block.
    #[inline]
    pub(crate) fn unpin(slot: &Slot) {
        // The look at the word is not to cost a round trip of its own.
        prefetch_to_write(slot);
        // With one pin left this is likely the last, which is one exchange
        // together with the note; the others need not look at the word again.
        let seen = slot.word();
        if seen.count() == 1 {
            return Self::unpin_last(slot, seen);
        }
        Self::unpin_shared(slot);
    }

    /// Takes off a pin that is likely one of several.
    #[inline]
    pub(super) fn unpin_shared(slot: &Slot) {
        step!(Unpinning);
        let before = slot.unpin_shared();
        if before.count() == 1 {
            Self::settle_late(slot, before.unpinned());
        }
    }

    /// Takes off a pin that is likely the last, when the word is `seen`.
    #[inline(never)]
    fn unpin_last(slot: &Slot, seen: Word) {
        // SAFETY: the pin is the caller's until it is taken off, and its credit is
        // out until it is returned.
        let store = unsafe { Self::of(slot) };
        // Nobody is to be asked: neither the plane nor a tracker.
        if seen.is_plainly_pinned_once() && !store.has_levels() {
            slot.begin_release(store.clearing.era());
            if slot.unpin_last(seen).is_ok() {
                return store.settle(slot, seen);
            }
        }
        Self::unpin_asking(slot);
    }

    /// Takes off a pin that is likely the last, after everything that is to be done
    /// before that.
    #[inline(never)]
    fn unpin_asking(slot: &Slot) {
        // SAFETY: the pin is the caller's until `LastPin` takes it off.
        let store = unsafe { Self::of(slot) };
        // Takes it off even if the user's frequency tracker panics.
        let _pin = LastPin(slot);
        let seen = slot.word();
        if seen.is_primary() {
            if seen.is_noted() {
                // An earlier change is still to be applied, and comes first.
                store.try_drain();
            }
            if !seen.resets() {
                store.set_level(slot);
            }
        }
    }

    /// Remembers how frequent the hash of a block is that is being released.
    /// Not while a panic unwinds, which may be the tracker's own: a second one
    /// would be the end of the process.
    fn set_level(&self, slot: &Slot) {
        if self.has_levels()
            && !std::thread::panicking()
            && let Some(level) = self.level_of(slot)
        {
            slot.set_level(level);
        }
    }

    fn take_off(slot: &Slot) {
        // SAFETY: the pin is the caller's until the exchanges below take it
        // off, and its credit is out until it is returned.
        let store = unsafe { Self::of(slot) };
        let mut seen = slot.word();
        loop {
            if seen.count() > 1 {
                let before = slot.unpin_shared();
                if before.count() == 1 {
                    Self::settle_late(slot, before.unpinned());
                }
                return;
            }
            if seen.is_primary() && !seen.resets() {
                slot.begin_release(store.clearing.era());
                match slot.unpin_last(seen) {
                    Ok(()) => return store.settle(slot, seen),
                    Err(now) => seen = now,
                }
            } else {
                match slot.vacate(seen, store.reset_on_release) {
                    Ok(()) => return store.reset(slot, seen.state()),
                    Err(now) => seen = now,
                }
            }
        }
    }

    /// Finishes an unpin that was the last, when the word was `seen` before it.
    #[inline]
    fn settle(&self, slot: &Slot, seen: Word) {
        step!(Unpinned);
        let home = self.home();
        if !seen.is_noted() {
            if self.released[home].has_undone() {
                // Those blocks were matched before this release.
                self.try_drain();
            }
            self.released[home].push(slot);
        }
        step!(Noted);
        self.return_credit(home);
    }

    /// Finishes an unpin that turned out to be the last, when the word was
    /// `seen` after it. The block may be anyone's by now; the credit is owed
    /// whatever has become of it.
    #[cold]
    fn settle_late(slot: &Slot, seen: Word) {
        step!(UnpinnedLate);
        // SAFETY: the caller's credit is out until it is returned.
        let store = unsafe { Self::of(slot) };
        if seen.is_primary() && !seen.resets() {
            slot.begin_release(store.clearing.era());
            if !slot.note().is_noted() {
                store.released[store.home()].push(slot);
            }
            // Returns the credit even if the user's frequency tracker panics.
            let _credit = Credit(store);
            return store.set_level(slot);
        }
        let mut now = seen;
        let still_resets = |now: Word| !now.is_primary() || now.resets();
        while now.generation() == seen.generation() && now.count() == 0 && still_resets(now) {
            match slot.vacate(now, store.reset_on_release) {
                Ok(()) => return store.reset(slot, seen.state()),
                Err(changed) => now = changed,
            }
        }
        // Matched or evicted in between. Where a later holder has taken the reset
        // back as well, that holder's release has noted the block.
        store.return_credit(store.home());
    }

    /// Frees a block that the caller has vacated, when it was in `state`.
    fn reset(&self, slot: &Slot, state: State) {
        step!(ResetVacated);
        // Frees the block even if an attachment panics when it is dropped.
        let _free = Free::new(self, slot);
        if state == State::Duplicate {
            Self::unpin(&self.slots[slot.primary() as usize]);
        } else {
            self.end_tenancy(slot, self.registry.has_entries());
        }
    }

    /// Takes a primary that the caller has vacated out of the index, and, if the
    /// registry has entries, ends that of its hash where this was its last
    /// block.
    #[inline]
    pub(super) fn end_tenancy(&self, slot: &Slot, has_entries: bool) {
        let key = slot.key();
        self.index.unlink(&self.slots, key.keyed, slot);
        step!(Unlinked);
        if has_entries {
            self.registry.forget(key);
        }
    }

    /// Frees a block of a mutable or complete guard.
    #[inline]
    pub(crate) fn free(slot: &Slot) {
        // SAFETY: the guard's credit is out until it is returned here.
        let store = unsafe { Self::of(slot) };
        let home = store.home();
        store.free.put(home, slot.id());
        step!(Freed);
        store.return_credit(home);
    }

    /// As [`free`](Self::free), for a mutable guard, which the gauges count.
    #[inline]
    pub(crate) fn free_mutable(slot: &Slot) {
        // SAFETY: as in `free`.
        unsafe { Self::of(slot) }.count(Counter::MutableReleased, 1);
        Self::free(slot);
    }

    #[inline]
    fn return_credit(&self, home: usize) {
        self.return_credits(home, 1);
    }

    /// Returns credits. The store may be gone afterwards, unless the caller has
    /// more of them, or a reference.
    #[inline]
    pub(super) fn return_credits(&self, home: usize, count: u32) {
        if self.credits.release(home, count) == Released::Last {
            // SAFETY: the credits said so: until then the pool's reference keeps
            // the store, and nothing uses it after.
            unsafe { Self::drop_pool_reference(self.as_ptr()) };
        }
    }
}

/// The last pin of a slot, most likely: taken off when this is dropped.
struct LastPin<'a>(&'a Slot);

impl Drop for LastPin<'_> {
    #[inline]
    fn drop(&mut self) {
        Store::take_off(self.0);
    }
}

/// A credit that is owed: returned when this is dropped.
struct Credit<'a>(&'a Store);

impl Drop for Credit<'_> {
    fn drop(&mut self) {
        self.0.return_credit(self.0.home());
    }
}

/// Frees a slot, with its credit, when it is dropped.
pub(super) struct Free<'a> {
    store: &'a Store,
    slot: &'a Slot,
}

impl<'a> Free<'a> {
    pub(super) fn new(store: &'a Store, slot: &'a Slot) -> Self {
        Self { store, slot }
    }

    /// Does not free the slot after all.
    pub(super) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Free<'_> {
    fn drop(&mut self) {
        let home = self.store.home();
        self.store.free.put(home, self.slot.id());
        step!(Freed);
        self.store.return_credit(home);
    }
}
