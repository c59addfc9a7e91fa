//! Priorities in front of an order that has no graph.
//!
//! A block of low priority stays in the order, and also waits in its
//! [band](crate::policy::containers::bands). A block of high priority stays in the order
//! until it comes up as a victim, and is then *set aside*, where it waits.
//!
//! If the priority of a block that is aside ends, the block takes the place that its release
//! would give it now: before all blocks of its level that are still in the order, since it came
//! up before them, and after those of lower levels. Blocks that are aside are ordered by the
//! times at which they were set aside.

use std::collections::{BTreeMap, BTreeSet};

use crate::SequenceHash;
use crate::policy::containers::bands::Bands;
use crate::policy::containers::ensure;
use crate::policy::slot_policy::{PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;

/// An order, and the priorities of its blocks.
pub(crate) struct Retained<P> {
    order: P,
    bands: Bands,
    aside: Aside,
}

/// Blocks that have been taken out of the order but are still listed.
#[derive(Default)]
struct Aside {
    of: BTreeMap<u32, Place>,
    /// Those that have the default priority.
    ended: BTreeSet<(Place, u32)>,
    were_set_aside: u64,
    were_put_back: u64,
}

/// Where a block that is aside stood in the order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    level: u8,
    /// False for a victim that was handed out ahead of need, which comes before all that
    /// have been set aside.
    was_set_aside: bool,
    number: u64,
}

impl Aside {
    /// Adds a block that has a band and came up as a victim of this level.
    fn set_aside(&mut self, slot: u32, level: u8) {
        self.were_set_aside += 1;
        let place = Place {
            level,
            was_set_aside: true,
            number: self.were_set_aside,
        };
        self.of.insert(slot, place);
    }

    /// Adds a block that has no band and was handed out ahead of need.
    fn put_back(&mut self, slot: u32) {
        self.were_put_back += 1;
        let place = Place {
            level: 0,
            was_set_aside: false,
            number: self.were_put_back,
        };
        self.of.insert(slot, place);
        self.end(slot);
    }

    /// Records that a block has the default priority. Does nothing if the block is not
    /// aside.
    fn end(&mut self, slot: u32) {
        if let Some(&place) = self.of.get(&slot) {
            self.ended.insert((place, slot));
        }
    }

    /// Records that a block has another priority. Returns whether the block is aside.
    fn begin(&mut self, slot: u32) -> bool {
        let place = self.of.get(&slot);
        if let Some(&place) = place {
            self.ended.remove(&(place, slot));
        }
        place.is_some()
    }

    fn remove(&mut self, slot: u32) {
        if let Some(place) = self.of.remove(&slot) {
            self.ended.remove(&(place, slot));
        }
    }

    /// Returns the first block that has the default priority, with its level.
    fn first(&self) -> Option<(u8, u32)> {
        let &(place, slot) = self.ended.first()?;
        Some((place.level, slot))
    }

    fn contains(&self, slot: u32) -> bool {
        self.of.contains_key(&slot)
    }
}

impl<P: SlotPolicy> Retained<P> {
    pub(crate) fn new(order: P) -> Self {
        Self {
            order,
            bands: Bands::default(),
            aside: Aside::default(),
        }
    }

    /// Returns the first victim of default priority. Sets aside what comes up before it.
    fn pop_default(&mut self) -> Option<u32> {
        loop {
            let ended = self.aside.first();
            let level = self.order.next_level();
            if let Some((of_ended, slot)) = ended
                && of_ended <= level
            {
                return Some(slot);
            }
            let Some(slot) = self.order.pop() else {
                return ended.map(|(_, slot)| slot);
            };
            if !self.bands.wait(slot) {
                return Some(slot);
            }
            self.aside.set_aside(slot, level);
        }
    }
}

