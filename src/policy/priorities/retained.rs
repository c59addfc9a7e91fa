//! Priorities in front of an order that has no graph.
//!
//! All blocks wait in [bands](crate::policy::containers::bands): those with a priority in the band
//! of that, in the order in which they got it; those with the default priority in a band of their
//! level, in the order of their releases. A block whose priority ends returns to the place that its
//! release gave it, so no block is ever looked at and set aside.
//!
//! # What becomes of the order that there was before?
//!
//! The blocks that are listed when the first directive is given are *moved* to the bands, in their
//! order: [two](MOVED_AT_ONCE) whenever a block is listed, taken out or given a priority. Until
//! then they keep their places in the old order. A block of them that is given a priority waits in
//! the band of that at once; when its turn comes, only its place is noted.
//!
//! No victim is ever looked for in the old order, because it is certain to come after those that
//! were moved: each operation moves two blocks, and takes at most one away from those that have the
//! default priority, so of the blocks that were moved there are always some left until all are
//! moved.

use crate::SequenceHash;
use crate::policy::containers::bands::{Band, Bands};
use crate::policy::containers::ensure;
use crate::policy::slot_policy::{First, PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;

/// The number of blocks that each operation moves from the old order to the bands.
const MOVED_AT_ONCE: u32 = 2;

/// An order with priorities. Its levels are 0 to 3.
pub(crate) struct Retained<P> {
    bands: Bands,
    /// The order of the blocks that have not been moved yet.
    before: P,
    has_moved_all: bool,
    /// The numbers of blocks that were moved and released so far, which are the numbers of their places
    /// in their bands.
    were_moved: u64,
    were_released: u64,
}

fn band_of_moved(level: u8) -> Band {
    Band::of_default(2 * level)
}

fn band_of_released(level: u8) -> Band {
    Band::of_default(1 + 2 * level)
}

/// Returns the level of the blocks in a band: 0 if these have another priority than the default.
fn level_of(band: Band) -> u8 {
    let number = band.number_of_default().unwrap_or(0);
    number / 2
}

impl<P: SlotPolicy> Retained<P> {
    /// Wraps an order. The bands are empty.
    pub(crate) fn new(before: P, bands: Bands) -> Self {
        Self {
            bands,
            before,
            has_moved_all: false,
            were_moved: 0,
            were_released: 0,
        }
    }

    fn move_some(&mut self) {
        for _ in 0..MOVED_AT_ONCE {
            if !self.move_one() {
                return;
            }
        }
    }

    /// Moves the next block of the old order to the bands. Returns whether there was one.
    fn move_one(&mut self) -> bool {
        if self.has_moved_all {
            return false;
        }
        let level = self.before.next_level();
        let Some(slot) = self.before.pop() else {
            self.has_moved_all = true;
            return false;
        };
        self.were_moved += 1;
        self.bands
            .set_place(slot, band_of_moved(level), self.were_moved);
        if self.bands.band(slot).is_none() {
            self.bands.enter(slot);
        }
        true
    }

    /// Returns the next victim, and moves blocks until it is in the bands.
    ///
    /// That is one block at most, and only before the first operation: afterwards, there are
    /// blocks with the default priority among those that were moved, unless all were.
    fn next(&mut self) -> Option<(Band, u32)> {
        loop {
            match self.bands.first() {
                Some((band, slot)) if !band.is_high() => return Some((band, slot)),
                first => {
                    if !self.move_one() {
                        return first;
                    }
                }
            }
        }
    }

    /// Returns whether a block still has its place in the old order.
    fn is_to_be_moved(&self, slot: u32) -> bool {
        !self.has_moved_all && self.before.contains(slot)
    }

    fn take_out(&mut self, slot: u32) {
        self.bands.leave(slot);
        if !self.has_moved_all {
            self.before.remove(slot);
        }
    }

    fn priority(&self, slot: u32) -> Priority {
        self.bands
            .band(slot)
            .map_or(Priority::DEFAULT, Band::priority)
    }
}

impl<P: SlotPolicy + 'static> SlotPolicy for Retained<P> {
    fn insert(&mut self, slot: u32, _hash: SequenceHash, level: u8) {
        self.move_some();
        self.take_out(slot);
        self.were_released += 1;
        self.bands
            .set_place(slot, band_of_released(level), self.were_released);
        self.bands.enter(slot);
    }

    fn remove(&mut self, slot: u32) {
        self.move_some();
        self.take_out(slot);
    }

    fn pop(&mut self) -> Option<u32> {
        self.move_some();
        let (_, victim) = self.next()?;
        self.take_out(victim);
        Some(victim)
    }

    fn first(&mut self) -> Option<First> {
        let (band, slot) = self.next()?;
        Some(First::of(slot, band.priority(), level_of(band)))
    }

    fn contains(&self, slot: u32) -> bool {
        self.bands.band(slot).is_some() || self.is_to_be_moved(slot)
    }

    fn len(&self) -> usize {
        let slots = 0..self.bands.slots();
        slots.filter(|&slot| self.contains(slot)).count()
    }

    fn needs_all_updates(&self) -> bool {
        self.before.needs_all_updates()
    }

    fn check(&self) -> Result<(), String> {
        self.before.check()?;
        self.bands.check()?;
        for (band, slot) in self.bands.waiting() {
            let has_priority = band.priority() != Priority::DEFAULT;
            ensure(has_priority || !self.is_to_be_moved(slot), || {
                format!("slot {slot} waits in {band:?}, but has not been moved")
            })?;
            ensure(has_priority || self.bands.place(slot) == Some(band), || {
                format!("slot {slot} waits in {band:?}, but has its place elsewhere")
            })?;
        }
        let left = self.before.len();
        ensure(!self.has_moved_all || left == 0, || {
            format!("all blocks have been moved, but {left} are left")
        })
    }
}

