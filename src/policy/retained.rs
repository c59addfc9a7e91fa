//! Priorities in front of an order without a graph.
//!
//! A block of low priority stays in the order and waits in its [band](super::bands)
//! as well. One of high priority stays in the order until it comes up as a victim, and
//! is then set aside: there it waits. If its priority ends while it is aside, it goes
//! before all that is still in the order, as it would have.
//!
//! While no block has a band this is a branch in front of each call.

use super::bands::Bands;
use super::{SlotPolicy, ensure};
use crate::SequenceHash;
use crate::retention::Priority;

/// An order, and the priorities of its blocks.
pub(crate) struct Retained<P> {
    order: P,
    /// None until there is a priority.
    bands: Option<Box<Bands>>,
}

impl<P: SlotPolicy> Retained<P> {
    pub(crate) fn new(order: P) -> Self {
        Self { order, bands: None }
    }

    fn is_aside(&self, slot: u32) -> bool {
        !self.order.contains(slot) && self.waits(slot)
    }

    fn waits(&self, slot: u32) -> bool {
        self.bands.as_ref().is_some_and(|bands| bands.waits(slot))
    }

    #[cold]
    fn pop_by_priority(&mut self) -> Option<u32> {
        let bands = self.bands.as_mut()?;
        let victim = bands.first_of_low().or_else(|| {
            loop {
                match self.order.pop() {
                    Some(slot) if bands.wait_last(slot) => {}
                    Some(slot) => break Some(slot),
                    None => break bands.first(),
                }
            }
        })?;
        self.remove(victim);
        Some(victim)
    }
}

impl<P: SlotPolicy> SlotPolicy for Retained<P> {
    #[inline]
    fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8) {
        if let Some(bands) = &mut self.bands {
            bands.forget(slot);
        }
        self.order.insert(slot, hash, level);
    }

    #[inline]
    fn remove(&mut self, slot: u32) {
        if let Some(bands) = &mut self.bands {
            bands.forget(slot);
        }
        self.order.remove(slot);
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        if self.bands.as_ref().is_some_and(|bands| bands.len() > 0) {
            return self.pop_by_priority();
        }
        self.order.pop()
    }

    fn set_priority(&mut self, slot: u32, priority: Priority) {
        let is_aside = self.is_aside(slot);
        let bands = self.bands.get_or_insert_default();
        if priority == Priority::DEFAULT && !is_aside {
            return bands.forget(slot);
        }
        bands.set(slot, priority);
        if priority < Priority::DEFAULT || is_aside {
            bands.wait(slot);
        } else {
            bands.unwait(slot);
        }
    }

    fn put_back(&mut self, slot: u32) {
        if !self.contains(slot) {
            let bands = self.bands.get_or_insert_default();
            bands.set(slot, Priority::DEFAULT);
            bands.wait(slot);
        }
    }

    fn contains(&self, slot: u32) -> bool {
        self.order.contains(slot) || self.waits(slot)
    }

    fn len(&self) -> usize {
        let aside = self.bands.iter().flat_map(|bands| bands.waiting());
        let aside = aside.filter(|&(_, slot)| !self.order.contains(slot));
        self.order.len() + aside.count()
    }

    fn observes_resurrection(&self) -> bool {
        self.order.observes_resurrection()
    }

    fn resurrections_commute(&self) -> bool {
        self.order.resurrections_commute()
    }

    fn leaves_no_trace(&self, slot: u32, hash: SequenceHash) -> bool {
        !self.waits(slot) && self.order.leaves_no_trace(slot, hash)
    }

    /// What was popped stays next only until there are priorities: see
    /// [`put_back`](SlotPolicy::put_back).
    fn hands_out_ahead(&self) -> bool {
        self.order.hands_out_ahead()
    }

    fn check(&self) -> Result<(), String> {
        self.order.check()?;
        let Some(bands) = &self.bands else {
            return Ok(());
        };
        bands.check()?;
        for (priority, slot) in bands.waiting() {
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
