//! Feeding an eviction order from release logs.
//!
//! The code is generated for each kind of order and of names, so that the loop over a log decides
//! nothing that is the same for all of its slots.

use crate::SequenceHash;
use crate::policy::{PlainPolicy, SlotPolicy};
use crate::sync::step;

use super::keys::Keys;
use super::numbers::{Numbers, Place, Places};
use super::prioritized::Prioritized;
use crate::engine::parts::directives::Directives;
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::word::Word;

/// What the holder of a plane has before it.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) slots: &'a [Slot],
    pub(super) logs: &'a [ReleaseLog],
    pub(super) places: &'a Places,
    pub(super) keys: &'a Keys,
    pub(super) directives: &'a Directives,
}

/// A policy that blocks are listed with, by their numbers.
pub(super) trait Listed {
    /// Lists a block whose word was `seen`.
    fn list(
        &mut self,
        directives: &Directives,
        block: (&Slot, u32),
        seen: Word,
        content: (SequenceHash, u8),
    );
    fn remove(&mut self, number: u32);
    fn contains(&self, number: u32) -> bool;
    fn leaves_no_trace(&self, number: u32, hash: SequenceHash) -> bool;
}

impl Listed for dyn PlainPolicy {
    #[inline(always)]
    fn list(
        &mut self,
        directives: &Directives,
        (slot, number): (&Slot, u32),
        seen: Word,
        (hash, level): (SequenceHash, u8),
    ) {
        self.insert(number, hash, level);
        if directives.are_used() {
            // The first directive has been given since the plane was held.
            directives.announce_again(slot, seen.generation());
        }
    }

    #[inline(always)]
    fn remove(&mut self, number: u32) {
        SlotPolicy::remove(self, number);
    }

    fn contains(&self, number: u32) -> bool {
        SlotPolicy::contains(self, number)
    }

    fn leaves_no_trace(&self, number: u32, hash: SequenceHash) -> bool {
        SlotPolicy::leaves_no_trace(self, number, hash)
    }
}

impl Listed for Prioritized {
    #[inline(always)]
    fn list(
        &mut self,
        directives: &Directives,
        block: (&Slot, u32),
        seen: Word,
        content: (SequenceHash, u8),
    ) {
        Prioritized::list(self, directives, block, seen, content);
    }

    #[inline(always)]
    fn remove(&mut self, number: u32) {
        Prioritized::remove(self, number);
    }

    fn contains(&self, number: u32) -> bool {
        self.policy().contains(number)
    }

    fn leaves_no_trace(&self, number: u32, hash: SequenceHash) -> bool {
        self.policy().leaves_no_trace(number, hash)
    }
}

/// How an order names the blocks that it lists.
pub(super) trait Names {
    /// Returns where a block is listed. If blocks are known by their slots, this is here, whether
    /// the block is listed or not.
    fn place(&self, slot: u32) -> Place;
    /// Returns the number of a block that is about to be listed, or the shard whose order lists it.
    fn number(&mut self, slot: u32) -> Result<u32, usize>;
    /// Ends the use of a number.
    fn free(&mut self, number: u32);
}

/// Blocks are known by their slots.
pub(super) struct BySlot;

impl Names for BySlot {
    #[inline(always)]
    fn place(&self, slot: u32) -> Place {
        Place::Here(slot)
    }

    #[inline(always)]
    fn number(&mut self, slot: u32) -> Result<u32, usize> {
        Ok(slot)
    }

    #[inline(always)]
    fn free(&mut self, _number: u32) {}
}

/// Blocks are numbered, and listed at this tick.
pub(super) struct Numbered<'o> {
    pub(super) numbers: &'o mut Numbers,
    pub(super) places: &'o Places,
    pub(super) tick: u64,
}

impl Names for Numbered<'_> {
    #[inline(always)]
    fn place(&self, slot: u32) -> Place {
        self.numbers.place(self.places, slot)
    }

    #[inline(always)]
    fn number(&mut self, slot: u32) -> Result<u32, usize> {
        self.numbers.number(self.places, slot, self.tick)
    }

    #[inline(always)]
    fn free(&mut self, number: u32) {
        self.numbers.free(self.places, number);
    }
}

/// An order and its names, about to be fed.
pub(super) struct Feed<'o, P: ?Sized, N> {
    pub(super) policy: &'o mut P,
    pub(super) names: N,
    pub(super) view: View<'o>,
    /// Room for the slots of cancelled releases that a drain lists and takes out at its end.
    pub(super) cancelled: &'o mut Vec<u32>,
}

