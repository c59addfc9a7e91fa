//! What is true of every built-in order.

use super::built_in::BuiltInPolicy;
use super::containers::bands::Bands;
use super::slot_policy::{First, PlainPolicy, PrioritizedPolicy, SlotPolicy};
use super::testing::{Numbers, Random, relative};
use crate::SequenceHash;
use crate::retention::Priority;

const SLOTS: u64 = 20;

enum Stage {
    Plain(Box<dyn PlainPolicy>),
    Prioritized(Box<dyn PrioritizedPolicy>),
    Changing,
}

/// An order in either of its stages, which may be told numbers instead of slots.
struct Order {
    stage: Stage,
    numbers: Option<Numbers>,
}

impl Order {
    fn new(policy: BuiltInPolicy, numbers: Option<Numbers>) -> Self {
        Self {
            stage: Stage::Plain(policy.0.build(SLOTS as usize)),
            numbers,
        }
    }

    fn policy(&mut self) -> &mut dyn SlotPolicy {
        match &mut self.stage {
            Stage::Plain(policy) => &mut **policy,
            Stage::Prioritized(policy) => &mut **policy,
            Stage::Changing => unreachable!("only while priorities begin"),
        }
    }

    fn slot(&self, number: u32) -> u32 {
        let numbers = self.numbers.as_ref();
        numbers.map_or(number, |numbers| numbers.slot(number))
    }

    fn number(&self, slot: u32) -> Option<u32> {
        let numbers = self.numbers.as_ref();
        numbers.map_or(Some(slot), |numbers| numbers.of(slot))
    }

    fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8) {
        let numbers = self.numbers.as_mut();
        let number = numbers.map_or(slot, |numbers| numbers.give(slot));
        self.policy().insert(number, hash, level);
    }

    fn remove(&mut self, slot: u32) {
        if let Some(number) = self.number(slot) {
            self.policy().remove(number);
            if let Some(numbers) = &mut self.numbers {
                numbers.take_back(number);
            }
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let number = self.policy().pop()?;
        let numbers = self.numbers.as_mut();
        Some(numbers.map_or(number, |numbers| numbers.take_back(number)))
    }

    fn first(&mut self) -> Option<First> {
        let First { slot, class } = self.policy().first()?;
        let slot = self.slot(slot);
        Some(First { slot, class })
    }

    fn contains(&mut self, slot: u32) -> bool {
        let number = self.number(slot);
        number.is_some_and(|number| self.policy().contains(number))
    }

    fn set_priority(&mut self, slot: u32, priority: Priority) {
        let number = self.number(slot);
        if let (Stage::Prioritized(policy), Some(number)) = (&mut self.stage, number) {
            policy.set_priority(number, priority);
        }
    }

    fn begin_priorities(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Changing) {
            Stage::Plain(policy) => {
                Stage::Prioritized(policy.with_priorities(Bands::new(SLOTS as usize)))
            }
            other => other,
        };
    }
}

/// Runs an order, and looks at its first block now and then. An order that is sharded must not
/// change by that, nor if it is told numbers.
fn run(policy: BuiltInPolicy, prioritized_from: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut order = Order::new(policy, None);
    let mut twins = Vec::new();
    if policy.0.is_sharded() {
        twins = vec![
            Order::new(policy, None),
            Order::new(policy, Some(Numbers::default())),
        ];
    }
    let mut all = |twins: &mut [Order], change: &mut dyn FnMut(&mut Order)| {
        change(&mut order);
        twins.iter_mut().for_each(&mut *change);
    };
    let has_levels = policy.needs_tracker();
    let mut class = vec![0; SLOTS as usize];
    let mut victims = 0;
    for step in 0..2_000 {
        if step == prioritized_from {
            all(&mut twins, &mut Order::begin_priorities);
        }
        let slot = random.below(SLOTS) as u32;
        // Filled and emptied in turns.
        let choices = if step / 200 % 2 == 0 { 16 } else { 28 };
        match random.below(choices) {
            0..=7 => {
                let level = if has_levels { random.below(4) as u8 } else { 0 };
                let hash = relative(&mut random, true, 0);
                class[slot as usize] = 35 * 4 + u16::from(level);
                all(&mut twins, &mut |order| order.insert(slot, hash, level));
            }
            8..=9 => all(&mut twins, &mut |order| order.remove(slot)),
            10..=13 if step > prioritized_from => {
                let (priority, level) = match random.below(6) {
                    0 => (0, 0),
                    1 => (34, 0),
                    2 => (36, 0),
                    3 => (100, 0),
                    // Its level would have to be remembered.
                    _ if has_levels => continue,
                    _ => (35, 0),
                };
                class[slot as usize] = priority * 4 + level;
                let priority = Priority::new(priority as u8).unwrap();
                all(&mut twins, &mut |order| order.set_priority(slot, priority));
            }
            _ => {
                let mut popped = Vec::new();
                // The second order is never looked at.
                let looks = [random.below(3), 0, 2];
                all(&mut twins, &mut |order| {
                    let looks = 0..looks[popped.len()];
                    let firsts: Vec<_> = looks.map(|_| order.first()).collect();
                    let victim = order.pop();
                    for first in firsts {
                        let what = format!("{policy}, seed {seed}, step {step}");
                        assert_eq!(first.map(|first| first.slot), victim, "{what}");
                        if let Some(First { slot, class: of }) = first {
                            assert_eq!(of, class[slot as usize], "{what}");
                        }
                    }
                    popped.push(victim);
                });
                victims += u32::from(popped[0].is_some());
                popped.dedup();
                assert_eq!(popped.len(), 1, "{policy}, seed {seed}, step {step}");
            }
        }
        let mut listed = Vec::new();
        all(&mut twins, &mut |order| {
            order.policy().check().unwrap();
            listed.push((order.contains(slot), order.policy().len()));
        });
        listed.dedup();
        assert_eq!(listed.len(), 1, "{policy}, seed {seed}, step {step}");
    }
    assert!(victims > 200, "{policy}: {victims}");
}

#[test]
fn the_first_block_is_the_next_victim_whatever_slots_are_called() {
    for &policy in BuiltInPolicy::ALL {
        for seed in 0..10 {
            for prioritized_from in [0, 100, u64::MAX] {
                run(policy, prioritized_from, seed);
            }
        }
    }
}
