//! Models of the policy planes: last unpins, pins and drains of one slot.
//!
//! Covers Primary(1) against a match and a drain, Primary(2) whose two holders both take off
//! what they see as a shared pin, a push so late that it falls into the next tenancy, content
//! that is given up concurrently, and directives that are given concurrently. Once all threads
//! are done and the log is drained, a slot is in the order if and only if it is inactive or
//! discarded, under its hash, and is not queued.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::SequenceHash;
use crate::policy::{Bands, First, PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::{Priority, Retention};

use super::{explore, hash, join, key, make_inactive, make_primary, spawn, unpin_shared};
use crate::engine::parts::directives::Directives;
use crate::engine::parts::plane::{Cancelled, Planes, PolicySource};
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;

type Priorities = Arc<Mutex<BTreeMap<u32, Priority>>>;
type Listed = Arc<Mutex<BTreeMap<u32, SequenceHash>>>;

/// A policy whose order can be seen from outside.
struct Glass {
    listed: Listed,
    priorities: Priorities,
    /// What `leaves_no_trace` returns for blocks that are not listed; `None` if resurrections
    /// do not commute.
    traceless: Option<bool>,
}

impl SlotPolicy for Glass {
    fn insert(&mut self, slot: u32, hash: SequenceHash, _: u8) {
        self.priorities
            .lock()
            .unwrap()
            .insert(slot, Priority::DEFAULT);
        self.listed.lock().unwrap().insert(slot, hash);
    }

    fn remove(&mut self, slot: u32) {
        self.listed.lock().unwrap().remove(&slot);
    }

    fn pop(&mut self) -> Option<u32> {
        let first = self.listed.lock().unwrap().pop_first();
        first.map(|(slot, _)| slot)
    }

    fn contains(&self, slot: u32) -> bool {
        self.listed.lock().unwrap().contains_key(&slot)
    }

    fn len(&self) -> usize {
        self.listed.lock().unwrap().len()
    }

    fn resurrections_commute(&self) -> bool {
        self.traceless.is_some()
    }

    fn leaves_no_trace(&self, slot: u32, _: SequenceHash) -> bool {
        self.traceless == Some(true) && !self.contains(slot)
    }

    fn first(&mut self) -> Option<First> {
        let listed = self.listed.lock().unwrap();
        let first = listed.first_key_value();
        first.map(|(&slot, _)| First { slot, class: 0 })
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl PlainPolicy for Glass {
    fn with_priorities(self: Box<Self>, _: Bands) -> Box<dyn PrioritizedPolicy> {
        self
    }
}

impl PrioritizedPolicy for Glass {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        self.priorities.lock().unwrap().insert(slot, priority);
    }

    fn first_of_low(&self) -> Option<u32> {
        None
    }
}

/// Blocks of one shard, with its release log and the plane.
pub(super) struct PlaneBlocks {
    pub(super) slots: Vec<Slot>,
    logs: [ReleaseLog; 1],
    planes: Planes,
    listed: Listed,
    priorities: Priorities,
    directives: Arc<Directives>,
}

impl PlaneBlocks {
    pub(super) fn new(slots: u32) -> Self {
        Self::of(slots, None)
    }

    fn of(slots: u32, traceless: Option<bool>) -> Self {
        let listed = Listed::default();
        let priorities = Priorities::default();
        let directives = Arc::new(Directives::new(slots, 1));
        directives.prepare();
        let glass = Glass {
            listed: Arc::clone(&listed),
            priorities: Arc::clone(&priorities),
            traceless,
        };
        Self {
            slots: (0..slots).map(|id| Slot::new(id, false)).collect(),
            logs: [ReleaseLog::new()],
            planes: Planes::new(
                PolicySource::Single(Box::new(glass)),
                slots as usize,
                1,
                0,
                Arc::clone(&directives),
            ),
            listed,
            priorities,
            directives,
        }
    }

    fn log(&self) -> &ReleaseLog {
        &self.logs[0]
    }

    /// Creates one slot, a primary with one pin.
    fn pinned() -> Self {
        let blocks = Self::new(1);
        make_primary(&blocks.slots[0], key(1, 0));
        blocks
    }

    /// Pins a slot if it is a primary, and queues it if it was inactive, as `Pins` does.
    pub(super) fn pin(&self, slot: &Slot) -> bool {
        let mut seen = slot.word();
        while seen.is_primary() {
            let resurrects = seen.count() == 0;
            if resurrects && seen.is_queued() && self.planes.cancelled() == Cancelled::Marked {
                self.log().mark_cancelled();
            }
            if let Err(now) = slot.pin(seen, resurrects) {
                seen = now;
                continue;
            }
            if resurrects && !seen.is_queued() {
                // SAFETY: this thread has set the mark.
                let _ = unsafe { self.log().push(slot) };
            }
            return true;
        }
        false
    }

    /// Takes a pin off, as `Store::unpin` does.
    pub(super) fn unpin(&self, slot: &Slot) {
        loop {
            let seen = slot.word();
            if seen.count() > 1 {
                if unpin_shared(slot, seen).is_ok() {
                    return;
                }
                continue;
            }
            slot.begin_release(0, 0);
            if slot.unpin_last(seen).is_ok() {
                if !seen.is_queued() {
                    // SAFETY: this thread has set the mark.
                    let _ = unsafe { self.log().push(slot) };
                }
                return;
            }
        }
    }

    /// Drains the log and applies the directives, if no other thread holds the plane.
    fn drain(&self) {
        if let Some(mut plane) = self.planes.try_hold(0, &self.slots, &self.logs) {
            plane.drain();
            plane.apply_directives();
        }
    }

    /// Gives a directive to the block of a slot whose word was `seen`.
    fn give(&self, slot: &Slot, seen: Word, priority: u8) -> bool {
        let priority = Priority::new(priority).unwrap();
        let retention = Retention::new(priority);
        self.directives
            .give(slot, seen.generation(), retention, 0)
            .is_some()
    }

    /// Returns the priority that the order has for a slot, once all threads are done.
    fn priority(&self, slot: u32) -> u8 {
        self.finish();
        self.priorities.lock().unwrap()[&slot].get()
    }

    /// Applies all queued updates, once all threads are done. Returns the slots that are then
    /// in the order.
    pub(super) fn finish(&self) -> BTreeMap<u32, SequenceHash> {
        let mut on_log = vec![0; self.slots.len()];
        self.log()
            .for_each(&self.slots, |slot| on_log[slot.id() as usize] += 1);
        for slot in &self.slots {
            let queued = u32::from(slot.word().is_queued());
            assert_eq!(on_log[slot.id() as usize], queued);
        }
        self.drain();
        assert!(self.slots.iter().all(|slot| !slot.word().is_queued()));
        self.listed.lock().unwrap().clone()
    }

    /// Gives up the content of a block if it is inactive, as `Store::discard` does.
    fn discard(&self, slot: &Slot) {
        let mut seen = slot.word();
        while seen.is_inactive() {
            match slot.discard(seen) {
                Ok(()) => break,
                Err(now) => seen = now,
            }
        }
    }

    /// Checks that the order has exactly the blocks that are inactive or discarded.
    fn assert_exact(&self) {
        let listed = self.finish();
        for slot in &self.slots {
            let expected = slot.word().is_unheld().then(|| slot.hash());
            assert_eq!(listed.get(&slot.id()).copied(), expected);
        }
    }
}

#[test]
fn a_last_unpin_a_pin_and_a_drain() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        let holder = spawn(&blocks, |blocks| blocks.unpin(&blocks.slots[0]));
        let matcher = spawn(&blocks, |blocks| {
            assert!(blocks.pin(&blocks.slots[0]));
            blocks.unpin(&blocks.slots[0]);
        });
        blocks.drain();
        holder.join().unwrap();
        matcher.join().unwrap();
        blocks.assert_exact();
        assert!(blocks.slots[0].word().is_inactive());
    });
}

