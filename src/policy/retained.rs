//! Priorities in front of an order without a graph.
//!
//! A block of low priority stays in the order and waits in its [band](super::bands)
//! as well. One of high priority stays in the order until it comes up as a victim, and
//! is then set aside: there it waits. If its priority ends while it is aside, it goes
//! before all that is still in the order, as it would have.

use super::bands::Bands;
use super::{SlotPolicy, ensure};
use crate::SequenceHash;
use crate::retention::Priority;

/// An order, and the priorities of its blocks.
pub(super) struct Retained<P> {
    order: P,
    bands: Bands,
}

impl<P: SlotPolicy> Retained<P> {
    pub(super) fn new(order: P) -> Self {
        Self {
            order,
            bands: Bands::default(),
        }
    }

    fn is_aside(&self, slot: u32) -> bool {
        !self.order.contains(slot) && self.bands.waits(slot)
    }

    /// Sets aside what comes up in the order and has a band, up to a victim that has none.
    fn pop_of_order(&mut self) -> Option<u32> {
        loop {
            let slot = self.order.pop()?;
            if !self.bands.wait_last(slot) {
                return Some(slot);
            }
        }
    }
}

impl<P: SlotPolicy + 'static> SlotPolicy for Retained<P> {
    fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8) {
        self.bands.forget(slot);
        self.order.insert(slot, hash, level);
    }

    fn remove(&mut self, slot: u32) {
        self.bands.forget(slot);
        self.order.remove(slot);
    }

    fn pop(&mut self) -> Option<u32> {
        let low = self.bands.first_of_low();
        let victim = low.or_else(|| self.pop_of_order());
        let victim = victim.or_else(|| self.bands.first())?;
        self.remove(victim);
        Some(victim)
    }

    fn with_priorities(self: Box<Self>) -> Box<dyn SlotPolicy> {
        self
    }

    fn set_priority(&mut self, slot: u32, priority: Priority) {
        if priority == self.bands.priority(slot) {
            return;
        }
        let is_aside = self.is_aside(slot);
        if priority == Priority::DEFAULT && !is_aside {
            return self.bands.forget(slot);
        }
        self.bands.set(slot, priority);
        if priority < Priority::DEFAULT || is_aside {
            self.bands.wait(slot);
        } else {
            self.bands.unwait(slot);
        }
    }

    fn put_back(&mut self, slot: u32) {
        if !self.contains(slot) {
            self.bands.set(slot, Priority::DEFAULT);
            self.bands.wait(slot);
        }
    }

    fn contains(&self, slot: u32) -> bool {
        self.order.contains(slot) || self.bands.waits(slot)
    }

    fn len(&self) -> usize {
        let waiting = self.bands.waiting();
        let aside = waiting.filter(|&(_, slot)| !self.order.contains(slot));
        self.order.len() + aside.count()
    }

    fn observes_resurrection(&self) -> bool {
        self.order.observes_resurrection()
    }

    fn resurrections_commute(&self) -> bool {
        self.order.resurrections_commute()
    }

    fn leaves_no_trace(&self, slot: u32, hash: SequenceHash) -> bool {
        !self.bands.waits(slot) && self.order.leaves_no_trace(slot, hash)
    }

    fn check(&self) -> Result<(), String> {
        self.order.check()?;
        self.bands.check()?;
        for (priority, slot) in self.bands.waiting() {
            let is_listed = self.order.contains(slot);
            ensure(!is_listed || priority < Priority::DEFAULT, || {
                format!("slot {slot} of priority {priority} is both aside and in the order")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::lru::Lru;
    use super::super::testing::{Random, any_hash};
    use super::*;

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

    fn drain(policy: &mut Retained<Lru>) -> Vec<u32> {
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
        // Before anybody has looked for victims.
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
            policy.put_back(slot);
        }
        assert_eq!(policy.len(), 4);
        assert_eq!(drain(&mut policy), [2, 0, 3, 1]);
    }

    /// The rule, stated: low ones by priority, then the default by release, then high ones by
    /// priority and release.
    #[test]
    fn agrees_with_the_rule() {
        const SLOTS: u64 = 12;
        let mut random = Random::new(7);
        let mut policy = Retained::new(Lru::new(SLOTS as usize));
        // In order of release.
        let mut queue: Vec<(u32, Priority)> = Vec::new();
        let mut victims = [0; 3];
        for step in 0..40_000 {
            let slot = random.below(SLOTS) as u32;
            let at = queue.iter().position(|&(listed, _)| listed == slot);
            match (random.below(6), at) {
                (0 | 1, _) => {
                    queue.retain(|&(listed, _)| listed != slot);
                    queue.push((slot, Priority::DEFAULT));
                    policy.insert(slot, any_hash(), 0);
                }
                (2, _) => {
                    queue.retain(|&(listed, _)| listed != slot);
                    policy.remove(slot);
                }
                (3 | 4, Some(at)) => {
                    let new = [0, 10, 35, 35, 60, 100][random.below(6) as usize];
                    queue[at].1 = priority(new);
                    policy.set_priority(slot, priority(new));
                }
                _ => {
                    let victim = policy.pop();
                    let first = queue.iter().min_by_key(|&&(_, of)| of).copied();
                    assert_eq!(victim.is_some(), first.is_some());
                    let (Some(victim), Some((first, lowest))) = (victim, first) else {
                        continue;
                    };
                    let at = queue.iter().position(|&(listed, _)| listed == victim);
                    let (_, of) = queue.remove(at.expect("the victim is listed"));
                    assert_eq!(of, lowest, "step {step}");
                    // Among low ones the directive has a say.
                    assert!(victim == first || of < Priority::DEFAULT, "step {step}");
                    victims
                        [(of >= Priority::DEFAULT) as usize + (of > Priority::DEFAULT) as usize] +=
                        1;
                }
            }
            policy.check().unwrap();
            assert_eq!(policy.len(), queue.len());
        }
        assert!(victims.iter().all(|&count| count > 100), "{victims:?}");
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
