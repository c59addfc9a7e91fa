//! Release: what the drop of a hold does.
//!
//! | hold | steps |
//! |---|---|
//! | one of several pins | exchange the word for one with one pin fewer |
//! | the last pin of a primary | describe the release (its era, its level); take the pin off and mark the slot as queued, in one exchange; push the slot onto the home shard's release log; return the credit |
//! | the last pin of a primary that is to be reset | vacate the block; unlink it from the index, and end its hash's registration unless something else keeps it; free it |
//! | the last pin of a duplicate | vacate the block; take off its pin on the primary; free it |
//! | an exclusive block | put it onto the freelist; return the credit |
//!
//! # In which order?
//!
//! * The credit is returned last: from then on an allocation may count on the block, and if
//!   the manager is gone, the store may be freed. [`hold`](crate::engine::hold) says what that
//!   means for references.
//! * The release is described *before* the exchange that takes the last pin off, while the
//!   pin keeps the tenancy. Pins are taken off by exchanges, so a thread that takes off the
//!   last one has seen that it is the last.
//! * User code, such as the drops of attachments, runs after everything else: see
//!   [`Leftovers`].
//!
//! # What does it cost?
//!
//! One exchange for one of several pins; three for the last pin of a primary (the word, the
//! release log, the credit). The first release after a drain also publishes a key for the log: an
//! exchange of a clock that all shards share, and one of the key. No lock, no allocation and no wait in
//! these cases. A release also
//! *tries* to take the policy plane, and applies what is queued, if the slot is still queued
//! from an earlier release, or if the home shard's release log holds cancelled releases or has
//! become too long (see `drain`).
//! Under a policy with levels it asks the frequency tracker.
//!
//! # What can a suspended thread delay?
//!
//! Only its own block: until the credit is returned, the block does not count as available.
//! After the last pin is off it is inactive and can be matched, and a sweep finds it even if
//! it is not on the release log yet.

use std::ptr::NonNull;

use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::{State, Word};
use crate::engine::store::{Store, store_of};
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::step;

impl Store {
    /// Takes a pin off a registered block.
    ///
    /// # Panics
    ///
    /// If user code that the release runs panics. By then, the release is complete.
    ///
    /// # Safety
    ///
    /// The caller owns a pin of the slot, and gives it up.
    #[inline]
    pub(in crate::engine) unsafe fn unpin(slot: NonNull<Slot>) {
        // SAFETY: the caller's pin keeps the slot alive, and is not taken off here yet.
        let seen = unsafe { slot.as_ref().word() };
        if seen.is_shared() {
            // SAFETY: the caller's contract.
            unsafe { Self::unpin_shared(slot, seen) }
        } else {
            // SAFETY: the caller's contract.
            unsafe { Self::unpin_last(slot, seen) }
        }
    }

    /// Takes off a pin that is probably one of several. The word was `seen`.
    ///
    /// # Safety
    ///
    /// The contract of [`unpin`](Self::unpin).
    #[inline]
    unsafe fn unpin_shared(slot: NonNull<Slot>, seen: Word) {
        step!(Unpinning);
        // SAFETY: the caller's pin keeps the store alive until it is taken off.
        unsafe {
            // Counted before the exchange, after which the store may be gone.
            store_of(slot).count(Counter::SharedUnpins, 1);
            if Slot::unpin_shared(slot, seen).is_err() {
                Self::unpin_contended(slot);
            }
        }
    }

    /// Takes off a pin that has already been counted as one of several, but whose exchange
    /// failed because another thread changed the word.
    ///
    /// # Safety
    ///
    /// The contract of [`unpin`](Self::unpin).
    #[cold]
    unsafe fn unpin_contended(slot: NonNull<Slot>) {
        // SAFETY: the pin has not been taken off.
        unsafe {
            store_of(slot).count(Counter::SharedUnpins, 1_u64.wrapping_neg());
            Self::unpin_slow(slot);
        }
    }

    /// Takes off a pin that is probably the last. The word was `seen`.
    ///
    /// # Safety
    ///
    /// The contract of [`unpin`](Self::unpin).
    #[inline(never)]
    unsafe fn unpin_last(slot: NonNull<Slot>, seen: Word) {
        // SAFETY: the caller's pin, and then the credit that it leaves, keep the store alive
        // until the credit is returned, which comes last.
        unsafe {
            let store = store_of(slot);
            // The common case: neither the plane nor a tracker has to be consulted first.
            if seen.is_sole_unmarked_pin() && !store.has_levels() {
                let home = store.home();
                slot.as_ref().begin_release(home, store.clearing.era());
                if slot.as_ref().unpin_last(seen).is_ok() {
                    return Self::finish_release(slot, seen, home);
                }
            }
            Self::unpin_slow(slot);
        }
    }

    /// Takes a pin off in whichever way the word requires, and runs the user code that this
    /// defers.
    ///
    /// # Safety
    ///
    /// The contract of [`unpin`](Self::unpin).
    #[inline(never)]
    unsafe fn unpin_slow(slot: NonNull<Slot>) {
        let mut leftovers = Leftovers::new();
        // SAFETY: the caller's contract.
        unsafe { Self::unpin_into(slot, &mut leftovers) };
        leftovers.settle();
    }

