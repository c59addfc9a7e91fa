//! The graph by example, and against the model.

use super::fifo::FifoLeaves;
use super::graph::Lineage;
use super::leaves::Leaves;
use super::lrfu::LrfuLeaves;
use super::model::{LeafOrder, Model};
use super::retained::RetainedLeaves;
use super::tick::TickLeaves;
use crate::SequenceHash;
use crate::policy::adaptive::history::History;
use crate::policy::adaptive::tag::Tag;
use crate::policy::slot_policy::{PrioritizedPolicy, SlotPolicy};
use crate::policy::testing::{Random, raw_hash};
use crate::retention::Priority;

fn hash(current: u64, parent: u64, position: u64) -> SequenceHash {
    SequenceHash::new(current, Some(parent), position)
}

/// A chain whose block at position `p` has the sequence hash `base + p`.
fn chain(base: u64, length: u64) -> Vec<SequenceHash> {
    (0..length)
        .map(|position| hash(base + position, (base + position).wrapping_sub(1), position))
        .collect()
}

/// A lineage that checks itself after each step.
struct Checked<L>(Lineage<L>);

impl<L: Leaves> Checked<RetainedLeaves<L>> {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        self.0.set_priority(slot, priority);
        self.0.check().unwrap();
    }
}

impl<L: Leaves> Checked<L> {
    fn new(block_count: usize) -> Self {
        Self(Lineage::new(block_count))
    }

    fn insert(&mut self, slot: u32, hash: SequenceHash) {
        self.0.insert(slot, hash, 0);
        self.0.check().unwrap();
    }

    fn insert_all(&mut self, slots: impl IntoIterator<Item = u32>, hashes: &[SequenceHash]) {
        for (slot, &hash) in slots.into_iter().zip(hashes) {
            self.insert(slot, hash);
        }
    }

    fn remove(&mut self, slot: u32) {
        self.0.remove(slot);
        self.0.check().unwrap();
    }

    fn pop(&mut self) -> Option<u32> {
        let victim = self.0.pop();
        self.0.check().unwrap();
        victim
    }

    fn drain(&mut self) -> Vec<u32> {
        let order = std::iter::from_fn(|| self.pop()).collect();
        assert_eq!(self.nodes(), 0);
        order
    }

    fn nodes(&self) -> usize {
        self.0.nodes.in_use().count()
    }
}

#[test]
fn a_chain_goes_from_its_end() {
    let chain = chain(10, 4);
    let mut released_from_root = Checked::<TickLeaves>::new(4);
    released_from_root.insert_all(0..4, &chain);
    assert_eq!(released_from_root.drain(), [3, 2, 1, 0]);

    let mut released_from_end = Checked::<TickLeaves>::new(4);
    for slot in (0..4).rev() {
        released_from_end.insert(slot, chain[slot as usize]);
    }
    assert_eq!(released_from_end.drain(), [3, 2, 1, 0]);
}

#[test]
fn two_chains_go_one_by_one_or_in_turns() {
    let (a, b) = (chain(10, 2), chain(20, 2));
    let interleaved = [a[0], b[0], a[1], b[1]];
    let mut tick = Checked::<TickLeaves>::new(4);
    tick.insert_all(0..4, &interleaved);
    assert_eq!(tick.drain(), [2, 0, 3, 1]);
    let mut fifo = Checked::<FifoLeaves>::new(4);
    fifo.insert_all(0..4, &interleaved);
    assert_eq!(fifo.drain(), [2, 3, 0, 1]);
}

#[test]
fn a_fork_keeps_its_parent_until_the_last_branch() {
    let mut lineage = Checked::<TickLeaves>::new(4);
    lineage.insert_all(
        0..4,
        &[hash(1, 0, 0), hash(2, 1, 1), hash(3, 1, 1), hash(4, 1, 1)],
    );
    assert_eq!(lineage.drain(), [1, 2, 3, 0]);
}

#[test]
fn a_block_in_use_still_shields_its_ancestors() {
    let mut lineage = Checked::<TickLeaves>::new(4);
    lineage.insert_all(0..3, &chain(10, 3));
    lineage.insert(3, hash(99, 0, 0));
    lineage.remove(1);
    assert_eq!(lineage.pop(), Some(2));
    assert_eq!(lineage.drain(), [0, 3]);

    // Back before its child has gone, the block takes up its place in between.
    lineage.insert_all(0..3, &chain(10, 3));
    lineage.remove(1);
    lineage.insert(1, chain(10, 3)[1]);
    assert_eq!(lineage.nodes(), 3);
    assert_eq!(lineage.drain(), [2, 1, 0]);
}

