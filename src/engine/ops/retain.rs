//! Giving blocks retention directives, and reading them.

use std::time::Duration;

use crate::SequenceHash;
use crate::engine::parts::directives::Directive;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::State;
use crate::engine::store::Store;
use crate::retention::Retention;

impl Store {
    /// Gives the content of a block that the caller holds a directive.
    pub(crate) fn retain(&self, slot: &Slot, retention: Retention) {
        let slot = self.primary_of(slot);
        self.directives
            .give(slot, slot.word().generation(), retention);
    }

    /// What holds for the content of a block that the caller holds.
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

    /// Gives the content of a hash a directive. Returns whether it is registered here.
    pub(crate) fn retain_hash(&self, hash: SequenceHash, retention: Retention) -> bool {
        let key = self.registry.key(hash);
        while let Some((slot, seen)) = self.index.find(&self.slots, key) {
            if self.is_cleared(slot, seen) {
                return false;
            }
            if slot.is_tenancy(seen) && self.directives.give(slot, seen.generation(), retention) {
                return true;
            }
        }
        false
    }

    /// The block that is matched for the content of a block that the caller holds.
    fn primary_of<'a>(&'a self, slot: &'a Slot) -> &'a Slot {
        match slot.word().state() {
            State::Duplicate => &self.slots[slot.primary() as usize],
            _ => slot,
        }
    }
}
