//! Registration: a complete block becomes the primary of its hash, a duplicate,
//! or is refused in favour of the primary there is.

use std::ptr::NonNull;

use crate::SequenceHash;
use crate::duplication::BlockDuplicationPolicy;
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::sync::step;

use crate::engine::hold::{Complete, Exclusive, Pinned};
use crate::engine::ops::matching::{Pin, Pins};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::{State, Word};
use crate::engine::store::Store;
use crate::key::Key;

/// What became of a registration.
pub(crate) enum Registered {
    /// The block is the primary of its hash.
    Primary(Pinned, Key),
    /// The block is a duplicate.
    Duplicate(Pinned),
    /// The block was freed; this primary holds the hash.
    Existing(Pinned),
}

impl Store {
    /// Names the content of a block. For its exclusive owner.
    ///
    /// The registration that follows will write the hash's bucket, which is
    /// fetched on the occasion: blocks are mostly staged and then registered by
    /// the batch.
    #[inline]
    pub(in crate::engine) fn stage(&self, slot: &Slot, hash: SequenceHash) {
        let key = self.registry.key(hash);
        slot.set_key(key);
        self.index.prefetch_to_write(key.keyed);
        self.count(Counter::Stagings, 1);
    }

    /// Registers a block under the hash in its slot.
    ///
    /// The order of the steps: the slot's fields; the word, pending with one
    /// pin; the link in the index, which decides between two registrations of
    /// one hash; and the word, primary. From the link on others can finish the
    /// registration, and from the last step on they can match the block.
    #[inline]
    pub(crate) fn register(
        &self,
        block: Exclusive<Complete>,
        policy: BlockDuplicationPolicy,
        leftovers: &mut Leftovers,
    ) -> Registered {
        debug_assert!(block.is_of(self));
        // SAFETY: the store is the caller's, and with it the slot.
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
                    // SAFETY: `begin` has left one pin, which is the caller's, and the
                    // block's credit is that of the complete block.
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
                    // The pin is the duplicate's from now on: see `Store::reset`.
                    // SAFETY: the pin keeps the primary, and the caller has the store.
                    let primary = unsafe { primary.into_slot().as_ref() };
                    slot.set_primary(primary.id());
                    slot.settle(State::Duplicate);
                    self.count(Counter::DuplicateBlocks, 1);
                    // SAFETY: `settle` has left one pin, which is the caller's, and the
                    // block's credit is that of the complete block.
                    Registered::Duplicate(unsafe { Pinned::of(slot) })
                }
                BlockDuplicationPolicy::Reject => {
                    slot.settle(State::Exclusive);
                    step!(Refused);
                    self.count(Counter::RegistrationDedup, 1);
                    // SAFETY: the block and its credit are those of the complete block.
                    unsafe { Self::free(NonNull::from(slot)) };
                    Registered::Existing(primary)
                }
            };
        }
    }

    /// Gives up the content of an inactive primary, whose word was `seen`: because it was
    /// cleared, or because it is in the way of a registration and there is no credit to pin
    /// it with. The hash may then be registered anew; in between it is not registered, and no
    /// allocation reports it.
    ///
    /// Takes no credit, so nobody is refused on its account, and takes the block from nobody
    /// who has one.
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
            let was_cleared = self.is_of_earlier_era(primary);
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
                    // The registration of a cleared hash ends; that of another goes on.
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