/// Known behaviour of the order, rather than a wish: the parent of a ghost
/// that a child made is not known before the ghost's own block is listed.
#[test]
fn a_ghost_made_by_a_child_shields_nobody() {
    let chain = chain(10, 3);
    let mut lineage = Checked::<TickLeaves>::new(3);
    lineage.insert(2, chain[2]);
    lineage.insert(0, chain[0]);
    assert!(lineage.0.leaves.contains(0));
    lineage.insert(1, chain[1]);
    assert!(!lineage.0.leaves.contains(0));
    assert_eq!(lineage.drain(), [2, 1, 0]);
}

#[test]
fn twins_are_both_listed() {
    let twins = [hash(42, 1, 5), hash(42, 2, 5)];
    let mut lineage = Checked::<TickLeaves>::new(4);
    lineage.insert_all(0..2, &twins);
    assert_eq!(lineage.drain(), [0, 1]);

    // A child belongs to either, so it shields both; each shields its parent.
    lineage.insert_all(0..2, &twins);
    lineage.insert_all(2..4, &[hash(43, 42, 6), hash(2, 0, 4)]);
    assert_eq!(lineage.pop(), Some(2));
    assert_eq!(lineage.drain(), [0, 1, 3]);
}

#[test]
fn a_twin_takes_over() {
    let mut lineage = Checked::<FifoLeaves>::new(4);
    lineage.insert_all(
        0..4,
        &[
            hash(42, 1, 5),
            hash(42, 2, 5),
            hash(43, 42, 6),
            hash(1, 0, 4),
        ],
    );
    lineage.remove(0);
    // Nothing of the first twin is left to shield its parent.
    assert_eq!(lineage.pop(), Some(2));
    assert_eq!(lineage.drain(), [3, 1]);
}

#[test]
fn the_ghost_of_one_twin_serves_the_other() {
    let mut lineage = Checked::<FifoLeaves>::new(5);
    lineage.insert_all(
        0..4,
        &[
            hash(1, 0, 4),
            hash(2, 0, 4),
            hash(42, 1, 5),
            hash(43, 42, 6),
        ],
    );
    lineage.remove(2);
    lineage.insert(4, hash(42, 2, 5));
    assert_eq!(lineage.drain(), [3, 0, 4, 1]);
}

#[test]
fn the_same_hash_in_two_slots_is_a_twin() {
    let chain = chain(10, 2);
    let mut lineage = Checked::<TickLeaves>::new(4);
    lineage.insert_all(0..4, &[chain[1], chain[1], chain[0], chain[0]]);
    assert_eq!(lineage.drain(), [0, 1, 2, 3]);
}

#[test]
fn a_slot_can_come_back_with_other_content() {
    let mut lineage = Checked::<TickLeaves>::new(3);
    lineage.insert_all(0..2, &chain(10, 2));
    lineage.insert(1, hash(99, 98, 7));
    assert_eq!(lineage.0.len(), 2);
    assert_eq!(lineage.drain(), [0, 1]);
}

#[test]
fn undefined_modes_are_leaves() {
    let odd = raw_hash(u128::MAX);
    let mut lineage = Checked::<TickLeaves>::new(3);
    lineage.insert_all(0..3, &[odd, odd, raw_hash(3 << 126)]);
    assert_eq!(lineage.drain(), [0, 1, 2]);
}

#[test]
fn out_of_order_releases_stay_within_the_reserved_nodes() {
    const SLOTS: usize = 300;
    let mut lineage = Lineage::<TickLeaves>::new(SLOTS);
    let chain = chain(10, SLOTS as u64);
    // Every other block first: each makes a ghost.
    for slot in (0..SLOTS).step_by(2).chain((1..SLOTS).step_by(2)) {
        lineage.insert(slot as u32, chain[slot], 0);
    }
    lineage.check().unwrap();
    while lineage.pop().is_some() {}
    // No two related: a ghost each.
    for slot in 0..SLOTS as u32 {
        lineage.insert(slot, hash(u64::from(slot), u64::from(slot), 9), 0);
    }
    lineage.check().unwrap();
    assert_eq!(lineage.nodes.bound(), 2 * SLOTS);
}

