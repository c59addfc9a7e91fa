//! Registration: a complete block becomes the primary of its hash, a duplicate,
//! or is refused in favour of the primary there is.

use crossbeam_epoch::Guard;

use crate::blocks::BlockDuplicationPolicy;
use crate::metrics::Counter;
use crate::registry::Entry;

use super::acquire::Pins;
use super::slot::Slot;
use super::store::Store;
use super::word::State;

/// What became of a registration.
pub(crate) enum Registered<'a> {
    /// The slot holds its hash, as primary or duplicate, with one pin.
    Own,
    /// The slot was freed; this primary holds the hash, with a pin added.
    Existing(&'a Slot),
}

impl Store {
    /// Registers a block under the hash in its slot. Takes over the block of
    /// the complete guard.
    ///
    /// The order of the steps: the entry, with a strong reference for the slot;
    /// the slot's fields; the word, pending with one pin; the link in the index,
    /// which decides between two registrations of one hash; and the word,
    /// primary. From the link on others can finish the registration, and from
    /// the last step on they can match the block.
    pub(crate) fn register<'a>(
        &'a self,
        slot: &'a Slot,
        policy: BlockDuplicationPolicy,
        guard: &Guard,
    ) -> Registered<'a> {
        let key = self.registry.key(slot.hash());
        let (entry, is_new) = self.registry.register(key, guard);
        slot.set_entry(entry);
        if is_new {
            // A tracker of the user's may panic: then nothing has happened yet.
            let unwind = Unregister { store: self, slot, entry };
            self.registry.touch(key.hash);
            std::mem::forget(unwind);
        }
        let word = slot.begin();
        loop {
            let (primary, seen) = match self.index.link(&self.slots, key, slot) {
                Ok(()) => {
                    slot.promote(word);
                    entry.mark_present(self.tier);
                    return Registered::Own;
                }
                Err(existing) => existing,
            };
            let mut pins = Pins::new(self);
            let pinned = pins.pin_seen(primary, seen, key.hash);
            pins.settle();
            if !pinned {
                continue;
            }
            return match policy {
                BlockDuplicationPolicy::Allow => {
                    slot.set_primary(primary.id());
                    slot.settle(State::Duplicate);
                    entry.mark_present(self.tier);
                    self.count(Counter::DuplicateBlocks, 1);
                    Registered::Own
                }
                BlockDuplicationPolicy::Reject => {
                    slot.settle(State::Exclusive);
                    self.count(Counter::RegistrationDedup, 1);
                    drop(Unregister { store: self, slot, entry });
                    Registered::Existing(primary)
                }
            };
        }
    }
}

/// Gives an entry's reference up and frees the slot.
struct Unregister<'a> {
    store: &'a Store,
    slot: &'a Slot,
    entry: &'a Entry,
}

impl Drop for Unregister<'_> {
    fn drop(&mut self) {
        // SAFETY: `register` took the reference for the slot, whose registration
        // has come to nothing.
        unsafe { self.store.registry.release(self.entry) };
        Store::free(self.slot);
    }
}
