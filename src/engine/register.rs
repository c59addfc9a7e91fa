//! Registration: a complete block becomes the primary of its hash, a duplicate,
//! or is refused in favour of the primary there is.

use crate::SequenceHash;
use crate::blocks::BlockDuplicationPolicy;
use crate::metrics::Counter;
use crate::suspension::step;

use super::acquire::{Pin, Pins};
use super::index::Key;
use super::slot::Slot;
use super::store::Store;
use super::word::{State, Word};

/// What became of a registration.
pub(crate) enum Registered<'a> {
    /// The slot is the primary of its hash, with one pin.
    Primary(Key),
    /// The slot is a duplicate, with one pin.
    Duplicate,
    /// The slot was freed; this primary holds the hash, with a pin added.
    Existing(&'a Slot),
}

impl Store {
    /// Names the content of a block. For the owner of the mutable guard.
    ///
    /// The registration that follows will write the hash's bucket, which is
    /// fetched on the occasion: blocks are mostly staged and then registered by
    /// the batch.
    #[inline]
    pub(crate) fn stage(&self, slot: &Slot, hash: SequenceHash) {
        let key = self.registry.key(hash);
        slot.set_key(key);
        self.index.prefetch_to_write(key.keyed);
        self.count(Counter::Stagings, 1);
    }

    /// Registers a block under the hash in its slot. Takes over the block of
    /// the complete guard.
    ///
    /// The order of the steps: the slot's fields; the word, pending with one
    /// pin; the link in the index, which decides between two registrations of
    /// one hash; and the word, primary. From the link on others can finish the
    /// registration, and from the last step on they can match the block.
    #[inline]
    pub(crate) fn register<'a>(
        &'a self,
        slot: &'a Slot,
        policy: BlockDuplicationPolicy,
    ) -> Registered<'a> {
        let key = slot.key();
        slot.set_era(self.clearing.era());
        let word = slot.begin();
        step!(Pending);
        loop {
            let (primary, seen) = match self.index.link(&self.slots, key, slot) {
                Ok(()) => {
                    step!(Linked);
                    slot.promote(word);
                    return Registered::Primary(key);
                }
                Err(existing) => existing,
            };
            match Pins::new(self).pin_seen(primary, seen, key.hash, &[]) {
                Pin::Made => {}
                Pin::Gone => continue,
                Pin::Forgotten if self.free_if_forgotten(primary) => continue,
                Pin::Forgotten | Pin::Promised => {
                    self.free_promised(primary, seen);
                    continue;
                }
            }
            step!(PrimaryPinned);
            return match policy {
                BlockDuplicationPolicy::Allow => {
                    slot.set_primary(primary.id());
                    slot.settle(State::Duplicate);
                    self.count(Counter::DuplicateBlocks, 1);
                    Registered::Duplicate
                }
                BlockDuplicationPolicy::Reject => {
                    slot.settle(State::Exclusive);
                    step!(Refused);
                    self.count(Counter::RegistrationDedup, 1);
                    Self::free(slot);
                    Registered::Existing(primary)
                }
            };
        }
    }

    /// Frees an inactive primary that stands in the way of a registration while
    /// there is no credit to pin it with. It is evicted, and the hash registered
    /// anew by the caller; in between the hash is not registered, and no
    /// allocation reports it.
    ///
    /// The one place where a block that a credit stands for is in nobody's reach,
    /// between two steps of a thread: if the thread is suspended there, the
    /// allocation that comes to look for the last of all available blocks waits for
    /// it.
    #[cold]
    fn free_promised(&self, primary: &Slot, mut seen: Word) {
        let generation = seen.generation();
        while seen.is_inactive() && seen.generation() == generation {
            match primary.vacate(seen, self.reset_on_release) {
                Ok(()) => {
                    step!(PromisedVacated);
                    self.index.unlink(&self.slots, primary.key().keyed, primary);
                    step!(PromisedUnlinked);
                    return self.free.put(self.home(), primary.id());
                }
                Err(now) => seen = now,
            }
        }
    }
}