impl<P: SlotPolicy + 'static> SlotPolicy for Retained<P> {
    fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8) {
        self.bands.forget(slot);
        self.aside.remove(slot);
        self.order.insert(slot, hash, level);
    }

    fn remove(&mut self, slot: u32) {
        self.bands.forget(slot);
        self.aside.remove(slot);
        self.order.remove(slot);
    }

    fn pop(&mut self) -> Option<u32> {
        let low = self.bands.first_of_low();
        let victim = low.or_else(|| self.pop_default());
        let victim = victim.or_else(|| self.bands.first())?;
        self.remove(victim);
        Some(victim)
    }

    fn contains(&self, slot: u32) -> bool {
        self.order.contains(slot) || self.aside.contains(slot)
    }

    fn len(&self) -> usize {
        self.order.len() + self.aside.of.len()
    }

    fn observes_resurrection(&self) -> bool {
        self.order.observes_resurrection()
    }

    fn resurrections_commute(&self) -> bool {
        self.order.resurrections_commute()
    }

    fn leaves_no_trace(&self, slot: u32, hash: SequenceHash) -> bool {
        !self.aside.contains(slot) && self.order.leaves_no_trace(slot, hash)
    }

    fn check(&self) -> Result<(), String> {
        self.order.check()?;
        self.bands.check()?;
        for (priority, slot) in self.bands.waiting() {
            let is_aside = self.aside.contains(slot);
            let is_low = priority < Priority::DEFAULT && self.order.contains(slot);
            ensure(is_aside || is_low, || {
                format!("slot {slot} waits with priority {priority}, but is not aside")
            })?;
        }
        for (&slot, &place) in &self.aside.of {
            ensure(!self.order.contains(slot), || {
                format!("slot {slot} is both aside and in the order")
            })?;
            let has_ended = self.aside.ended.contains(&(place, slot));
            ensure(has_ended != self.bands.waits(slot), || {
                format!(
                    "slot {slot} is aside, and its priority has ended: {has_ended}; its band disagrees"
                )
            })?;
        }
        let ended = self.aside.ended.iter();
        let stray = ended.filter(|(_, slot)| !self.aside.contains(*slot));
        ensure(stray.count() == 0, || {
            "a block that is not aside is recorded among those aside whose priority has ended"
                .into()
        })
    }
}

