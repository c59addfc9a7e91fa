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
use crate::policy::slot_policy::{PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;

/// The number of blocks that each operation moves from the old order to the bands.
const MOVED_AT_ONCE: u32 = 2;

/// An order with priorities. Its levels are 0 to 3.
pub(crate) struct Retained<P> {
    bands: Bands,
    /// The order of the blocks that have not been moved yet.
    before: P,
    has_moved_all: bool,
    /// The number of blocks that were put back, moved and released so far: the numbers of their
    /// places in the bands below.
    were_put_back: u64,
    were_moved: u64,
    were_released: u64,
}

/// The band of victims that were handed out ahead of need, which are next.
fn band_of_put_back() -> Band {
    Band::of_default(0)
}

fn band_of_moved(level: u8) -> Band {
    Band::of_default(1 + 2 * level)
}

fn band_of_released(level: u8) -> Band {
    Band::of_default(2 + 2 * level)
}

impl<P: SlotPolicy> Retained<P> {
    /// Wraps an order. The bands are empty.
    pub(crate) fn new(before: P, bands: Bands) -> Self {
        Self {
            bands,
            before,
            has_moved_all: false,
            were_put_back: 0,
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
        let victim = loop {
            match self.bands.first() {
                Some((band, slot)) if !band.is_high() => break slot,
                first => {
                    if !self.move_one() {
                        break first?.1;
                    }
                }
            }
        };
        self.take_out(victim);
        Some(victim)
    }

    fn contains(&self, slot: u32) -> bool {
        self.bands.band(slot).is_some() || self.is_to_be_moved(slot)
    }

    fn len(&self) -> usize {
        let slots = 0..self.bands.slots();
        slots.filter(|&slot| self.contains(slot)).count()
    }

    fn observes_resurrection(&self) -> bool {
        self.before.observes_resurrection()
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

    fn put_back(&mut self, slot: u32, _hash: SequenceHash, _level: u8) {
        if !self.contains(slot) {
            self.were_put_back += 1;
            self.bands
                .set_place(slot, band_of_put_back(), self.were_put_back);
            self.bands.enter(slot);
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
        let mut policy = Retained::new(order, Bands::new(slots as usize));
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