impl<P: Listed + ?Sized, N: Names> Feed<'_, P, N> {
    /// Applies up to [`DRAINED`](crate::sync::limits::DRAINED) updates of a log.
    #[inline(never)]
    pub(super) fn drain(&mut self, log: &ReleaseLog) {
        if log.take_cancelled() {
            return self.drain_cancelled(log);
        }
        log.take(self.view.slots, |_| {}).for_each(|slot| {
            let word = slot.unmark_queued();
            step!(QueuedTaken);
            if word.is_unheld() {
                self.list(slot, word);
            } else {
                self.remove(slot);
            }
        });
    }

    /// Applies the updates of a log that may hold cancelled releases: queued slots whose
    /// blocks are active and not listed.
    ///
    /// Such a block is listed in its turn, and removed after all other updates of the log have
    /// been applied. It is not listed at all if listing it provably changes nothing: if the
    /// log holds only such slots, and none of their blocks would leave a trace in the policy.
    fn drain_cancelled(&mut self, log: &ReleaseLog) {
        let mut changes_nothing = true;
        let taken = log.take(self.view.slots, |slot| {
            changes_nothing =
                changes_nothing && slot.word().is_in_use() && self.leaves_no_trace(slot);
        });
        if log.len() > 0 {
            log.mark_cancelled();
        }
        taken.for_each(|slot| {
            let word = slot.unmark_queued();
            step!(QueuedTaken);
            if word.is_unheld() {
                self.list(slot, word);
            } else if changes_nothing {
                // It was not listed when all slots were looked at, and only this thread lists
                // blocks.
            } else if !word.is_in_use() || self.lists(slot.id()) {
                self.remove(slot);
            } else if self.list(slot, word) {
                self.cancelled.push(slot.id());
            }
        });
        for at in 0..self.cancelled.len() {
            let slot = self.cancelled[at];
            self.remove(&self.view.slots[slot as usize]);
        }
        self.cancelled.clear();
    }

    /// Returns whether listing a block and taking it out again would change nothing.
    fn leaves_no_trace(&self, slot: &Slot) -> bool {
        let number = match self.names.place(slot.id()) {
            Place::Here(number) => number,
            Place::Nowhere => NIL,
            Place::Elsewhere(_) => return false,
        };
        self.policy.leaves_no_trace(number, slot.hash())
    }

    /// Returns whether this order lists a block.
    pub(super) fn lists(&self, slot: u32) -> bool {
        match self.names.place(slot) {
            Place::Here(number) => self.policy.contains(number),
            Place::Nowhere | Place::Elsewhere(_) => false,
        }
    }

    /// Has another order see to a slot whose block it lists.
    #[cold]
    #[inline(never)]
    fn forward(&self, slot: &Slot, shard: usize) {
        if !slot.mark_queued().is_queued() {
            // SAFETY: the mark has been set just now.
            unsafe { self.view.logs[shard].push(slot) };
            let View {
                keys, directives, ..
            } = self.view;
            keys.note_queued(shard, directives.are_used());
        }
    }

    /// Takes a block out, if it is listed.
    #[inline(always)]
    fn remove(&mut self, slot: &Slot) {
        match self.names.place(slot.id()) {
            Place::Here(number) => {
                self.policy.remove(number);
                self.names.free(number);
            }
            Place::Nowhere => {}
            Place::Elsewhere(shard) => self.forward(slot, shard),
        }
    }

    /// Lists a block whose word was `seen`. Returns whether it has listed it. It does not if
    /// the block has been taken since, in which case the block's next release queues it again, or if
    /// another order lists it.
    #[inline(always)]
    fn list(&mut self, slot: &Slot, seen: Word) -> bool {
        self.list_as_seen(slot, seen) || self.list_discarded(slot)
    }

    /// Lists a block if it is still in the tenancy in which `seen` was read.
    #[inline(always)]
    fn list_as_seen(&mut self, slot: &Slot, seen: Word) -> bool {
        let content = (slot.hash(), slot.level());
        if !slot.is_tenancy(seen) {
            return false;
        }
        match self.names.number(slot.id()) {
            Ok(number) => {
                (self.policy).list(self.view.directives, (slot, number), seen, content);
                true
            }
            Err(shard) => {
                self.forward(slot, shard);
                false
            }
        }
    }

    /// Lists a block that has been discarded since its word was read. It is of the next
    /// generation, but no thread has taken it, so none will queue it again. (If it is taken
    /// now, its next release queues it: only a block that has been released can be discarded
    /// again.)
    #[cold]
    #[inline(never)]
    fn list_discarded(&mut self, slot: &Slot) -> bool {
        let seen = slot.word();
        seen.is_discarded() && !seen.is_queued() && self.list_as_seen(slot, seen)
    }
}