impl<P: SlotPolicy + 'static> PrioritizedPolicy for Retained<P> {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        self.move_some();
        if !self.contains(slot) || priority == self.priority(slot) {
            return;
        }
        self.bands.leave(slot);
        if priority != Priority::DEFAULT {
            self.bands.append(slot, Band::of(priority));
        } else if !self.is_to_be_moved(slot) {
            self.bands.enter(slot);
        }
    }

    fn first_of_low(&self) -> Option<u32> {
        let (band, slot) = self.bands.first()?;
        band.is_low().then_some(slot)
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
        let mut policy = Retained::new(Lru::new(slots as usize), Bands::new(slots as usize));
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
        // After another victim was taken instead.
        policy.set_priority(0, Priority::DEFAULT);
        assert_eq!(drain(&mut policy), [0, 3, 2]);
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
    fn among_those_of_high_priority_the_last_change_decides() {
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
    fn a_priority_that_ends_does_not_jump_the_levels() {
        let mut policy = Retained::new(MultiLru::new(7), Bands::new(7));
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

    /// An order that counts how many blocks are taken from it.
    struct Counted<P> {
        order: P,
        taken: u32,
    }

    impl<P: SlotPolicy> SlotPolicy for Counted<P> {
        fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8) {
            self.order.insert(slot, hash, level);
        }

        fn remove(&mut self, slot: u32) {
            self.order.remove(slot);
        }

        fn pop(&mut self) -> Option<u32> {
            self.taken += 1;
            self.order.pop()
        }

        fn first(&mut self) -> Option<First> {
            self.order.first()
        }

        fn next_level(&self) -> u8 {
            self.order.next_level()
        }

        fn contains(&self, slot: u32) -> bool {
            self.order.contains(slot)
        }

        fn len(&self) -> usize {
            self.order.len()
        }

        fn check(&self) -> Result<(), String> {
            self.order.check()
        }
    }

    #[derive(Clone, Copy)]
    struct Listed {
        slot: u32,
        level: u8,
        priority: Priority,
        /// The steps of the last release and of the last change of priority.
        released: i64,
        changed: i64,
    }

    /// States the rule: blocks go by priority. Those with the default priority go by level
    /// and release; others of the same priority go by release or change of priority,
    /// whichever was later.
    struct Rule {
        listed: Vec<Listed>,
        /// The numbers of victims of low priority, of those whose priority was always the
        /// default, of those that had another, and of those of high priority.
        victims: [u32; 4],
    }

    impl Rule {
        fn release(&mut self, slot: u32, level: u8, released: i64) {
            self.remove(slot);
            self.listed.push(Listed {
                slot,
                level,
                priority: Priority::DEFAULT,
                released,
                changed: 0,
            });
        }

        fn remove(&mut self, slot: u32) {
            self.listed.retain(|listed| listed.slot != slot);
        }

        fn contains(&self, slot: u32) -> bool {
            self.listed.iter().any(|listed| listed.slot == slot)
        }

        fn change(&mut self, slot: u32, priority: Priority, changed: i64) {
            let mut listed = self.listed.iter_mut();
            if let Some(listed) = listed.find(|listed| listed.slot == slot)
                && listed.priority != priority
            {
                listed.priority = priority;
                listed.changed = changed;
            }
        }

        fn pop(&mut self) -> Option<u32> {
            let first = self.listed.iter().copied().min_by_key(|listed| {
                let place = match listed.priority {
                    Priority::DEFAULT => (listed.level, listed.released),
                    _ => (0, listed.released.max(listed.changed)),
                };
                (listed.priority, place)
            })?;
            self.remove(first.slot);
            let kind = match first.priority {
                Priority::DEFAULT => 1 + usize::from(first.changed > 0),
                other => 3 * usize::from(other > Priority::DEFAULT),
            };
            self.victims[kind] += 1;
            Some(first.slot)
        }
    }

    /// Compares with the rule, from before the first directive on. No operation takes more than
    /// two blocks from the order that there was before.
    fn agrees<P: SlotPolicy + 'static>(mut order: P, shape: Shape, seed: u64) -> [u32; 4] {
        let Shape {
            levels,
            slots,
            steps,
        } = shape;
        let mut random = Random::new(seed);
        let mut rule = Rule {
            listed: Vec::new(),
            victims: [0; 4],
        };
        for step in 0..random.below(3 * slots) as i64 {
            let (slot, level) = (random.below(slots) as u32, random.below(levels) as u8);
            rule.release(slot, level, step - 1_000);
            order.insert(slot, any_hash(), level);
        }
        let order = Counted { order, taken: 0 };
        let mut policy = Retained::new(order, Bands::new(slots as usize));
        for step in 1..steps {
            let slot = random.below(slots) as u32;
            // The pool fills, and is then emptied.
            let choices = if step / 100 % 4 < 3 { 17 } else { 48 };
            policy.before.taken = 0;
            match random.below(choices) {
                0..=5 => {
                    let level = random.below(levels) as u8;
                    rule.release(slot, level, step);
                    policy.insert(slot, any_hash(), level);
                }
                6..=7 => {
                    rule.remove(slot);
                    policy.remove(slot);
                }
                8..=15 => {
                    let new = priority([0, 10, 35, 35, 60, 100][random.below(6) as usize]);
                    rule.change(slot, new, step);
                    policy.set_priority(slot, new);
                }
                _ => assert_eq!(policy.pop(), rule.pop(), "seed {seed}, step {step}"),
            }
            assert!(policy.before.taken <= MOVED_AT_ONCE, "step {step}");
            policy.check().unwrap();
            assert_eq!(policy.len(), rule.listed.len());
            assert_eq!(policy.contains(slot), rule.contains(slot));
        }
        rule.victims
    }

    #[derive(Clone, Copy)]
    struct Shape {
        levels: u64,
        slots: u64,
        steps: i64,
    }

    #[test]
    fn agrees_with_the_rule() {
        let mut victims = [0; 4];
        let mut compare = |slots: u64, steps: i64, seed: u64| {
            let shape = |levels| Shape {
                levels,
                slots,
                steps,
            };
            let of_lru = agrees(Lru::new(slots as usize), shape(1), seed);
            let of_multi_lru = agrees(MultiLru::new(slots as usize), shape(4), seed);
            for (at, all) in victims.iter_mut().enumerate() {
                *all += of_lru[at] + of_multi_lru[at];
            }
        };
        for (seed, slots) in [(7, 3), (8, 12), (9, 40)] {
            compare(slots, 20_000, seed);
        }
        // The order that there was before is moved meanwhile.
        for seed in 0..300 {
            compare(4 + seed % 90, 120, seed);
        }
        assert!(victims.iter().all(|&count| count > 400), "{victims:?}");
    }

    /// However many blocks there are in front that have a priority, whenever they got it.
    #[test]
    fn a_victim_behind_many_retained_ones_takes_two_moves() {
        const SLOTS: u32 = 4_096;
        let mut order = Lru::new(SLOTS as usize);
        for slot in 0..SLOTS {
            order.insert(slot, any_hash(), 0);
        }
        let order = Counted { order, taken: 0 };
        let mut policy = Retained::new(order, Bands::new(SLOTS as usize));
        // From the back, so that the blocks have not been moved when they get a priority.
        for slot in (0..SLOTS - 1).rev() {
            policy.before.taken = 0;
            policy.set_priority(slot, Priority::HIGHEST);
            assert!(policy.before.taken <= MOVED_AT_ONCE);
        }
        policy.before.taken = 0;
        assert_eq!(policy.pop(), Some(SLOTS - 1));
        assert!(policy.before.taken <= MOVED_AT_ONCE);
        policy.check().unwrap();
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