impl<P: SlotPolicy + 'static> PrioritizedPolicy for Retained<P> {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        if priority == self.bands.priority(slot) {
            return;
        }
        if priority == Priority::DEFAULT {
            self.bands.forget(slot);
            return self.aside.end(slot);
        }
        self.bands.set(slot, priority);
        if self.aside.begin(slot) || priority < Priority::DEFAULT {
            self.bands.wait(slot);
        } else {
            self.bands.unwait(slot);
        }
    }

    fn put_back(&mut self, slot: u32, _hash: SequenceHash, _level: u8) {
        if !self.contains(slot) {
            self.aside.put_back(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::orders::lru::Lru;
    use crate::policy::orders::multi_lru::MultiLru;
    use crate::policy::testing::{Random, any_hash};

    fn priority(priority: u8) -> Priority {
        Priority::new(priority).unwrap()
    }

    fn retained(slots: u32) -> Retained<Lru> {
        let mut policy = Retained::new(Lru::new(slots as usize));
        for slot in 0..slots {
            policy.insert(slot, any_hash(), 0);
        }
        policy
    }

    fn drain<P: SlotPolicy + 'static>(policy: &mut Retained<P>) -> Vec<u32> {
        std::iter::from_fn(|| {
            policy.check().unwrap();
            policy.pop()
        })
        .collect()
    }

    #[test]
    fn lower_priorities_go_first() {
        let mut policy = retained(6);
        for (slot, of) in [(0, 80), (1, 36), (4, 0), (5, 34)] {
            policy.set_priority(slot, priority(of));
        }
        assert_eq!(drain(&mut policy), [4, 5, 2, 3, 1, 0]);
    }

    #[test]
    fn a_priority_that_ends_leaves_the_place_of_the_release() {
        let mut policy = retained(4);
        policy.set_priority(0, Priority::HIGHEST);
        policy.set_priority(1, Priority::LOWEST);
        policy.set_priority(2, Priority::HIGHEST);
        // Before any victims have been looked for.
        policy.set_priority(1, Priority::DEFAULT);
        assert_eq!(policy.pop(), Some(1));
        // After the block was set aside.
        policy.set_priority(0, Priority::DEFAULT);
        assert_eq!(drain(&mut policy), [0, 3, 2]);
    }

    #[test]
    fn what_is_put_back_is_next_again() {
        let mut policy = retained(4);
        let ahead = [policy.pop().unwrap(), policy.pop().unwrap()];
        policy.insert(ahead[1], any_hash(), 0);
        policy.set_priority(2, Priority::LOWEST);
        for slot in ahead {
            policy.put_back(slot, any_hash(), 0);
        }
        assert_eq!(policy.len(), 4);
        assert_eq!(drain(&mut policy), [2, 0, 3, 1]);
    }

    #[test]
    fn what_is_put_back_keeps_its_place_whatever_its_priority_was() {
        let mut policy = retained(5);
        let ahead = [policy.pop().unwrap(), policy.pop().unwrap()];
        policy.set_priority(2, Priority::HIGHEST);
        assert_eq!(policy.pop(), Some(3));
        for slot in ahead {
            policy.put_back(slot, any_hash(), 0);
            policy.set_priority(slot, Priority::HIGHEST);
        }
        for slot in [2, 1, 0] {
            policy.set_priority(slot, Priority::DEFAULT);
        }
        assert_eq!(drain(&mut policy), [0, 1, 2, 4]);
    }

    #[test]
    fn among_equals_the_last_release_or_change_decides() {
        let mut policy = retained(4);
        policy.set_priority(0, priority(5));
        policy.set_priority(1, priority(10));
        policy.set_priority(2, priority(50));
        policy.set_priority(3, priority(80));
        policy.set_priority(0, priority(10));
        policy.set_priority(2, priority(80));
        // It has that priority already.
        policy.set_priority(1, priority(10));
        policy.set_priority(3, priority(80));
        assert_eq!(drain(&mut policy), [1, 0, 3, 2]);
    }

    #[test]
    fn among_those_aside_the_last_change_decides() {
        let mut policy = retained(5);
        for (slot, of) in [(2, 80), (0, 50), (1, 80), (3, 80)] {
            policy.set_priority(slot, priority(of));
        }
        assert_eq!(policy.pop(), Some(4));
        policy.set_priority(0, priority(80));
        policy.set_priority(3, priority(80));
        assert_eq!(drain(&mut policy), [2, 1, 3, 0]);
    }

    #[test]
    fn priorities_that_end_in_any_order_leave_the_order_of_release() {
        let mut policy = retained(4);
        for slot in [1, 0, 2] {
            policy.set_priority(slot, Priority::HIGHEST);
        }
        assert_eq!(policy.pop(), Some(3));
        for slot in [2, 0, 1] {
            policy.set_priority(slot, Priority::DEFAULT);
        }
        // It waits one more time, and then no longer.
        policy.set_priority(1, Priority::LOWEST);
        policy.set_priority(1, Priority::DEFAULT);
        assert_eq!(drain(&mut policy), [0, 1, 2]);
    }

    #[test]
    fn a_priority_that_ends_aside_does_not_jump_the_levels() {
        let mut policy = Retained::new(MultiLru::new(7));
        for (slot, level) in [(0, 1), (1, 1), (2, 0), (3, 0)] {
            policy.insert(slot, any_hash(), level);
        }
        policy.set_priority(0, priority(80));
        assert_eq!([policy.pop(), policy.pop()], [Some(2), Some(3)]);
        assert_eq!(policy.pop(), Some(1));
        for (slot, level) in [(4, 1), (5, 0), (6, 0)] {
            policy.insert(slot, any_hash(), level);
        }
        policy.set_priority(0, Priority::DEFAULT);
        assert_eq!(drain(&mut policy), [5, 6, 0, 4]);
    }

    #[derive(Clone, Copy)]
    struct Listed {
        slot: u32,
        level: u8,
        priority: Priority,
        /// The steps of the last release and of the last change of priority.
        released: u64,
        changed: u64,
    }

    /// States the rule: blocks go by priority. Those with the default priority go by level
    /// and release; others of the same priority go by release or change of priority,
    /// whichever was later.
    fn agrees<P: SlotPolicy + 'static>(order: P, levels: u64, slots: u64, seed: u64) -> [u32; 4] {
        let mut random = Random::new(seed);
        let mut policy = Retained::new(order);
        let mut model: Vec<Listed> = Vec::new();
        let mut victims = [0; 4];
        for step in 0..20_000 {
            let slot = random.below(slots) as u32;
            let listed = model.iter_mut().find(|listed| listed.slot == slot);
            // The pool fills, and is then emptied.
            let choices = if step / 100 % 4 < 3 { 16 } else { 48 };
            match (random.below(choices), listed) {
                (0..=5, _) => {
                    let level = random.below(levels) as u8;
                    model.retain(|listed| listed.slot != slot);
                    model.push(Listed {
                        slot,
                        level,
                        priority: Priority::DEFAULT,
                        released: step,
                        changed: 0,
                    });
                    policy.insert(slot, any_hash(), level);
                }
                (6, _) => {
                    model.retain(|listed| listed.slot != slot);
                    policy.remove(slot);
                }
                (7..=14, listed) => {
                    let Some(listed) = listed else { continue };
                    let new = priority([0, 10, 35, 35, 60, 100][random.below(6) as usize]);
                    if listed.priority != new {
                        listed.priority = new;
                        listed.changed = step;
                    }
                    policy.set_priority(slot, new);
                }
                _ => {
                    let first = model.iter().copied().min_by_key(|listed| {
                        let place = match listed.priority {
                            Priority::DEFAULT => (listed.level, listed.released),
                            _ => (0, listed.released.max(listed.changed)),
                        };
                        (listed.priority, place)
                    });
                    if let Some(first) = first {
                        model.retain(|listed| listed.slot != first.slot);
                        let was_other = first.changed > 0;
                        let kind = match first.priority {
                            Priority::DEFAULT => 1 + usize::from(was_other),
                            other => 3 * usize::from(other > Priority::DEFAULT),
                        };
                        victims[kind] += 1;
                    }
                    let victim = first.map(|first| first.slot);
                    assert_eq!(policy.pop(), victim, "step {step}");
                }
            }
            policy.check().unwrap();
            assert_eq!(policy.len(), model.len());
            let is_listed = model.iter().any(|listed| listed.slot == slot);
            assert_eq!(policy.contains(slot), is_listed);
        }
        victims
    }

    #[test]
    fn agrees_with_the_rule() {
        let mut victims = [0; 4];
        for (seed, slots) in [(7, 3), (8, 12), (9, 40)] {
            let of_lru = agrees(Lru::new(slots as usize), 1, slots, seed);
            let of_multi_lru = agrees(MultiLru::new(slots as usize), 4, slots, seed);
            for (at, all) in victims.iter_mut().enumerate() {
                *all += of_lru[at] + of_multi_lru[at];
            }
        }
        assert!(victims.iter().all(|&count| count > 400), "{victims:?}");
    }

    #[test]
    fn low_ones_go_in_the_order_of_their_directives() {
        let mut policy = retained(3);
        for slot in [1, 2, 0] {
            policy.set_priority(slot, Priority::LOWEST);
        }
        policy.insert(2, any_hash(), 0);
        policy.set_priority(2, Priority::LOWEST);
        assert_eq!(drain(&mut policy), [1, 0, 2]);
    }
}