#[test]
fn a_pin_and_a_drain() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        blocks.unpin(&blocks.slots[0]);
        let matcher = spawn(&blocks, |blocks| {
            assert!(blocks.pin(&blocks.slots[0]));
        });
        blocks.drain();
        matcher.join().unwrap();
        blocks.assert_exact();
        assert_eq!(blocks.slots[0].word().count(), 1);
    });
}

/// A release is cancelled and repeated while it is drained, whether or not the drain finds
/// that it need not be applied.
#[test]
fn a_cancelled_release_and_a_drain() {
    for traceless in [true, false] {
        explore(move || {
            let blocks = PlaneBlocks::of(1, Some(traceless));
            make_primary(&blocks.slots[0], key(1, 0));
            blocks.unpin(&blocks.slots[0]);
            let blocks = Arc::new(blocks);
            let matcher = spawn(&blocks, |blocks| {
                assert!(blocks.pin(&blocks.slots[0]));
                blocks.unpin(&blocks.slots[0]);
            });
            blocks.drain();
            matcher.join().unwrap();
            blocks.assert_exact();
            assert!(blocks.slots[0].word().is_inactive());
        });
    }
}

/// A block whose content is given up is in the order, whenever a drain takes its slot off the
/// log.
#[test]
fn a_discard_and_a_drain() {
    for traceless in [None, Some(true), Some(false)] {
        explore(move || {
            let blocks = PlaneBlocks::of(1, traceless);
            make_primary(&blocks.slots[0], key(1, 0));
            blocks.unpin(&blocks.slots[0]);
            let blocks = Arc::new(blocks);
            let other = spawn(&blocks, |blocks| blocks.discard(&blocks.slots[0]));
            blocks.drain();
            other.join().unwrap();
            assert!(blocks.slots[0].word().is_discarded());
            blocks.assert_exact();
        });
    }
}

