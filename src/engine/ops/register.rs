//! Registration: a complete block becomes the primary of its hash, or a duplicate, or is freed
//! in favour of the existing primary.
//!
//! 1. Set the slot's era, and make its word pending, with one pin. (Its hash was set by
//!    [`Store::stage`].)
//! 2. Link the slot in the index, at the head of its hash's bucket. This decides which of
//!    several registrations of the same hash wins (invariant 3).
//! 3. Make the word primary: from now on the block can be matched.
//!
//! Between steps 2 and 3 any thread that finds the slot can complete the registration. If step
//! 2 finds a primary of the hash instead, then
//!
//! 4. pin that primary; if it is cleared, or inactive with no credit left for it,
//!    [discard](Store::discard) it and return to step 2;
//! 5. become a duplicate that keeps the pin, or free the block and return the pinned primary,
//!    as the duplication policy says.
//!
//! # What does it cost?
//!
//! Three exchanges for a primary: two of its word, one of the bucket. No lock, no allocation,
//! and no wait, except that step 4 waits for a credit as a match does. A registration is never
//! refused for lack of credits.
//!
//! # What can a suspended thread delay?
//!
//! Its own block, which cannot be matched before step 3 unless another thread completes the
//! registration. Other registrations of the hash do not wait: before the suspended one's step
//! 2 they win; after it they complete it.

use std::ptr::NonNull;

use crate::SequenceHash;
use crate::duplication::BlockDuplicationPolicy;
use crate::engine::hold::{Complete, Exclusive, Pinned};
use crate::engine::ops::matching::{Pin, Pins};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::{State, Word};
use crate::engine::store::Store;
use crate::key::Key;
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::step;

/// The outcome of a registration.
pub(crate) enum Registered {
    /// The block is the primary of its hash.
    Primary(Pinned, Key),
    /// The block is a duplicate.
    Duplicate(Pinned),
    /// The block has been freed; this is the primary that the hash already had.
    Existing(Pinned),
}

impl Store {
    /// Sets the hash of a block's content. Only for the block's exclusive owner.
    ///
    /// Also prefetches the hash's bucket, which the registration will write: usually blocks
    /// are staged in a batch and then registered in a batch.
    #[inline]
    pub(in crate::engine) fn stage(&self, slot: &Slot, hash: SequenceHash) {
        let key = self.registry.key(hash);
        slot.set_key(key);
        self.index.prefetch_to_write(key.keyed);
        self.count(Counter::Stagings, 1);
    }

    /// Registers a block under the hash in its slot. If this ends the registration of a
    /// cleared block, the user code is deferred to the caller.
    #[inline]
    pub(crate) fn register(
        &self,
        block: Exclusive<Complete>,
        policy: BlockDuplicationPolicy,
        leftovers: &mut Leftovers,
    ) -> Registered {
        debug_assert!(block.is_of(self));
        // SAFETY: the caller keeps the store alive, and with it the slot.
        let slot = unsafe { block.into_slot().as_ref() };
        let key = slot.key();
        slot.set_era(self.clearing.era());
        let word = slot.begin();
        step!(Pending);
        loop {
            let (primary, seen) = match self.index.link(&self.slots, key, slot) {
                Ok(()) => {
                    step!(Linked);
                    slot.promote(word);
                    // SAFETY: `begin` has set one pin, which is the caller's. The block's
                    // credit is that of the complete block.
                    return Registered::Primary(unsafe { Pinned::of(slot) }, key);
                }
                Err(existing) => existing,
            };
            let pin = Pins::new(self).pin_seen(primary, seen, key.hash, &[]);
            let primary = match pin {
                Pin::Made(pinned) => pinned,
                Pin::Gone => continue,
                Pin::Cleared | Pin::NoCredit => {
                    self.discard(primary, seen, leftovers);
                    continue;
                }
            };
            step!(PrimaryPinned);
            return match policy {
                BlockDuplicationPolicy::Allow => {
                    // From now on the pin belongs to the duplicate (invariant 6). It is taken
                    // off when the duplicate is reset, see `Store::reset`.
                    // SAFETY: the caller keeps the store alive, and with it the slot.
                    let primary = unsafe { primary.into_slot().as_ref() };
                    slot.set_primary(primary.id());
                    slot.settle(State::Duplicate);
                    self.count(Counter::DuplicateBlocks, 1);
                    // SAFETY: `settle` has set one pin, which is the caller's. The block's
                    // credit is that of the complete block.
                    Registered::Duplicate(unsafe { Pinned::of(slot) })
                }
                BlockDuplicationPolicy::Reject => {
                    slot.settle(State::Exclusive);
                    step!(Refused);
                    // SAFETY: the block is exclusive again, and belongs to the caller with its
                    // credit, as the complete block did.
                    unsafe { Self::free(NonNull::from(slot), Counter::RegistrationDedup) };
                    Registered::Existing(primary)
                }
            };
        }
    }

    /// Gives up the content of an inactive primary whose word was `seen`, if it is still
    /// inactive and in the same tenancy. Afterwards the hash can be registered again.
    ///
    /// Used for cleared blocks, and for a block that stands in the way of a registration while
    /// there is no credit to pin it with. In the latter case the hash is briefly unregistered,
    /// and no allocation reports it as evicted.
    ///
    /// Needs no credit, so it causes no refusal. Nor does it put the block out of reach of a
    /// thread that has a credit: allocations still find a discarded block.
    #[cold]
    pub(in crate::engine) fn discard(
        &self,
        primary: &Slot,
        mut seen: Word,
        leftovers: &mut Leftovers,
    ) {
        let key = primary.key();
        let generation = seen.generation();
        while seen.is_inactive() && seen.generation() == generation {
            // If the block was cleared, no thread can have matched it since. So if the word has not
            // changed when it is exchanged, the block still is.
            let Some(was_cleared) = self.was_cleared(primary, seen) else {
                seen = primary.word();
                continue;
            };
            match primary.discard(seen) {
                Ok(()) => {
                    step!(Discarded);
                    let discarded = seen.discarded().generation();
                    let is_discarded = || {
                        let now = primary.word();
                        now.is_discarded() && now.generation() == discarded
                    };
                    self.index
                        .unlink_discarded(&self.slots, key.keyed, primary, is_discarded);
                    // The registration of a cleared block ends here. That of any other block
                    // continues: the hash is about to be registered again.
                    if was_cleared && self.registry.has_entries() {
                        self.registry.end(key, leftovers);
                    }
                    if !was_cleared {
                        self.count(Counter::Discarded, 1);
                    }
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }
}
