//! Letting go of blocks: what the drop of each hold does.
//!
//! Whatever a release does, returning the credit comes last: from then on an
//! allocation may count on the block, and if the manager is gone the store may
//! be gone too. See [`hold`](crate::engine::hold) for what that means for references.
//!
//! What is to be said of the content that is released (its era, its level) is said
//! while the pin is there. Pins are taken off by exchanges, so whoever takes the last one
//! off has seen that it is the last.
//!
//! User code, such as the drops of attachments, runs when all of that is done: see
//! [`Leftovers`].

use std::ptr::NonNull;

use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::step;

use crate::engine::parts::prefetch::prefetch_to_write;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::{State, Word};
use crate::engine::store::Store;
use crate::engine::store::store_of;

impl Store {
    /// Takes a pin off a registered block.
    ///
    /// # Safety
    ///
    /// A pin of the slot is the caller's, who gives it up.
    #[inline]
    pub(in crate::engine) unsafe fn unpin(slot: NonNull<Slot>) {
        // SAFETY: the caller's pin keeps the slot; nothing is taken off here yet.
        let seen = unsafe {
            // The look at the word is not to cost a round trip of its own.
            prefetch_to_write(slot.as_ref());
            slot.as_ref().word()
        };
        if seen.count() == 1 {
            // SAFETY: the caller's contract.
            unsafe { Self::unpin_last(slot, seen) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { Self::unpin_shared(slot, seen) }
        }
    }

    /// Takes off a pin that is likely one of several, when the word is `seen`.
    ///
    /// # Safety
    ///
    /// As [`unpin`](Self::unpin).
    #[inline]
    unsafe fn unpin_shared(slot: NonNull<Slot>, seen: Word) {
        step!(Unpinning);
        // SAFETY: the caller's pin keeps the store until it is taken off.
        unsafe {
            // Counted before, while the store is surely there.
            store_of(slot).count(Counter::SharedUnpins, 1);
            if Slot::unpin_shared(slot, seen).is_err() {
                Self::unpin_contended(slot);
            }
        }
    }

    /// Takes off a pin that has been counted as one of several already, and that others have
    /// kept from being taken off.
    ///
    /// # Safety
    ///
    /// As [`unpin`](Self::unpin).
    #[cold]
    unsafe fn unpin_contended(slot: NonNull<Slot>) {
        // SAFETY: the pin is still there.
        unsafe {
            store_of(slot).count(Counter::SharedUnpins, 1_u64.wrapping_neg());
            Self::unpin_asking(slot);
        }
    }

    /// Takes off a pin that is likely the last, when the word is `seen`.
    ///
    /// # Safety
    ///
    /// As [`unpin`](Self::unpin).
    #[inline(never)]
    unsafe fn unpin_last(slot: NonNull<Slot>, seen: Word) {
        // SAFETY: the caller's pin, and after it the credit that it leaves, keep the
        // store until the credit is returned: the last that is done here.
        unsafe {
            let store = store_of(slot);
            // Nobody is to be asked: neither the plane nor a tracker.
            if seen.is_sole_unmarked_pin() && !store.has_levels() {
                slot.as_ref().begin_release(store.clearing.era());
                if slot.as_ref().unpin_last(seen).is_ok() {
                    return Self::settle(slot, seen);
                }
            }
            Self::unpin_asking(slot);
        }
    }

    /// As [`unpin_last`](Self::unpin_last), after everything that is to be done before it.
    ///
    /// # Safety
    ///
    /// As [`unpin`](Self::unpin).
    #[inline(never)]
    unsafe fn unpin_asking(slot: NonNull<Slot>) {
        let mut leftovers = Leftovers::new();
        // SAFETY: the caller's contract.
        unsafe { Self::unpin_leaving(slot, &mut leftovers) };
        leftovers.settle();
    }

    /// Takes a pin off, and leaves user code to the caller.
    ///
    /// # Safety
    ///
    /// As [`unpin`](Self::unpin).
    pub(in crate::engine) unsafe fn unpin_leaving(slot: NonNull<Slot>, leftovers: &mut Leftovers) {
        // SAFETY: the pin is the caller's until one of the exchanges below takes it off,
        // and if it was the last its credit is out until it is returned.
        unsafe {
            let store = store_of(slot);
            let mut seen = slot.as_ref().word();
            let mut is_prepared = false;
            loop {
                let taken_off = if seen.count() > 1 {
                    store.count(Counter::SharedUnpins, 1);
                    match Slot::unpin_shared(slot, seen) {
                        Ok(()) => return,
                        Err(now) => {
                            store.count(Counter::SharedUnpins, 1_u64.wrapping_neg());
                            Err(now)
                        }
                    }
                } else if !is_prepared && seen.is_primary() {
                    is_prepared = true;
                    store.prepare_release(slot.as_ref(), seen, leftovers);
                    Err(slot.as_ref().word())
                } else if seen.is_primary() && !seen.resets() {
                    slot.as_ref().begin_release(store.clearing.era());
                    match slot.as_ref().unpin_last(seen) {
                        Ok(()) => return Self::settle(slot, seen),
                        Err(now) => Err(now),
                    }
                } else {
                    slot.as_ref().vacate(seen, store.reset_on_release)
                };
                match taken_off {
                    Ok(()) => return Self::reset(slot, seen.state(), leftovers),
                    Err(now) => seen = now,
                }
            }
        }
    }

    /// What comes before the last pin of a primary is taken off.
    fn prepare_release(&self, slot: &Slot, seen: Word, leftovers: &mut Leftovers) {
        if seen.is_queued() {
            // An earlier change is still to be applied, and comes first.
            self.try_drain();
        }
        if !seen.resets() && self.has_levels() {
            // Asks the frequency tracker, which may be the user's.
            leftovers.catch(|| {
                if let Some(level) = self.level_of(slot) {
                    slot.set_level(level);
                }
            });
        }
    }

    /// Finishes an unpin that was the last, when the word was `seen` before it.
    ///
    /// # Safety
    ///
    /// The credit that the pin has left is the caller's to return.
    #[inline]
    unsafe fn settle(slot: NonNull<Slot>, seen: Word) {
        step!(Unpinned);
        // SAFETY: the credit keeps the store until it is returned.
        unsafe {
            let store = store_of(slot);
            let home = store.home();
            if !seen.is_queued() {
                if store.release_logs[home].has_cancelled() {
                    // Those blocks were matched before this release.
                    store.try_drain();
                }
                store.release_logs[home].push(slot.as_ref());
            }
            step!(Noted);
            Self::return_credits(NonNull::from(store), home, 1);
        }
    }

    /// Frees a block that the caller has vacated, when it was in `state`.
    ///
    /// # Safety
    ///
    /// The block is the caller's alone, with its credit.
    unsafe fn reset(slot: NonNull<Slot>, state: State, leftovers: &mut Leftovers) {
        step!(ResetVacated);
        // SAFETY: the credit keeps the store until the block is freed, which comes last.
        unsafe {
            let store = store_of(slot);
            store.count(Counter::Reset, 1);
            if state == State::Duplicate {
                store.count(Counter::DuplicatesEnded, 1);
                let primary = &store.slots[slot.as_ref().primary() as usize];
                // The pin that the duplicate had on it.
                Self::unpin_leaving(NonNull::from(primary), leftovers);
            } else {
                let has_entries = store.registry.has_entries();
                store.end_tenancy(slot.as_ref(), has_entries, leftovers);
            }
            Self::free(slot);
        }
    }

    /// Takes a primary that the caller has vacated out of the index, and, if the
    /// registry has entries, ends that of its hash where this was its last
    /// block.
    #[inline]
    pub(in crate::engine) fn end_tenancy(
        &self,
        slot: &Slot,
        has_entries: bool,
        leftovers: &mut Leftovers,
    ) {
        self.unlink(slot);
        step!(Unlinked);
        if has_entries {
            self.registry.forget(slot.key(), leftovers);
        }
    }

    /// Takes a primary that the caller has vacated out of the index, with what has been
    /// said of its content.
    #[inline]
    pub(in crate::engine) fn unlink(&self, slot: &Slot) {
        self.directives.end(slot);
        self.index.unlink(&self.slots, slot.key().keyed, slot);
    }

    /// Puts a block on the freelist and returns its credit.
    ///
    /// # Safety
    ///
    /// The block is the caller's alone, with its credit.
    #[inline]
    pub(in crate::engine) unsafe fn free(slot: NonNull<Slot>) {
        // SAFETY: the credit keeps the store until it is returned here.
        unsafe {
            let store = store_of(slot);
            let home = store.home();
            store.free.put(home, slot.as_ref().id());
            step!(Freed);
            Self::return_credits(NonNull::from(store), home, 1);
        }
    }
}
