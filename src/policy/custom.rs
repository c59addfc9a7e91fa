//! A user's own order, and what becomes of the blocks if it fails.
//!
//! The user's code is called with the plane held, in the middle of a drain: a panic
//! that went on from there would lose the notes still to come. So panics are caught
//! here, and answers are checked against a record of which blocks are listed.

use crate::SequenceHash;
use crate::eviction::{EvictionPolicy, InactiveBlock};
use crate::retention::Priority;
use crate::user_code::contain;

use super::lru::Lru;
use super::retained::Retained;
use super::{SlotPolicy, ensure};

/// See the module documentation.
pub(crate) struct Custom {
    order: Order,
    listed: Box<[bool]>,
    len: usize,
}

enum Order {
    Users(Box<dyn EvictionPolicy>),
    /// The user's has failed.
    Fallback(Retained<Lru>),
}

impl Custom {
    pub(crate) fn new(policy: Box<dyn EvictionPolicy>, block_count: usize) -> Self {
        Self {
            order: Order::Users(policy),
            listed: vec![false; block_count].into_boxed_slice(),
            len: 0,
        }
    }

    /// Asks the user's policy, or else the other one.
    fn ask<R>(
        &mut self,
        users: impl FnOnce(&mut dyn EvictionPolicy) -> R,
        fallback: impl FnOnce(&mut Retained<Lru>) -> R,
    ) -> Result<R, String> {
        match &mut self.order {
            Order::Users(policy) => {
                let answer = contain("an eviction policy panicked", || users(&mut **policy));
                answer.ok_or_else(|| "it panicked".to_owned())
            }
            Order::Fallback(lru) => Ok(fallback(lru)),
        }
    }

    /// Goes on without the user's policy: what is listed in the order of the slots.
    #[cold]
    fn give_up(&mut self, why: &str) -> &mut Retained<Lru> {
        // With the plane held: a subscriber's panic must not go on either.
        contain("a subscriber panicked", || {
            tracing::error!(
                why,
                "an eviction policy failed: blocks go by last release now"
            );
        });
        let mut lru = Retained::new(Lru::new(self.listed.len()));
        for (slot, _) in self.listed.iter().enumerate().filter(|&(_, &is)| is) {
            lru.insert(slot as u32, SequenceHash::default(), 0);
        }
        let failed = std::mem::replace(&mut self.order, Order::Fallback(lru));
        drop_order(failed);
        match &mut self.order {
            Order::Fallback(lru) => lru,
            Order::Users(_) => unreachable!("just replaced"),
        }
    }

    /// Notes whether a slot is listed.
    fn set(&mut self, slot: u32, is_listed: bool) {
        self.listed[slot as usize] = is_listed;
        if is_listed {
            self.len += 1;
        } else {
            self.len -= 1;
        }
    }

    /// The victim, if that is what the policy's answer means.
    fn judge(&self, answer: Option<usize>) -> Result<Option<u32>, String> {
        match answer {
            None if self.len == 0 => Ok(None),
            None => Err(format!("it had no victim, with {} blocks", self.len)),
            Some(block) if self.listed.get(block) == Some(&true) => Ok(Some(block as u32)),
            Some(block) => Err(format!("its victim, block {block}, was not in the order")),
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
        self.set(slot, true);
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
        self.set(slot, false);
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
            self.set(slot, false);
        }
        victim
    }

    fn with_priorities(self: Box<Self>) -> Box<dyn SlotPolicy> {
        self
    }

    fn set_priority(&mut self, slot: u32, priority: Priority) {
        if !self.contains(slot) {
            return;
        }
        let set = self.ask(
            |policy| policy.set_priority(slot as usize, priority),
            |lru| lru.set_priority(slot, priority),
        );
        if let Err(why) = set {
            self.give_up(&why).set_priority(slot, priority);
        }
    }

    fn contains(&self, slot: u32) -> bool {
        self.listed[slot as usize]
    }

    fn len(&self) -> usize {
        self.len
    }

    /// Yes: it is for the policy to say whether that matters.
    fn observes_resurrection(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        let listed = self.listed.iter().filter(|&&is| is).count();
        ensure(listed == self.len, || {
            format!("{listed} listed, counted {}", self.len)
        })?;
        match &self.order {
            Order::Users(_) => Ok(()),
            Order::Fallback(lru) => lru.check(),
        }
    }
}

/// Drops an order: the user's with the user's code.
fn drop_order(order: Order) {
    contain("an eviction policy panicked when it was dropped", || {
        drop(order);
    });
}

impl Drop for Custom {
    fn drop(&mut self) {
        let nothing = Order::Fallback(Retained::new(Lru::new(0)));
        drop_order(std::mem::replace(&mut self.order, nothing));
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use super::super::testing::any_hash;
    use super::*;

    /// Last in, first out, with a fault at the call that is set.
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