    /// Takes a pin off in whichever way the word requires, and adds the user code that this
    /// defers to `leftovers`.
    ///
    /// # Safety
    ///
    /// The contract of [`unpin`](Self::unpin).
    pub(in crate::engine) unsafe fn unpin_into(slot: NonNull<Slot>, leftovers: &mut Leftovers) {
        // SAFETY: the pin is the caller's until one of the exchanges below takes it off. If it
        // was the last, its credit keeps the store alive until that is returned.
        unsafe {
            let store = store_of(slot);
            let mut seen = slot.as_ref().word();
            let mut is_prepared = false;
            loop {
                let taken_off = if seen.is_shared() {
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
                    let home = store.home();
                    let era = store.clearing.era();
                    if seen.is_queued() {
                        slot.as_ref().set_era(era);
                    } else {
                        slot.as_ref().begin_release(home, era);
                    }
                    match slot.as_ref().unpin_last(seen) {
                        Ok(()) => return Self::finish_release(slot, seen, home),
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

    /// Does what must precede taking off the last pin of a primary.
    fn prepare_release(&self, slot: &Slot, seen: Word, leftovers: &mut Leftovers) {
        if seen.is_queued() {
            // A slot is queued only once (invariant 4). The earlier update is applied first, so
            // that this release gets its own place in the order.
            self.try_drain_of(self.shard_of(slot, self.home()));
        }
        if !seen.resets() && self.has_levels() {
            // Asks the frequency tracker, which may be user code.
            leftovers.catch(|| {
                if let Some(level) = self.level_of(slot) {
                    slot.set_level(level);
                }
            });
        }
    }

    /// Completes a release after the caller has taken off the last pin: queues the slot and
    /// returns the credit. The word was `seen` before the pin was taken off. `home` is the calling
    /// thread's shard.
    ///
    /// # Safety
    ///
    /// The caller owns the credit that the pin has left, and gives it up.
    #[inline]
    unsafe fn finish_release(slot: NonNull<Slot>, seen: Word, home: usize) {
        step!(Unpinned);
        // SAFETY: the credit keeps the store alive until it is returned.
        unsafe {
            let store = store_of(slot);
            if !seen.is_queued() {
                if store.release_logs[home].has_cancelled() {
                    // The cancelled releases belong to blocks that were matched before this
                    // release, so they are applied before it is queued.
                    store.try_drain_of(home);
                }
                store.queue(home, slot.as_ref());
            }
            step!(Queued);
            Self::return_credits(NonNull::from(store), home, 1);
        }
    }

    /// Ends the tenancy of a block that the caller has vacated, and frees it. The block was in
    /// `state`.
    ///
    /// # Safety
    ///
    /// The block belongs to the caller alone, with its credit, and the caller gives both up.
    unsafe fn reset(slot: NonNull<Slot>, state: State, leftovers: &mut Leftovers) {
        step!(ResetVacated);
        // SAFETY: the credit keeps the store alive until the block is freed, which comes last.
        unsafe {
            let store = store_of(slot);
            if state == State::Duplicate {
                store.count(Counter::DuplicatesEnded, 1);
                let primary = &store.slots[slot.as_ref().primary() as usize];
                // The pin by which the duplicate kept its primary (invariant 6).
                Self::unpin_into(NonNull::from(primary), leftovers);
            } else {
                let has_entries = store.registry.has_entries();
                store.end_tenancy(slot.as_ref(), has_entries, leftovers);
            }
            Self::free(slot, Counter::Reset);
        }
    }

    /// Unlinks a primary that the caller has vacated from the index. If the registry has
    /// entries, also ends the registration of its hash, unless the hash has a handle or
    /// another block.
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
            self.registry.end(slot.key(), leftovers);
        }
    }

    /// Unlinks a primary that the caller has vacated from the index, and ends its directive.
    #[inline]
    pub(in crate::engine) fn unlink(&self, slot: &Slot) {
        self.directives.end(slot);
        self.index.unlink(&self.slots, slot.key().keyed, slot);
    }

    /// Counts a block as freed in this way, puts it onto the freelist, and returns its credit.
    ///
    /// # Safety
    ///
    /// The block belongs to the caller alone, with its credit, and the caller gives both up.
    #[inline]
    pub(in crate::engine) unsafe fn free(slot: NonNull<Slot>, counter: Counter) {
        // SAFETY: the credit keeps the store alive until it is returned, which comes last.
        unsafe {
            let store = store_of(slot);
            let Some(row) = store.own_row() else {
                return Self::free_slowly(slot, counter);
            };
            row.add(counter, 1);
            let home = store.home_of(row.thread());
            let id = slot.as_ref().id();
            // Written so that each rare case is the last call, and the common one saves no
            // registers for it.
            if store.free.put_unannounced(home, id) {
                return Self::announce_and_return_credit(NonNull::from(store), home, id);
            }
            step!(Freed);
            Self::return_credits(NonNull::from(store), home, 1);
        }
    }

    /// Frees a block on a thread without counters of its own.
    ///
    /// # Safety
    ///
    /// As for [`free`](Self::free).
    #[cold]
    unsafe fn free_slowly(slot: NonNull<Slot>, counter: Counter) {
        // SAFETY: as in `free`.
        unsafe {
            let store = store_of(slot);
            store.count(counter, 1);
            let home = store.home();
            let id = slot.as_ref().id();
            if store.free.put_unannounced(home, id) {
                return Self::announce_and_return_credit(NonNull::from(store), home, id);
            }
            Self::return_credits(NonNull::from(store), home, 1);
        }
    }

    /// Completes the release of a block that is the first free one of its leaf.
    ///
    /// # Safety
    ///
    /// The caller owns the block's credit, and gives it up.
    #[inline(never)]
    unsafe fn announce_and_return_credit(store: NonNull<Self>, home: usize, id: u32) {
        // SAFETY: the credit keeps the store alive until it is returned, which comes last.
        unsafe {
            store.as_ref().free.announce(home, id);
            step!(Freed);
            Self::return_credits(store, home, 1);
        }
    }
}
