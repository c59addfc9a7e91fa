//! Leaves with priorities.

use super::{Checked, chain, hash, relative};
use crate::policy::lineage::fifo::FifoLeaves;
use crate::policy::lineage::leaves::Leaves;
use crate::policy::lineage::model::{LeafOrder, Model};
use crate::policy::lineage::retained::RetainedLeaves;
use crate::policy::lineage::tick::TickLeaves;
use crate::policy::testing::Random;
use crate::retention::Priority;

fn priority(priority: u8) -> Priority {
    Priority::new(priority).unwrap()
}

#[test]
fn a_leaf_of_high_priority_keeps_its_ancestors() {
    let mut lineage = Checked::<RetainedLeaves<TickLeaves>>::new(6);
    lineage.insert_all(0..3, &chain(10, 3));
    lineage.insert_all(3..6, &chain(20, 3));
    lineage.set_priority(2, priority(80));
    // It waits for its children.
    lineage.set_priority(3, priority(0));
    assert_eq!(lineage.drain(), [5, 4, 3, 2, 1, 0]);
}

#[test]
fn a_priority_that_ends_leaves_the_place_of_the_release() {
    let roots: Vec<_> = (0..4).map(|n| hash(n, 0, 0)).collect();
    let mut lineage = Checked::<RetainedLeaves<TickLeaves>>::new(4);
    lineage.insert_all(0..4, &roots);
    for (slot, of) in [(0, 0), (1, 90), (2, 10), (3, 5)] {
        lineage.set_priority(slot, priority(of));
    }
    for slot in [0, 1, 2] {
        lineage.set_priority(slot, Priority::DEFAULT);
    }
    assert_eq!(lineage.drain(), [3, 0, 1, 2]);
}

/// In an order of becoming a leaf, a leaf whose priority has ended is the newest.
#[test]
fn a_priority_that_ends_makes_a_new_leaf() {
    let roots: Vec<_> = (0..4).map(|n| hash(n, 0, 0)).collect();
    let mut lineage = Checked::<RetainedLeaves<FifoLeaves>>::new(4);
    lineage.insert_all(0..4, &roots);
    for (slot, of) in [(0, 0), (1, 90), (2, 10), (3, 5)] {
        lineage.set_priority(slot, priority(of));
    }
    for slot in [2, 0, 1] {
        lineage.set_priority(slot, Priority::DEFAULT);
    }
    assert_eq!(lineage.drain(), [3, 2, 0, 1]);
}

#[test]
fn a_priority_that_is_no_other_changes_no_place() {
    let roots: Vec<_> = (0..3).map(|n| hash(n, 0, 0)).collect();
    let mut lineage = Checked::<RetainedLeaves<FifoLeaves>>::new(3);
    lineage.insert_all(0..3, &roots);
    lineage.set_priority(0, Priority::DEFAULT);
    assert_eq!(lineage.pop(), Some(0));
    for slot in [2, 1, 2] {
        lineage.set_priority(slot, priority(80));
    }
    assert_eq!(lineage.drain(), [2, 1]);
}

#[test]
fn among_equals_the_last_release_or_change_decides() {
    let roots: Vec<_> = (0..5).map(|n| hash(n, 0, 0)).collect();
    let mut lineage = Checked::<RetainedLeaves<TickLeaves>>::new(5);
    lineage.insert_all(0..5, &roots);
    for (slot, of) in [(0, 5), (1, 10), (2, 50), (3, 80)] {
        lineage.set_priority(slot, priority(of));
    }
    lineage.set_priority(0, priority(10));
    lineage.set_priority(2, priority(80));
    // It has that priority already.
    lineage.set_priority(1, priority(10));
    lineage.set_priority(3, priority(80));
    assert_eq!(lineage.drain(), [1, 0, 4, 3, 2]);
}

/// A block's priority, when that last changed, and when the block was last released.
#[derive(Clone, Copy)]
struct Said {
    priority: Priority,
    changed: u64,
    released: u64,
}

/// The model decides which blocks are leaves, and the priorities decide which leaf goes. Those
/// with the default priority go in the order's order; others of the same priority go by release
/// or change of priority, whichever was later. Returns the number of victims of low, default
/// and high priority.
fn compare_priorities<L: Leaves>(order: LeafOrder, seed: u64) -> [u32; 3] {
    let slots = 4 + seed % 20;
    let mut victims = [0; 3];
    let mut random = Random::new(seed);
    let mut lineage = Checked::<RetainedLeaves<L>>::new(slots as usize);
    let mut model = Model::new(order);
    let nothing = Said {
        priority: Priority::DEFAULT,
        changed: 0,
        released: 0,
    };
    let mut said = vec![nothing; slots as usize];
    // The leaves with the default priority, in the order in which they became leaves.
    let mut defaults: Vec<u32> = Vec::new();
    for step in 1..1_200 {
        let slot = random.below(slots) as u32;
        // The pool fills, and is then emptied.
        match random.below(if step / 100 % 4 < 3 { 16 } else { 48 }) {
            0..=5 => {
                let hash = relative(&mut random, true, 0);
                said[slot as usize] = Said {
                    released: step,
                    ..nothing
                };
                defaults.retain(|&leaf| leaf != slot);
                model.insert(slot, hash);
                lineage.insert(slot, hash);
            }
            6 => {
                model.remove(slot);
                lineage.remove(slot);
            }
            7..=14 => {
                if !model.contains(slot) {
                    continue;
                }
                let new = priority([0, 10, 35, 35, 60, 100][random.below(6) as usize]);
                let said = &mut said[slot as usize];
                if said.priority != new {
                    said.priority = new;
                    said.changed = step;
                }
                lineage.set_priority(slot, new);
            }
            _ => {
                let victim = model.leaves().iter().copied().min_by_key(|&slot| {
                    let said = said[slot as usize];
                    let place = match (said.priority, order) {
                        (Priority::DEFAULT, LeafOrder::Tick) => said.released,
                        (Priority::DEFAULT, LeafOrder::Fifo) => {
                            let place = defaults.iter().position(|&leaf| leaf == slot);
                            place.expect("it is one of them") as u64
                        }
                        _ => said.released.max(said.changed),
                    };
                    (said.priority, place)
                });
                assert_eq!(lineage.pop(), victim, "seed {seed}, step {step}");
                if let Some(victim) = victim {
                    model.remove(victim);
                    let of = said[victim as usize].priority;
                    let side =
                        usize::from(of >= Priority::DEFAULT) + usize::from(of > Priority::DEFAULT);
                    victims[side] += 1;
                }
            }
        }
        let mut leaves = model.leaves().to_vec();
        leaves.retain(|&slot| said[slot as usize].priority == Priority::DEFAULT);
        leaves.sort_by_key(|&slot| said[slot as usize].released);
        defaults.retain(|leaf| leaves.contains(leaf));
        leaves.retain(|leaf| !defaults.contains(leaf));
        defaults.extend(leaves);
    }
    victims
}

#[test]
fn the_leaf_of_least_priority_goes() {
    let mut victims = [[0; 3]; 2];
    for seed in 0..30 {
        let of_seed = [
            compare_priorities::<TickLeaves>(LeafOrder::Tick, seed),
            compare_priorities::<FifoLeaves>(LeafOrder::Fifo, seed),
        ];
        for (all, of_seed) in victims.iter_mut().flatten().zip(of_seed.iter().flatten()) {
            *all += of_seed;
        }
    }
    let mut counts = victims.iter().flatten();
    assert!(counts.all(|&count| count > 100), "{victims:?}");
}
