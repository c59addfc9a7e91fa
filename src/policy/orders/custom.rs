//! A user's own order, and what happens to the blocks if it fails.
//!
//! The user's code is called with the plane held, in the middle of a drain. A panic that
//! unwound from there would lose the queued releases that are still to be applied. So panics
//! are caught here, and the policy's answers are checked against a record of which blocks
//! are listed. A policy that fails is replaced by least recently released first.

use crate::SequenceHash;
use crate::policy::eviction_policy::{EvictionPolicy, InactiveBlock};
use crate::retention::Priority;
use crate::user_code::contain;

use super::lru::Lru;
use crate::policy::containers::bands::Bands;
use crate::policy::containers::ensure;
use crate::policy::priorities::retained::Retained;
use crate::policy::slot_policy::{First, PlainPolicy, PrioritizedPolicy, SlotPolicy};

/// See the module documentation.
pub(crate) struct Custom {
    order: CustomOrder,
    /// The priorities of the listed blocks; `None` for blocks that are not listed.
    listed: Box<[Option<Priority>]>,
    len: usize,
    /// For the fallback.
    bands: Option<Bands>,
}

enum CustomOrder {
    Users(Box<dyn EvictionPolicy>),
    /// Replaces the user's policy once that has failed.
    Fallback(Box<Retained<Lru>>),
}

impl Custom {
    pub(crate) fn new(policy: Box<dyn EvictionPolicy>, block_count: usize) -> Self {
        Self {
            order: CustomOrder::Users(policy),
            listed: vec![None; block_count].into_boxed_slice(),
            len: 0,
            bands: None,
        }
    }

    /// Asks the user's policy or, once that has failed, the fallback.
    fn ask<R>(
        &mut self,
        users: impl FnOnce(&mut dyn EvictionPolicy) -> R,
        fallback: impl FnOnce(&mut Retained<Lru>) -> R,
    ) -> Result<R, String> {
        match &mut self.order {
            CustomOrder::Users(policy) => {
                let answer = contain("an eviction policy panicked", || users(&mut **policy));
                answer.ok_or_else(|| "it panicked".to_owned())
            }
            CustomOrder::Fallback(lru) => Ok(fallback(lru)),
        }
    }

    /// Continues without the user's policy. The listed blocks, with their priorities, are
    /// put in the order of their slots.
    #[cold]
    fn give_up(&mut self, why: &str) -> &mut Retained<Lru> {
        // The plane is held, so a panic of a tracing subscriber must not unwind either.
        contain("a subscriber panicked", || {
            tracing::error!(
                why,
                "an eviction policy failed: from now on, the least recently released block is evicted"
            );
        });
        let slots = self.listed.len();
        let bands = self.bands.take().unwrap_or_else(|| Bands::new(slots));
        let mut lru = Retained::new(Lru::new(slots), bands);
        for (slot, listed) in (0..).zip(&self.listed) {
            if let Some(priority) = *listed {
                lru.insert(slot, SequenceHash::default(), 0);
                lru.set_priority(slot, priority);
            }
        }
        let failed = std::mem::replace(&mut self.order, CustomOrder::Fallback(Box::new(lru)));
        contain("an eviction policy panicked when it was dropped", || {
            drop(failed);
        });
        match &mut self.order {
            CustomOrder::Fallback(lru) => lru,
            CustomOrder::Users(_) => unreachable!("just replaced"),
        }
    }

    /// Records that an unlisted slot is now listed.
    fn record_listed(&mut self, slot: u32) {
        self.listed[slot as usize] = Some(Priority::DEFAULT);
        self.len += 1;
    }

    /// Records that a listed slot has been taken out.
    fn record_taken_out(&mut self, slot: u32) {
        self.listed[slot as usize] = None;
        self.len -= 1;
    }

    /// Returns the victim that the policy's answer names, or what is wrong with the answer.
    fn judge(&self, answer: Option<usize>) -> Result<Option<u32>, String> {
        match answer {
            None if self.len == 0 => Ok(None),
            None => Err(format!(
                "it returned no victim, although {} blocks are listed",
                self.len
            )),
            Some(block) => match self.listed.get(block) {
                Some(Some(_)) => Ok(Some(block as u32)),
                _ => Err(format!("its victim, block {block}, is not listed")),
            },
        }
    }
}

impl SlotPolicy for Custom {
    fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8) {
        self.remove(slot);
        let block = InactiveBlock {
            block_id: slot as usize,
            seq_hash: hash,
        };
        let inserted = self.ask(
            |policy| policy.insert(block),
            |lru| lru.insert(slot, hash, level),
        );
        if let Err(why) = inserted {
            self.give_up(&why).insert(slot, hash, level);
        }
        self.record_listed(slot);
    }

    fn remove(&mut self, slot: u32) {
        if !self.contains(slot) {
            return;
        }
        let removed = self.ask(
            |policy| policy.remove(slot as usize),
            |lru| lru.remove(slot),
        );
        if let Err(why) = removed {
            self.give_up(&why).remove(slot);
        }
        self.record_taken_out(slot);
    }

    fn pop(&mut self) -> Option<u32> {
        let answer = self.ask(
            |policy| policy.pop(),
            |lru| lru.pop().map(|slot| slot as usize),
        );
        let victim = match answer.and_then(|answer| self.judge(answer)) {
            Ok(victim) => victim,
            Err(why) => self.give_up(&why).pop(),
        };
        if let Some(slot) = victim {
            self.record_taken_out(slot);
        }
        victim
    }

    /// `None` until the user's policy, which does not say, has failed.
    fn first(&mut self) -> Option<First> {
        match &mut self.order {
            CustomOrder::Users(_) => None,
            CustomOrder::Fallback(lru) => lru.first(),
        }
    }

    fn contains(&self, slot: u32) -> bool {
        self.listed[slot as usize].is_some()
    }

    fn len(&self) -> usize {
        self.len
    }

    fn check(&self) -> Result<(), String> {
        let listed = self.listed.iter().flatten().count();
        ensure(listed == self.len, || {
            format!("{listed} listed, counted {}", self.len)
        })?;
        match &self.order {
            CustomOrder::Users(_) => Ok(()),
            CustomOrder::Fallback(lru) => lru.check(),
        }
    }
}