/// Resetting all of a chain but its end frees the slots and leaves the ghosts.
#[test]
fn ghosts_of_reset_blocks_may_outnumber_the_slots() {
    const SLOTS: u32 = 20;
    let mut lineage = Checked::<TickLeaves>::new(SLOTS as usize);
    for end in 0..SLOTS {
        let chain = chain(1000 * u64::from(end), u64::from(SLOTS - end));
        lineage.insert_all(end..SLOTS, &chain);
        for slot in end..SLOTS - 1 {
            lineage.remove(slot);
        }
        // The end of this chain moves to a slot no later chain needs.
        lineage.insert(end, *chain.last().unwrap());
        if end != SLOTS - 1 {
            lineage.remove(SLOTS - 1);
        }
    }
    assert!(lineage.nodes() > 4 * SLOTS as usize);
    assert_eq!(lineage.drain().len(), SLOTS as usize);
}

/// One of a few related hashes: three at each of six positions, with any of
/// the three before as parent if there are to be `twins`, else with always the
/// same.
fn relative(random: &mut Random, twins: bool, first_position: u64) -> SequenceHash {
    let depth = random.below(6);
    let current = random.below(3);
    let parent = if twins {
        random.below(3)
    } else {
        (current * 7 + depth) % 3
    };
    hash(
        10 * depth + 10 + current,
        10 * depth + parent,
        first_position + depth,
    )
}

fn compare<L: Leaves>(order: LeafOrder, seed: u64, twins: bool, first_position: u64) {
    let slots = 4 + seed % 20;
    let mut random = Random::new(seed);
    let mut lineage = Checked::<L>::new(slots as usize);
    let mut model = Model::new(order);
    let mut hashes = vec![SequenceHash::root(0); slots as usize];
    for _ in 0..1_200 {
        let slot = random.below(slots) as u32;
        match random.below(8) {
            0..=3 => {
                let hash = match random.below(50) {
                    0 if twins => raw_hash(u128::MAX - u128::from(random.below(2))),
                    _ => relative(&mut random, twins, first_position),
                };
                // Without twins, a listed hash is not inserted again.
                let listed = |other: u32| model.contains(other) && hashes[other as usize] == hash;
                if !twins && (0..slots as u32).any(listed) {
                    continue;
                }
                hashes[slot as usize] = hash;
                model.insert(slot, hash);
                lineage.insert(slot, hash);
            }
            // Comes into use and is released again, mostly later.
            4 if !model.contains(slot) && twins => {
                model.insert(slot, hashes[slot as usize]);
                lineage.insert(slot, hashes[slot as usize]);
            }
            4..=5 => {
                model.remove(slot);
                lineage.remove(slot);
            }
            _ => {
                let victim = model.pop();
                assert_eq!(lineage.pop(), victim);
                if let Some(victim) = victim {
                    assert!(!model.has_listed_child(victim, hashes[victim as usize]));
                }
            }
        }
        assert_eq!(lineage.0.len(), model.len());
        assert_eq!(lineage.0.contains(slot), model.contains(slot));
    }
    while let Some(victim) = model.pop() {
        assert_eq!(lineage.pop(), Some(victim));
    }
    assert!(lineage.drain().is_empty());
}

#[test]
fn agrees_with_the_model() {
    for seed in 0..12 {
        for (twins, first_position) in [(false, 0), (true, 0), (true, 252), (true, 65_532)] {
            compare::<TickLeaves>(LeafOrder::Tick, seed, twins, first_position);
            compare::<FifoLeaves>(LeafOrder::Fifo, seed, twins, first_position);
        }
    }
}

/// Which blocks are leaves is the model's affair; which of them goes, the places'.
#[test]
fn the_leaf_of_least_worth_goes() {
    const HALF_LIFE: u32 = 30;
    for seed in 0..20 {
        let slots = 4 + seed % 20;
        let mut random = Random::new(seed);
        let leaves = LrfuLeaves::with_half_life(slots as usize, HALF_LIFE);
        let mut lineage = Checked(Lineage::with_leaves(slots as usize, leaves));
        let mut model = Model::new(LeafOrder::Tick);
        let mut history = History::new(1_000, f64::from(HALF_LIFE));
        let mut places = vec![0.0; slots as usize];
        for _ in 0..1_200 {
            let slot = random.below(slots) as u32;
            match random.below(8) {
                0..=3 => {
                    let hash = relative(&mut random, true, 0);
                    places[slot as usize] = history.count(Tag::of(hash));
                    model.insert(slot, hash);
                    lineage.insert(slot, hash);
                }
                4..=5 => {
                    model.remove(slot);
                    lineage.remove(slot);
                }
                _ => {
                    let place = |slot: &u32| places[*slot as usize];
                    let victim = (model.leaves().iter().copied())
                        .min_by(|a, b| place(a).total_cmp(&place(b)));
                    assert_eq!(lineage.pop(), victim);
                    victim.into_iter().for_each(|victim| model.remove(victim));
                }
            }
        }
    }
}

