//! Resetting all inactive blocks, one by one.
//!
//! 1. *List* the blocks without pins: each slot, and the generation of its word.
//! 2. Evict as many blocks as are listed, in the policy's order, and free them.
//! 3. *Look* at the listed blocks once more, and free those that are still in the same tenancy
//!    and without pins: another thread holds the plane or has them in hand, or the order has
//!    yielded blocks instead that were released meanwhile. Children come before their parents.
//!
//! So every block that was inactive at the beginning is reset, unless another thread matches or
//! takes it, or there is no credit for it. What is released during the call does not prolong it.
//!
//! Each block is reset with a credit of its own, like an allocation: a block on its way from
//! inactive to free belongs to this thread, and there is never more than one.
//!
//! # What does it cost?
//!
//! One visit of each slot, and an eviction per listed block. If step 2 leaves blocks behind, they
//! are sorted: O(n log n). The list allocates 8 bytes per inactive block, and the sort 24 more for
//! each.
//!
//! # What can a suspended thread delay?
//!
//! The block that it is about to free. If another thread is suspended while it holds the plane,
//! step 3 finds all blocks.

use std::cmp::Reverse;
use std::ptr::NonNull;

use crate::engine::ops::victims::Victims;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::engine::store::Store;
use crate::policy::Keys;
use crate::registry::Leftovers;
use crate::sync::step;

/// A block without pins, in a certain tenancy.
#[derive(Clone, Copy)]
struct Listed {
    slot: u32,
    generation: u32,
}

impl Listed {
    /// Returns the word of the block if it still has no pins and is in the same tenancy.
    fn seen(self, slot: &Slot) -> Option<Word> {
        let word = slot.word();
        (word.is_unheld() && word.generation() == self.generation).then_some(word)
    }
}

impl Store {
    /// Resets the blocks that are inactive now. Stops early if there is no credit, because other
    /// operations have reserved what is available.
    pub(crate) fn reset_inactive(&self) -> Leftovers {
        let mut leftovers = Leftovers::new();
        let mut listed = self.list_unheld();
        for _ in 0..listed.len() {
            if !self.reset_one(&mut leftovers, |victims| {
                self.evict(self.home(), 1, victims) == 1
            }) {
                break;
            }
        }
        listed.retain(|listed| listed.seen(self.slot(*listed)).is_some());
        // The key of a child is greater than that of its parent: its position is. Each key is read
        // once, since other threads may change it.
        listed.sort_by_cached_key(|listed| {
            let slot = self.slot(*listed);
            Reverse(Keys::of(slot.hash(), slot.id()).own)
        });
        for listed in listed {
            self.reset_one(&mut leftovers, |victims| self.take_listed(listed, victims));
        }
        leftovers
    }

    fn slot(&self, listed: Listed) -> &Slot {
        &self.slots[listed.slot as usize]
    }

    /// Returns the blocks that have no pins.
    fn list_unheld(&self) -> Vec<Listed> {
        let unheld = |slot: &Slot| {
            let word = slot.word();
            word.is_unheld().then(|| Listed {
                slot: slot.id(),
                generation: word.generation(),
            })
        };
        self.slots.iter().filter_map(unheld).collect()
    }

    /// Frees a block that `vacate` has vacated and added to the victims, with a credit that is
    /// reserved for it. Returns whether there was a credit, and a block.
    fn reset_one<'a>(
        &'a self,
        leftovers: &mut Leftovers,
        vacate: impl FnOnce(&mut Victims<'a>) -> bool,
    ) -> bool {
        let home = self.home();
        if !self.credits.reserve(home, 1).is_made {
            return false;
        }
        let mut victims = Victims::new(self);
        let is_vacated = vacate(&mut victims);
        if is_vacated {
            victims.free(leftovers);
        } else {
            // SAFETY: the credit was reserved just now. The caller has a manager, so the store
            // outlives the call.
            unsafe { Self::return_credits(NonNull::from(self), home, 1) };
        }
        is_vacated
    }

    /// Vacates a listed block, if it still has no pins and is in the same tenancy. The caller has
    /// a credit for it. Returns whether it did.
    fn take_listed<'a>(&'a self, listed: Listed, victims: &mut Victims<'a>) -> bool {
        let slot = self.slot(listed);
        while let Some(seen) = listed.seen(slot) {
            if slot.vacate(seen, self.reset_on_release).is_ok() {
                step!(VictimVacated);
                self.queue_removal(slot);
                // SAFETY: vacated just now, and the caller has a credit for it.
                unsafe { victims.push(slot, seen) };
                return true;
            }
        }
        false
    }
}
