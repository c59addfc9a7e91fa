//! Setting and reading the retention directives of blocks.
//!
//! A directive belongs to content, so a duplicate has the directive of its primary. Setting
//! one takes three steps:
//!
//! 1. Find the primary of the hash, unless the caller holds the block.
//! 2. Exchange the directive word beside its slot, if the slot is still in the tenancy in
//!    which it was found. If it is not, start the lookup over.
//! 3. Announce the slot to the policy plane, unless it is announced already.
//! 4. If [`ANNOUNCED_SLOTS`] are announced, try to take the plane, and apply them.
//!
//! # What does it cost?
//!
//! Two exchanges, without a lock, and nothing that waits. Step 4 takes as long as a visit for
//! victims, and serves all directives announced since the last one. The first directive of a store
//! allocates a table, see [`directives`](crate::engine::parts::directives).
//!
//! The policy learns of a directive before it next hands out victims, if not in step 4. A thread
//! suspended between steps 2 and 3 delays this directive, and later ones for the same block,
//! until the block is released again.
//!
//! The mechanism is in [`directives`](crate::engine::parts::directives).

use std::time::Duration;

use crate::SequenceHash;
use crate::engine::parts::directives::Directive;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::State;
use crate::engine::store::Store;
use crate::retention::Retention;
use crate::sync::limits::ANNOUNCED_SLOTS;

impl Store {
    /// Sets the directive for the content of a block that the caller holds.
    pub(crate) fn retain(&self, slot: &Slot, retention: Retention) {
        let slot = self.primary_of(slot);
        self.give(slot, slot.word().generation(), retention);
    }

    /// Gives a block a directive if it is still of this generation. Returns whether it is.
    fn give(&self, slot: &Slot, generation: u32, retention: Retention) -> bool {
        let plane = self.planes.of_shard(slot.shard());
        let announced = self.directives.give(slot, generation, retention, plane);
        if announced.is_some_and(|slots| slots >= ANNOUNCED_SLOTS) {
            self.apply_directives(plane);
        }
        announced.is_some()
    }

    /// Does what a visit for victims does before it pops them, if no other thread holds the
    /// plane: applies the queued releases, and then the directives.
    #[cold]
    pub(super) fn apply_directives(&self, plane: usize) {
        if let Some(mut plane) = self.try_hold(plane) {
            plane.drain();
            plane.apply_directives();
        }
    }

    /// Returns the directive in force for the content of a block that the caller holds, with
    /// the rest of its duration; the default if there is none or it has expired.
    pub(crate) fn retention(&self, slot: &Slot) -> Retention {
        let slot = self.primary_of(slot);
        let Some(Directive { priority, deadline }) =
            self.directives.of(slot, slot.word().generation())
        else {
            return Retention::default();
        };
        let now = self.directives.now();
        match deadline {
            Some(deadline) if deadline <= now => Retention::default(),
            deadline => Retention {
                priority,
                duration: deadline.map(|deadline| Duration::from_millis(deadline - now)),
            },
        }
    }

    /// Sets the directive for the content of a hash. Returns whether the hash is registered
    /// here, and its block not cleared; if not, nothing changes.
    pub(crate) fn retain_hash(&self, hash: SequenceHash, retention: Retention) -> bool {
        let key = self.registry.key(hash);
        while let Some((slot, seen)) = self.index.find(&self.slots, key) {
            let Some(was_cleared) = self.was_cleared(slot, seen) else {
                continue;
            };
            if !slot.is_tenancy(seen) {
                continue;
            }
            if was_cleared {
                return false;
            }
            if self.give(slot, seen.generation(), retention) {
                return true;
            }
        }
        false
    }

    /// Returns the block that a match of this block's hash finds: for a duplicate that the
    /// caller holds, its primary (invariant 6); otherwise, the block itself.
    fn primary_of<'a>(&'a self, slot: &'a Slot) -> &'a Slot {
        match slot.word().state() {
            State::Duplicate => &self.slots[slot.primary() as usize],
            _ => slot,
        }
    }
}