fn priority(priority: u8) -> Priority {
    Priority::new(priority).unwrap()
}

#[test]
fn a_leaf_of_high_priority_keeps_its_ancestors() {
    let mut lineage = Checked::<RetainedLeaves<TickLeaves>>::new(6);
    lineage.insert_all(0..3, &chain(10, 3));
    lineage.insert_all(3..6, &chain(20, 3));
    lineage.set_priority(2, priority(80));
    // Waits for its children.
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

/// Among leaves in order of becoming one, a leaf whose priority has ended is the newest.
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
    // It has that priority.
    lineage.set_priority(1, priority(10));
    lineage.set_priority(3, priority(80));
    assert_eq!(lineage.drain(), [1, 0, 4, 3, 2]);
}

/// What has been said of a block, and when.
#[derive(Clone, Copy)]
struct Said {
    priority: Priority,
    changed: u64,
    released: u64,
}

/// Which blocks are leaves is the model's affair; which of them goes, the priorities', and
/// of those with the default the order's. Those with another go by release or change of
/// the priority, whichever was later.
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
    // The leaves with the default priority, in order of becoming one.
    let mut defaults: Vec<u32> = Vec::new();
    for step in 1..1_200 {
        let slot = random.below(slots) as u32;
        // The pool fills, and is emptied.
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

/// Blocks that leave no trace: listed and taken out together, in any order, they
/// change nothing that comes after.
#[test]
fn what_leaves_no_trace_leaves_none() {
    let mut tried = 0;
    for seed in 0..40 {
        let slots = 4 + seed % 20;
        let mut random = Random::new(seed);
        let mut visited = Checked::<TickLeaves>::new(slots as usize);
        let mut model = Model::new(LeafOrder::Tick);
        let mut hashes: Vec<SequenceHash> =
            (0..slots).map(|slot| hash(900 + slot, 800, 7)).collect();
        for _ in 0..600 {
            let slot = random.below(slots) as u32;
            match random.below(6) {
                0..=2 => {
                    let hash = relative(&mut random, false, 0);
                    if hashes.contains(&hash) && hashes[slot as usize] != hash {
                        continue;
                    }
                    hashes[slot as usize] = hash;
                    model.insert(slot, hash);
                    visited.insert(slot, hash);
                }
                3 => {
                    model.remove(slot);
                    visited.remove(slot);
                }
                4 => assert_eq!(visited.pop(), model.pop()),
                _ => {
                    let first = random.below(slots) as u32;
                    let mut guests: Vec<u32> = (first..slots as u32).chain(0..first).collect();
                    guests.retain(|&slot| visited.0.leaves_no_trace(slot, hashes[slot as usize]));
                    tried += guests.len();
                    for &slot in &guests {
                        visited.insert(slot, hashes[slot as usize]);
                    }
                    if random.below(2) == 0 {
                        guests.reverse();
                    }
                    for slot in guests {
                        visited.remove(slot);
                    }
                }
            }
        }
        while let Some(victim) = model.pop() {
            assert_eq!(visited.pop(), Some(victim));
        }
        assert!(visited.drain().is_empty());
    }
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn a_ghost_made_by_a_child_would_keep_a_trace() {
    let chain = chain(10, 3);
    let mut lineage = Checked::<TickLeaves>::new(4);
    let traceless = |lineage: &Checked<TickLeaves>, slot: u32| {
        lineage.0.leaves_no_trace(slot, chain[slot as usize])
    };
    assert!((0..3).all(|slot| traceless(&lineage, slot)));
    lineage.insert(2, chain[2]);
    assert!(traceless(&lineage, 0));
    assert!(!traceless(&lineage, 1));
    assert!(!traceless(&lineage, 2));
    lineage.insert(1, chain[1]);
    lineage.remove(1);
    assert!(traceless(&lineage, 1));
    // The root has no parent to be linked to.
    assert!(traceless(&lineage, 0));
}
