//! The eviction order once there have been directives: a policy that knows priorities, and the
//! times at which they end.
//!
//! Sequential code, in the hands of the thread that holds the [plane](super). Blocks are known by
//! their [numbers](super::numbers).
//!
//! # What does a visit do?
//!
//! A visit for victims, or one by a thread that has given many directives, first
//!
//! 1. applies the directives that were [announced](crate::engine::parts::directives), in order;
//! 2. ends those that have expired, earliest [deadline](crate::engine::parts::deadlines) first.
//!
//! Both are bounded, in total and per directive, and nothing is allocated. So more may have expired
//! than a visit ends: blocks of high priority then keep it until the next visits. Blocks of low
//! priority are not evicted for it: one that would be the next victim is first checked against its
//! own deadline.

use crate::SequenceHash;
use crate::policy::{First, PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;
use crate::sync::limits::{DEADLINE_STEPS, EXPIRED_VICTIMS};

use super::numbers::Place;
use crate::engine::parts::deadlines::Deadlines;
use crate::engine::parts::directives::{Directives, PriorityRoom};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;

/// A policy that knows priorities, and the times at which they end.
pub(crate) struct Prioritized {
    policy: Box<dyn PrioritizedPolicy>,
    /// When the directives of listed blocks end.
    deadlines: Deadlines,
    /// What the last visit has left of those that have expired.
    expired: Expired,
}

impl Prioritized {
    /// Turns a policy into one that knows priorities.
    pub(super) fn new(policy: Box<dyn PlainPolicy>, room: PriorityRoom) -> Self {
        Self {
            policy: policy.with_priorities(room.bands),
            deadlines: room.deadlines,
            expired: Expired::AllEnded,
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
        (slot, number): (&Slot, u32),
        seen: Word,
        (hash, level): (SequenceHash, u8),
    ) {
        self.policy.insert(number, hash, level);
        self.apply_directive(directives, (slot, number), seen);
    }

    pub(super) fn remove(&mut self, number: u32) {
        self.policy.remove(number);
        self.deadlines.forget(number);
    }

    /// Returns the next victim.
    pub(super) fn first(&mut self) -> Option<First> {
        self.policy.first()
    }

    /// Applies the directive of a listed block whose word was `seen`, if it has one. Returns
    /// whether it has.
    #[cold]
    fn apply_directive(
        &mut self,
        directives: &Directives,
        (slot, number): (&Slot, u32),
        seen: Word,
    ) -> bool {
        self.deadlines.forget(number);
        let in_force = directives.in_force(slot, seen.generation(), || directives.now());
        if let Some(directive) = in_force {
            self.policy.set_priority(number, directive.priority);
            self.deadlines.set(number, directive.deadline);
        }
        in_force.is_some()
    }

    /// Applies the directives that were given to blocks that this order, the one of `shard`, lists,
    /// and ends those that have expired: as many as a visit does. `place` says where a block is
    /// listed.
    #[cold]
    pub(super) fn apply_directives(
        &mut self,
        directives: &Directives,
        shard: usize,
        slots: &[Slot],
        place: impl Fn(u32) -> Place,
    ) {
        directives.take_announced(shard, |slot| match place(slot) {
            Place::Elsewhere(other) => Some(other),
            Place::Here(number) if self.policy.contains(number) => {
                let slot = &slots[slot as usize];
                if !self.apply_directive(directives, (slot, number), slot.word()) {
                    // It replaced another one, and has expired already.
                    self.policy.set_priority(number, Priority::DEFAULT);
                }
                None
            }
            Place::Here(_) | Place::Nowhere => None,
        });
        self.expired = Expired::AllEnded;
        if self.deadlines.is_empty() {
            return;
        }
        let now = directives.now();
        let mut steps = DEADLINE_STEPS;
        while let Some(number) = self.deadlines.take_due(now, &mut steps) {
            self.policy.set_priority(number, Priority::DEFAULT);
        }
        if steps == 0 {
            self.expired = Expired::SomeLeft {
                now,
                checks: EXPIRED_VICTIMS,
            };
        }
    }

    /// Fills `candidates` with the numbers of victims, as long as `is_next` holds. Returns how many
    /// there were. Call after the directives were applied.
    pub(super) fn pop(
        &mut self,
        candidates: &mut [u32],
        mut is_next: impl FnMut(&mut dyn PrioritizedPolicy) -> bool,
    ) -> usize {
        let mut found = 0;
        while found < candidates.len() {
            self.end_expired_low();
            if !is_next(&mut *self.policy) {
                break;
            }
            let Some(number) = self.policy.pop() else {
                break;
            };
            self.deadlines.forget(number);
            candidates[found] = number;
            found += 1;
        }
        found
    }

    /// Ends the directive of the next victim, and of the one that is next then, while they have a
    /// low priority and have expired.
    fn end_expired_low(&mut self) {
        let Expired::SomeLeft { now, checks } = &mut self.expired else {
            return;
        };
        while *checks > 0
            && let Some(slot) = self.policy.first_of_low()
            && self.deadlines.has_passed(slot, *now)
        {
            *checks -= 1;
            self.deadlines.forget(slot);
            self.policy.set_priority(slot, Priority::DEFAULT);
        }
    }
}

/// What a visit has left of the directives that had expired.
enum Expired {
    AllEnded,
    /// Some may be left that had expired at the time `now`.
    SomeLeft {
        now: u64,
        /// The number of victims that may still be found to be among them.
        checks: u32,
    },
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use super::*;
    use crate::policy::{OldestFirst, PolicySpec};
    use crate::retention::Retention;

    /// Blocks that are listed in the order of their slots, and of which each may be given a
    /// priority that has expired.
    struct Listed {
        slots: Vec<Slot>,
        directives: Directives,
        order: Prioritized,
    }

    impl Listed {
        fn new(count: u32) -> Self {
            let directives = Directives::new(count, 1);
            let slots: Vec<Slot> = (0..count).map(|id| Slot::new(id, false)).collect();
            // The clock begins with the first directive.
            let none = Retention::default();
            assert_eq!(directives.give(&slots[0], 0, none, 0), Some(1));
            while directives.now() < 2 {
                std::thread::yield_now();
            }
            let policy = OldestFirst::LRU.build(count as usize);
            let mut order = Prioritized::new(policy, directives.take_room(0));
            for slot in &slots {
                let content = (SequenceHash::default(), 0);
                order.list(&directives, (slot, slot.id()), slot.word(), content);
            }
            order.apply_directives(&directives, 0, &slots, Place::Here);
            Self {
                slots,
                directives,
                order,
            }
        }

        /// Gives a block a priority that has expired since the plane was held last.
        fn expire(&mut self, slot: u32, priority: Priority) {
            self.order.policy.set_priority(slot, priority);
            self.order.deadlines.set(slot, Some(1));
        }

        fn pop(&mut self, victims: usize) -> Vec<u32> {
            let mut candidates = vec![u32::MAX; victims];
            self.order
                .apply_directives(&self.directives, 0, &self.slots, Place::Here);
            let found = self.order.pop(&mut candidates, |_| true);
            candidates.truncate(found);
            candidates
        }
    }

    #[test]
    fn a_visit_ends_a_bounded_number_of_directives() {
        const EXPIRED: u32 = 3 * DEADLINE_STEPS - 1;
        let mut listed = Listed::new(EXPIRED + 4);
        for slot in 0..EXPIRED {
            listed.expire(slot, Priority::HIGHEST);
        }
        // The visits end the directives of the first slots, of the next, and of the rest.
        for slot in 0..2 {
            assert_eq!(listed.pop(1), [slot]);
            let ended = DEADLINE_STEPS * (slot + 1);
            assert!(listed.order.deadlines.has_passed(ended, 1));
            assert!(!listed.order.deadlines.has_passed(ended - 1, 1));
        }
        let rest: Vec<u32> = (2..EXPIRED + 4).collect();
        assert_eq!(listed.pop(rest.len()), rest);
        assert!(listed.order.deadlines.is_empty());
    }

    /// Although the visit cannot end all directives that have expired.
    #[test]
    fn no_victim_is_of_low_priority_that_has_expired() {
        const EXPIRED: u32 = DEADLINE_STEPS + EXPIRED_VICTIMS;
        let mut listed = Listed::new(4 + EXPIRED);
        listed.order.policy.set_priority(2, Priority::LOWEST);
        // Those that are next by their priority are found last by their deadlines.
        for slot in (4..4 + EXPIRED).rev() {
            listed.order.policy.set_priority(slot, Priority::LOWEST);
        }
        for slot in 4..4 + EXPIRED {
            listed.order.deadlines.set(slot, Some(1));
        }
        assert_eq!(listed.pop(5), [2, 0, 1, 3, 4]);
    }

    #[test]
    fn a_victim_leaves_no_deadline() {
        let mut listed = Listed::new(4);
        listed.order.policy.set_priority(3, Priority::LOWEST);
        listed.order.deadlines.set(3, Some(1 << 38));
        assert_eq!(listed.pop(1), [3]);
        assert!(listed.order.deadlines.is_empty());
        listed.order.deadlines.set(1, Some(1 << 38));
        listed.order.remove(1);
        assert!(listed.order.deadlines.is_empty());
    }
}
