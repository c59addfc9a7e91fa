//! The order by example, and against the model.

use super::model::Model;
use super::*;
use crate::policy::containers::bands::Bands;
use crate::policy::lineage::retained::RetainedLeaves;
use crate::policy::slot_policy::SlotPolicy;
use crate::policy::testing::Random;
use crate::retention::Priority;

fn hash(n: u64) -> SequenceHash {
    SequenceHash::new(n, None, 0)
}

fn use_again(leaves: &mut TinyLfuLeaves, slot: u32, content: u64) {
    leaves.unlist(slot);
    leaves.list(slot, hash(content), true);
}

fn pop(leaves: &mut TinyLfuLeaves) -> Option<u32> {
    leaves.check().unwrap();
    let slot = leaves.first()?;
    leaves.unlist(slot);
    Some(slot)
}

#[test]
fn without_a_window_the_least_frequent_goes() {
    let mut leaves = TinyLfuLeaves::with_window(4, 0);
    for (slot, uses) in [(0, 3), (1, 1), (2, 2), (3, 1)] {
        leaves.list(slot, hash(u64::from(slot)), true);
        for _ in 1..uses {
            use_again(&mut leaves, slot, u64::from(slot));
        }
    }
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut leaves)).collect();
    assert_eq!(order, [1, 3, 2, 0]);
}

#[test]
fn all_window_is_least_recently_used() {
    let mut leaves = TinyLfuLeaves::with_window(4, 100);
    for slot in [2, 0, 3, 1] {
        leaves.list(slot, hash(u64::from(slot)), true);
    }
    for _ in 0..5 {
        use_again(&mut leaves, 0, 0);
    }
    use_again(&mut leaves, 3, 3);
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut leaves)).collect();
    assert_eq!(order, [2, 1, 0, 3]);
}

#[test]
fn what_is_new_is_admitted_if_it_was_used_more_often_before() {
    let mut leaves = TinyLfuLeaves::with_window(3, 0);
    leaves.list(0, hash(0), true);
    use_again(&mut leaves, 0, 0);
    leaves.list(1, hash(1), true);
    assert_eq!(pop(&mut leaves), Some(1));
    // Once is not more than twice.
    leaves.list(1, hash(2), true);
    assert_eq!(pop(&mut leaves), Some(1));
    for _ in 0..2 {
        leaves.list(1, hash(3), true);
        leaves.unlist(1);
    }
    leaves.list(2, hash(3), true);
    assert_eq!(pop(&mut leaves), Some(0));
}

#[test]
fn frequencies_fade() {
    let mut leaves = TinyLfuLeaves::with_window(2, 0);
    leaves.list(0, hash(0), true);
    for _ in 0..8 {
        use_again(&mut leaves, 0, 0);
    }
    assert_eq!(leaves.first(), Some(0));
    // Another content is used until the one that was used nine times counts as two.
    for _ in 0..32 {
        leaves.list(1, hash(7), true);
        leaves.unlist(1);
    }
    leaves.list(1, hash(7), true);
    assert_eq!(leaves.first(), Some(0));
}

#[test]
fn what_comes_once_ages_nothing() {
    let mut leaves = TinyLfuLeaves::with_window(2, 0);
    leaves.list(0, hash(0), true);
    use_again(&mut leaves, 0, 0);
    assert_eq!(leaves.first(), Some(0));
    use_again(&mut leaves, 0, 0);
    for n in 0..10_000 {
        leaves.list(1, hash(100 + n), true);
        assert_eq!(pop(&mut leaves), Some(1));
    }
}

#[test]
fn what_was_evicted_and_comes_again_is_new() {
    let leaves = TinyLfuLeaves::with_window(2, 0);
    let mut lineage = Lineage::with_leaves(2, leaves);
    lineage.insert(0, hash(0), 0);
    assert_eq!(lineage.pop(), Some(0));
    lineage.insert(0, hash(0), 0);
    lineage.insert(1, hash(1), 0);
    lineage.remove(1);
    lineage.insert(1, hash(1), 0);
    // Both were used twice, and neither in the main region.
    assert_eq!(lineage.pop(), Some(0));
    lineage.check().unwrap();
}

#[test]
fn a_leaf_with_a_priority_ends_its_chain() {
    let mut leaves = RetainedLeaves::of(TinyLfuLeaves::with_window(6, 50), Bands::new(6));
    for _ in 0..2 {
        leaves.list(0, hash(0), true);
        leaves.unlist(0);
    }
    for slot in 0..6 {
        leaves.list(slot, hash(u64::from(slot)), true);
        if (1..5).contains(&slot) {
            leaves.set_priority(slot, Priority::HIGHEST);
        }
    }
    // The window has room for the last three, so only this one has been compared.
    assert_eq!(leaves.first(), Some(0));
    leaves.check().unwrap();
}

#[test]
fn agrees_with_the_model() {
    for seed in 0..9 {
        let slots = [6, 20, 64][seed as usize % 3];
        let mut random = Random::new(seed);
        let backlog = [1, 5, BACKLOG][seed as usize / 3];
        let mut leaves = TinyLfuLeaves::new(slots as usize);
        leaves.backlog = backlog;
        let mut model = Model::new(slots as usize, backlog);
        let mut shares = std::collections::BTreeSet::new();
        for step in 0..12_000_u64 {
            let slot = random.below(slots) as u32;
            let is_listed = model.blocks[slot as usize].is_some();
            match random.below(8) {
                0..=4 => {
                    // As in a pool: with a victim's slot, or again in its own.
                    let content = random.below(3 * slots).min(random.below(step / 50 + 8));
                    let tag = Tag::of(hash(content));
                    let own = (0..slots as u32).find(|&slot| model.before[slot as usize].0 == tag);
                    let slot = match own {
                        Some(slot) => {
                            leaves.unlist(slot);
                            model.unlist(slot as usize);
                            slot
                        }
                        None if is_listed => {
                            let victim = model.first();
                            assert_eq!(leaves.first(), victim, "step {step}");
                            let Some(victim) = victim else { continue };
                            leaves.unlist(victim);
                            leaves.evicted(victim);
                            model.evict(victim as usize);
                            victim
                        }
                        None => slot,
                    };
                    let leaf = random.below(4) > 0;
                    leaves.list(slot, hash(content), leaf);
                    model.list(slot as usize, tag, leaf);
                }
                5 => {
                    leaves.unlist(slot);
                    model.unlist(slot as usize);
                }
                // It waits elsewhere, or no longer does.
                6 if is_listed && random.below(3) == 0 && !model.leaves[slot as usize] => {
                    let waits = &mut model.waiting[slot as usize];
                    *waits = !*waits;
                    leaves.set_waiting(slot, *waits);
                }
                6 if is_listed && model.waiting[slot as usize] => {}
                6 if is_listed => {
                    let leaf = &mut model.leaves[slot as usize];
                    if *leaf {
                        leaves.demote(slot);
                    } else {
                        leaves.add(slot);
                    }
                    *leaf = !*leaf;
                    model.is_settled = false;
                }
                _ => assert_eq!(leaves.first(), model.first(), "step {step}"),
            }
            assert_eq!(leaves.contains(slot), model.leaves[slot as usize]);
            shares.insert(model.climber.share().to_bits());
            if step % 100 == 0 {
                leaves.check().unwrap();
            }
        }
        assert!(shares.len() > 10, "the window moved {} times", shares.len());
    }
}
