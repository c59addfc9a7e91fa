//! The eviction order once there have been directives: a policy that knows priorities, and the
//! times at which they end.
//!
//! Sequential code, in the hands of the thread that holds the [policy
//! plane](crate::engine::parts::plane).

use crate::SequenceHash;
use crate::policy::{PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;

use crate::engine::parts::deadlines::Deadlines;
use crate::engine::parts::directives::Directives;
use crate::engine::parts::plane::pop_each;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;

/// A policy that knows priorities, and the times at which they end.
pub(crate) struct Prioritized {
    policy: Box<dyn PrioritizedPolicy>,
    /// When the directives of listed blocks end.
    deadlines: Deadlines,
}

impl Prioritized {
    /// Turns a policy into one that knows priorities.
    pub(super) fn new(policy: Box<dyn PlainPolicy>) -> Self {
        Self {
            policy: policy.with_priorities(),
            deadlines: Deadlines::default(),
        }
    }

    pub(super) fn policy(&self) -> &dyn SlotPolicy {
        &*self.policy
    }

    /// Lists a block whose word was `seen`, with its directive.
    ///
    /// A directive that is given meanwhile is announced, and applied before the next victim is
    /// popped.
    pub(super) fn list(
        &mut self,
        directives: &Directives,
        slot: &Slot,
        seen: Word,
        (hash, level): (SequenceHash, u8),
    ) {
        self.policy.insert(slot.id(), hash, level);
        self.apply_directive(directives, slot, seen);
    }

    /// Returns a prefetched victim to the order, with its current priority.
    pub(super) fn put_back(&mut self, directives: &Directives, slot: &Slot) {
        let (hash, level) = (slot.hash(), slot.level());
        self.policy.put_back(slot.id(), hash, level);
        self.apply_directive(directives, slot, slot.word());
    }

    pub(super) fn remove(&mut self, slot: u32) {
        self.policy.remove(slot);
        self.forget_deadlines(&[slot]);
    }

    /// Applies the directive of a listed block whose word was `seen`, if it has one. Returns
    /// whether it has.
    #[cold]
    fn apply_directive(&mut self, directives: &Directives, slot: &Slot, seen: Word) -> bool {
        self.deadlines.forget(slot.id());
        let in_force = directives.in_force(slot, seen.generation(), || directives.now());
        if let Some(directive) = in_force {
            self.policy.set_priority(slot.id(), directive.priority);
            self.deadlines.set(slot.id(), directive.deadline);
        }
        in_force.is_some()
    }

    /// Applies the directives that were given to listed blocks, and ends those that have
    /// expired.
    #[cold]
    fn apply_directives(&mut self, directives: &Directives, slots: &[Slot]) {
        directives.take_announced(|slot| {
            if self.policy.contains(slot) {
                let slot = &slots[slot as usize];
                if !self.apply_directive(directives, slot, slot.word()) {
                    // It replaced another one, and has expired already.
                    self.policy.set_priority(slot.id(), Priority::DEFAULT);
                }
            }
        });
        if !self.deadlines.is_empty() {
            let now = directives.now();
            while let Some(slot) = self.deadlines.take_due(now) {
                self.policy.set_priority(slot, Priority::DEFAULT);
            }
        }
    }

    pub(super) fn pop(
        &mut self,
        directives: &Directives,
        slots: &[Slot],
        candidates: &mut [u32],
    ) -> usize {
        self.apply_directives(directives, slots);
        let found = pop_each(&mut *self.policy, candidates);
        self.forget_deadlines(&candidates[..found]);
        found
    }

    /// Removes the deadlines of blocks that have left the order.
    #[cold]
    fn forget_deadlines(&mut self, slots: &[u32]) {
        for &slot in slots {
            self.deadlines.forget(slot);
        }
    }
}