impl PlainPolicy for Custom {
    fn with_priorities(mut self: Box<Self>, bands: Bands) -> Box<dyn PrioritizedPolicy> {
        self.bands = Some(bands);
        self
    }
}

impl PrioritizedPolicy for Custom {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        let Some(recorded) = &mut self.listed[slot as usize] else {
            return;
        };
        *recorded = priority;
        let set = self.ask(
            |policy| policy.set_priority(slot as usize, priority),
            |lru| lru.set_priority(slot, priority),
        );
        if let Err(why) = set {
            self.give_up(&why);
        }
    }

    /// `None` until the user's policy, which does not say, has failed.
    fn first_of_low(&self) -> Option<u32> {
        match &self.order {
            CustomOrder::Users(_) => None,
            CustomOrder::Fallback(lru) => lru.first_of_low(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::any_hash;

    /// Last in, first out, with a fault from a given call on.
    struct Faulty {
        order: Vec<usize>,
        calls: u32,
        fault: (u32, Fault),
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        Panic,
        Nothing,
        Stranger,
        OutOfRange,
    }

    impl Faulty {
        fn is_due(&mut self, fault: Fault) -> bool {
            self.fault.1 == fault && self.calls >= self.fault.0
        }

        fn call(&mut self) {
            self.calls += 1;
            assert!(!self.is_due(Fault::Panic), "on purpose");
        }
    }

    impl EvictionPolicy for Faulty {
        fn insert(&mut self, block: InactiveBlock) {
            self.call();
            self.order.push(block.block_id);
        }

        fn remove(&mut self, block_id: usize) {
            self.call();
            self.order.retain(|&other| other != block_id);
        }

        fn set_priority(&mut self, _block_id: usize, _priority: Priority) {
            self.call();
        }

        fn pop(&mut self) -> Option<usize> {
            self.call();
            let victim = self.order.pop();
            match () {
                () if self.is_due(Fault::Nothing) => None,
                () if self.is_due(Fault::Stranger) => Some(7),
                () if self.is_due(Fault::OutOfRange) => Some(usize::MAX),
                () => victim,
            }
        }
    }

    fn custom(calls: u32, fault: Fault) -> Custom {
        let policy = Faulty {
            order: Vec::new(),
            calls: 0,
            fault: (calls, fault),
        };
        let mut custom = Custom::new(Box::new(policy), 8);
        for slot in 0..6 {
            custom.insert(slot, any_hash(), 0);
        }
        custom
    }

    fn rest(custom: &mut Custom) -> Vec<u32> {
        custom.check().unwrap();
        std::iter::from_fn(|| custom.pop()).collect()
    }

    #[test]
    fn the_order_is_the_users() {
        let mut custom = custom(0, Fault::None);
        custom.insert(2, any_hash(), 0);
        custom.remove(4);
        custom.remove(7);
        assert_eq!(custom.len(), 5);
        assert_eq!(rest(&mut custom), [2, 5, 3, 1, 0]);
        assert_eq!(custom.len(), 0);
    }

    #[test]
    fn a_fault_loses_no_priority() {
        for fault in [Fault::Panic, Fault::Nothing] {
            // The first call that is neither an insertion nor a priority.
            let mut custom = custom(9, fault);
            custom.set_priority(0, Priority::HIGHEST);
            custom.set_priority(3, Priority::LOWEST);
            assert_eq!(rest(&mut custom), [3, 1, 2, 4, 5, 0]);
        }
    }

    #[test]
    fn the_priority_of_the_call_that_fails_counts() {
        let mut custom = custom(7, Fault::Panic);
        custom.set_priority(4, Priority::LOWEST);
        assert_eq!(rest(&mut custom), [4, 0, 1, 2, 3, 5]);
    }

    #[test]
    fn a_priority_ends_with_the_listing() {
        let mut custom = custom(11, Fault::Panic);
        custom.set_priority(0, Priority::HIGHEST);
        custom.set_priority(1, Priority::HIGHEST);
        custom.insert(0, any_hash(), 0);
        custom.set_priority(1, Priority::DEFAULT);
        assert_eq!(rest(&mut custom), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_fault_loses_no_block() {
        for fault in [
            Fault::Panic,
            Fault::Nothing,
            Fault::Stranger,
            Fault::OutOfRange,
        ] {
            for calls in 0..12 {
                let mut custom = custom(calls, fault);
                let popped = custom.pop().unwrap();
                custom.remove(1);
                custom.insert(7, any_hash(), 0);
                let mut all = rest(&mut custom);
                all.push(popped);
                all.sort_unstable();
                all.dedup();
                let expected: Vec<u32> = [0, 1, 2, 3, 4, 5, 7]
                    .into_iter()
                    .filter(|&slot| slot != 1 || popped == 1)
                    .collect();
                assert_eq!(all, expected, "call {calls}");
                custom.check().unwrap();
            }
        }
    }
}