/// The block is active meanwhile, or taken and registered again, before its content is given
/// up.
///
/// The drain has a thread to itself, so that two preemptions suffice for it to take the last
/// release off the log and to find the block discarded.
#[test]
fn a_discard_a_next_tenancy_and_a_drain() {
    for traceless in [None, Some(true), Some(false)] {
        explore(move || {
            let blocks = PlaneBlocks::of(1, traceless);
            make_primary(&blocks.slots[0], key(1, 0));
            blocks.unpin(&blocks.slots[0]);
            let blocks = Arc::new(blocks);
            let drainer = spawn(&blocks, PlaneBlocks::drain);
            let slot = &blocks.slots[0];
            if blocks.pin(slot) {
                blocks.unpin(slot);
            }
            blocks.discard(slot);
            if slot.vacate_unheld(false).is_some() {
                make_primary(slot, key(2, 0));
                blocks.unpin(slot);
            }
            blocks.discard(slot);
            drainer.join().unwrap();
            assert!(blocks.slots[0].word().is_discarded());
            blocks.assert_exact();
        });
    }
}

/// A discarded block that is taken, as `Store::take_cleared` does, is not in the order in the
/// end, even if the drain is about to list it.
#[test]
fn a_discarded_block_is_taken_while_it_is_listed() {
    for traceless in [None, Some(true), Some(false)] {
        explore(move || {
            let blocks = PlaneBlocks::of(1, traceless);
            make_primary(&blocks.slots[0], key(1, 0));
            blocks.unpin(&blocks.slots[0]);
            let blocks = Arc::new(blocks);
            let other = spawn(&blocks, |blocks| blocks.discard(&blocks.slots[0]));
            let taker = spawn(&blocks, |blocks| {
                let slot = &blocks.slots[0];
                if slot.vacate_unheld(false).is_some() && !slot.mark_queued().is_queued() {
                    // SAFETY: this thread has set the mark.
                    unsafe { blocks.log().push(slot) };
                }
            });
            blocks.drain();
            join([other, taker]);
            blocks.assert_exact();
        });
    }
}

/// The push of a release is so late that the block has been discarded, taken and registered
/// again meanwhile, and is then discarded once more.
#[test]
fn a_late_push_a_discard_and_a_drain() {
    for traceless in [None, Some(true), Some(false)] {
        explore(move || {
            let blocks = Arc::new(PlaneBlocks::of(1, traceless));
            let slot = &blocks.slots[0];
            make_primary(slot, key(1, 0));
            assert!(slot.unpin_last(slot.word()).is_ok());
            blocks.discard(slot);
            assert!(slot.vacate_unheld(false).is_some());
            make_primary(slot, key(2, 0));
            blocks.unpin(slot);
            let drainer = spawn(&blocks, PlaneBlocks::drain);
            // SAFETY: this thread has set the mark.
            unsafe { blocks.log().push(slot) };
            blocks.discard(slot);
            drainer.join().unwrap();
            assert!(slot.word().is_discarded());
            blocks.assert_exact();
        });
    }
}

/// The releases of two blocks are cancelled, and one of the blocks stays active.
#[test]
fn two_cancelled_releases_and_a_drain() {
    for traceless in [true, false] {
        explore(move || {
            let blocks = PlaneBlocks::of(2, Some(traceless));
            for (slot, n) in blocks.slots.iter().zip(1..) {
                make_primary(slot, key(n, 0));
                blocks.unpin(slot);
            }
            let blocks = Arc::new(blocks);
            let matcher = spawn(&blocks, |blocks| {
                assert!(blocks.pin(&blocks.slots[0]));
                assert!(blocks.pin(&blocks.slots[1]));
                blocks.unpin(&blocks.slots[0]);
            });
            blocks.drain();
            matcher.join().unwrap();
            blocks.assert_exact();
            assert_eq!(blocks.slots[1].word().count(), 1);
        });
    }
}

#[test]
fn two_unpins_and_a_drain() {
    explore(|| {
        let blocks = PlaneBlocks::pinned();
        blocks.slots[0].pin_again();
        let blocks = Arc::new(blocks);
        let holders = [(); 2].map(|()| spawn(&blocks, |blocks| blocks.unpin(&blocks.slots[0])));
        blocks.drain();
        join(holders);
        blocks.assert_exact();
        assert!(blocks.slots[0].word().is_inactive());
    });
}

/// Between the last unpin and the push the block is evicted by a sweep, and registered again.
#[test]
fn a_slot_is_pushed_in_the_next_tenancy() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        let holder = spawn(&blocks, |blocks| blocks.unpin(&blocks.slots[0]));
        let evictor = spawn(&blocks, |blocks| {
            let slot = &blocks.slots[0];
            if slot.vacate_unheld(false).is_some() {
                make_primary(slot, key(2, 0));
                blocks.unpin(slot);
            }
        });
        blocks.drain();
        holder.join().unwrap();
        evictor.join().unwrap();
        blocks.assert_exact();
    });
}

/// A drain that reads the hash of a slot while the slot is reused lists only the hash of the
/// tenancy that it saw inactive.
#[test]
fn a_drain_lists_what_it_saw() {
    explore(|| {
        let blocks = PlaneBlocks::pinned();
        blocks.unpin(&blocks.slots[0]);
        let blocks = Arc::new(blocks);
        let evictor = spawn(&blocks, |blocks| {
            assert!(blocks.slots[0].vacate_unheld(false).is_some());
            make_primary(&blocks.slots[0], key(2, 0));
        });
        blocks.drain();
        let listed = blocks.listed.lock().unwrap().get(&0).copied();
        evictor.join().unwrap();
        assert!(listed.is_none_or(|listed| listed == hash(1)));
    });
}

/// A drain that finds the next tenancy inactive sees its hash.
#[test]
fn a_drain_and_the_next_tenancy() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        make_inactive(&blocks.slots[0]);
        assert!(!blocks.slots[0].mark_queued().is_queued());
        // SAFETY: this thread has set the mark.
        unsafe { blocks.log().push(&blocks.slots[0]) };
        let evictor = spawn(&blocks, |blocks| {
            assert!(blocks.slots[0].vacate_unheld(false).is_some());
            make_primary(&blocks.slots[0], key(2, 0));
            blocks.unpin(&blocks.slots[0]);
        });
        blocks.drain();
        evictor.join().unwrap();
        blocks.assert_exact();
        assert!(blocks.slots[0].word().is_inactive());
    });
}

/// In the end the order has the priority, whichever comes first.
#[test]
fn a_directive_a_release_and_a_drain() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        let holder = spawn(&blocks, |blocks| blocks.unpin(&blocks.slots[0]));
        let giver = spawn(&blocks, |blocks| {
            let slot = &blocks.slots[0];
            assert!(blocks.give(slot, slot.word(), 80));
        });
        blocks.drain();
        join([holder, giver]);
        assert_eq!(blocks.priority(0), 80);
        blocks.assert_exact();
    });
}

#[test]
fn two_directives_and_a_drain() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        blocks.unpin(&blocks.slots[0]);
        blocks.drain();
        let givers = [70, 80].map(|priority| {
            spawn(&blocks, move |blocks| {
                let slot = &blocks.slots[0];
                assert!(blocks.give(slot, slot.word(), priority));
            })
        });
        blocks.drain();
        join(givers);
        let slot = &blocks.slots[0];
        let last = blocks.directives.of(slot, slot.word().generation());
        assert_eq!(blocks.priority(0), last.unwrap().priority.get());
    });
}

/// A directive for a block that is evicted meanwhile does not apply to its next content.
#[test]
fn a_late_directive_and_the_next_tenancy() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        blocks.unpin(&blocks.slots[0]);
        blocks.drain();
        let before = blocks.slots[0].word();
        let giver = spawn(&blocks, move |blocks| {
            blocks.give(&blocks.slots[0], before, 70)
        });
        let slot = &blocks.slots[0];
        assert!(slot.vacate_unheld(false).is_some());
        make_primary(slot, key(2, 0));
        assert!(blocks.give(slot, slot.word(), 80));
        blocks.unpin(slot);
        giver.join().unwrap();
        assert_eq!(blocks.priority(0), 80);
    });
}

/// A drain that removes the directive of an earlier tenancy leaves that of a later one.
#[test]
fn a_drain_and_a_directive_for_the_next_tenancy() {
    explore(|| {
        let blocks = Arc::new(PlaneBlocks::pinned());
        let slot = &blocks.slots[0];
        assert!(blocks.give(slot, slot.word(), 70));
        blocks.drain();
        make_inactive(slot);
        assert!(slot.vacate_unheld(false).is_some());
        make_primary(slot, key(2, 0));
        blocks.unpin(slot);
        let evictor = spawn(&blocks, |blocks| {
            let slot = &blocks.slots[0];
            assert!(slot.vacate_unheld(false).is_some());
            make_primary(slot, key(3, 0));
            assert!(blocks.give(slot, slot.word(), 80));
            blocks.unpin(slot);
        });
        blocks.drain();
        evictor.join().unwrap();
        assert_eq!(blocks.priority(0), 80);
    });
}
