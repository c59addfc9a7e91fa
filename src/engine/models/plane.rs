//! Notes: last unpins, pins and drains of one slot.
//!
//! Covers Primary(1) against a match and a drain, Primary(2) whose two holders
//! both take the way of shared pins, a note that is so late that it falls on the
//! next tenancy, content that is given up meanwhile, and directives that are given
//! meanwhile. Once all is quiet and drained, a slot is in the order exactly if it is
//! inactive or discarded, under its hash, and is not queued.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::SequenceHash;
use crate::policy::{PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::{Priority, Retention};

use super::{explore, hash, join, key, make_inactive, make_primary, spawn, unpin_shared};
use crate::engine::parts::directives::Directives;
use crate::engine::parts::plane::Plane;
use crate::engine::parts::release_log::ReleaseLog;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;

type Priorities = Arc<Mutex<BTreeMap<u32, Priority>>>;
type Listed = Arc<Mutex<BTreeMap<u32, SequenceHash>>>;

/// An order in which what is listed can be seen from outside.
struct Glass {
    listed: Listed,
    priorities: Priorities,
    /// What it says of blocks that are not listed, if resurrections commute.
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

    fn observes_resurrection(&self) -> bool {
        true
    }

    fn resurrections_commute(&self) -> bool {
        self.traceless.is_some()
    }

    fn leaves_no_trace(&self, slot: u32, _: SequenceHash) -> bool {
        self.traceless == Some(true) && !self.contains(slot)
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl PlainPolicy for Glass {
    fn with_priorities(self: Box<Self>) -> Box<dyn PrioritizedPolicy> {
        self
    }
}

impl PrioritizedPolicy for Glass {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        self.priorities.lock().unwrap().insert(slot, priority);
    }
}

pub(super) struct Notes {
    pub(super) slots: Vec<Slot>,
    stack: ReleaseLog,
    plane: Plane,
    listed: Listed,
    priorities: Priorities,
    directives: Arc<Directives>,
}

impl Notes {
    pub(super) fn new(slots: u32) -> Self {
        Self::of(slots, None)
    }

    fn of(slots: u32, traceless: Option<bool>) -> Self {
        let listed = Listed::default();
        let priorities = Priorities::default();
        let directives = Arc::new(Directives::new(slots));
        directives.prepare();
        let glass = Glass {
            listed: Arc::clone(&listed),
            priorities: Arc::clone(&priorities),
            traceless,
        };
        Self {
            slots: (0..slots).map(|id| Slot::new(id, false)).collect(),
            stack: ReleaseLog::new(),
            plane: Plane::new(Box::new(glass), Arc::clone(&directives)),
            listed,
            priorities,
            directives,
        }
    }

    /// One slot, a primary with one pin.
    fn pinned() -> Self {
        let notes = Self::new(1);
        make_primary(&notes.slots[0], key(1, 0));
        notes
    }

    /// Pins a slot if it is a primary, as `Pins` does, and takes the note with it.
    pub(super) fn pin(&self, slot: &Slot) -> bool {
        let mut seen = slot.word();
        while seen.is_primary() {
            let resurrects = seen.count() == 0;
            if resurrects && seen.is_queued() && self.plane.resurrections_commute() {
                self.stack.mark_cancelled();
            }
            if let Err(now) = slot.pin(seen, resurrects) {
                seen = now;
                continue;
            }
            if resurrects && !seen.is_queued() {
                self.stack.push(slot);
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
            slot.begin_release(0);
            if slot.unpin_last(seen).is_ok() {
                if !seen.is_queued() {
                    self.stack.push(slot);
                }
                return;
            }
        }
    }

    fn drain(&self) {
        if let Some(mut order) = self.plane.try_hold() {
            order.drain(&self.slots, [&self.stack]);
            // Applies the directives.
            order.pop(&self.slots, &mut []);
        }
    }

    /// Gives the block of a slot whose word was `seen` a directive.
    fn give(&self, slot: &Slot, seen: Word, priority: u8) -> bool {
        let priority = Priority::new(priority).unwrap();
        let retention = Retention::new(priority);
        self.directives.give(slot, seen.generation(), retention)
    }

    /// The priority that the order has for a slot, once all is quiet.
    fn priority(&self, slot: u32) -> u8 {
        self.finish();
        self.priorities.lock().unwrap()[&slot].get()
    }

    /// Applies all notes, once all is quiet. Returns the slots that are then in
    /// the order.
    pub(super) fn finish(&self) -> BTreeMap<u32, SequenceHash> {
        let mut on_stack = vec![0; self.slots.len()];
        self.stack
            .for_each(&self.slots, |slot| on_stack[slot.id() as usize] += 1);
        for slot in &self.slots {
            let queued = u32::from(slot.word().is_queued());
            assert_eq!(on_stack[slot.id() as usize], queued);
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
        let notes = Arc::new(Notes::pinned());
        let holder = spawn(&notes, |notes| notes.unpin(&notes.slots[0]));
        let matcher = spawn(&notes, |notes| {
            assert!(notes.pin(&notes.slots[0]));
            notes.unpin(&notes.slots[0]);
        });
        notes.drain();
        holder.join().unwrap();
        matcher.join().unwrap();
        notes.assert_exact();
        assert!(notes.slots[0].word().is_inactive());
    });
}

#[test]
fn a_pin_and_a_drain() {
    explore(|| {
        let notes = Arc::new(Notes::pinned());
        notes.unpin(&notes.slots[0]);
        let matcher = spawn(&notes, |notes| {
            assert!(notes.pin(&notes.slots[0]));
        });
        notes.drain();
        matcher.join().unwrap();
        notes.assert_exact();
        assert_eq!(notes.slots[0].word().count(), 1);
    });
}

/// A release that is cancelled, done again and drained all the while, whether or not
/// the drain finds that it need not be applied.
#[test]
fn an_undone_release_and_a_drain() {
    for traceless in [true, false] {
        explore(move || {
            let notes = Notes::of(1, Some(traceless));
            make_primary(&notes.slots[0], key(1, 0));
            notes.unpin(&notes.slots[0]);
            let notes = Arc::new(notes);
            let matcher = spawn(&notes, |notes| {
                assert!(notes.pin(&notes.slots[0]));
                notes.unpin(&notes.slots[0]);
            });
            notes.drain();
            matcher.join().unwrap();
            notes.assert_exact();
            assert!(notes.slots[0].word().is_inactive());
        });
    }
}

/// A block whose content is given up stays in the order, whenever a drain takes its note.
#[test]
fn a_discard_and_a_drain() {
    for traceless in [None, Some(true), Some(false)] {
        explore(move || {
            let notes = Notes::of(1, traceless);
            make_primary(&notes.slots[0], key(1, 0));
            notes.unpin(&notes.slots[0]);
            let notes = Arc::new(notes);
            let other = spawn(&notes, |notes| notes.discard(&notes.slots[0]));
            notes.drain();
            other.join().unwrap();
            assert!(notes.slots[0].word().is_discarded());
            notes.assert_exact();
        });
    }
}

/// As above, where the block is in use meanwhile, or taken and registered anew.
#[test]
fn a_discard_a_next_tenancy_and_a_drain() {
    for traceless in [None, Some(true), Some(false)] {
        explore(move || {
            let notes = Notes::of(1, traceless);
            make_primary(&notes.slots[0], key(1, 0));
            notes.unpin(&notes.slots[0]);
            let notes = Arc::new(notes);
            let other = spawn(&notes, |notes| {
                let slot = &notes.slots[0];
                if notes.pin(slot) {
                    notes.unpin(slot);
                }
                notes.discard(slot);
                if slot.vacate_unheld(false).is_some() {
                    make_primary(slot, key(2, 0));
                    notes.unpin(slot);
                }
                notes.discard(slot);
            });
            notes.drain();
            other.join().unwrap();
            assert!(notes.slots[0].word().is_discarded());
            notes.assert_exact();
        });
    }
}

/// Two blocks whose releases are cancelled, of which one stays in use.
#[test]
fn two_undone_releases_and_a_drain() {
    for traceless in [true, false] {
        explore(move || {
            let notes = Notes::of(2, Some(traceless));
            for (slot, n) in notes.slots.iter().zip(1..) {
                make_primary(slot, key(n, 0));
                notes.unpin(slot);
            }
            let notes = Arc::new(notes);
            let matcher = spawn(&notes, |notes| {
                assert!(notes.pin(&notes.slots[0]));
                assert!(notes.pin(&notes.slots[1]));
                notes.unpin(&notes.slots[0]);
            });
            notes.drain();
            matcher.join().unwrap();
            notes.assert_exact();
            assert_eq!(notes.slots[1].word().count(), 1);
        });
    }
}

#[test]
fn two_unpins_and_a_drain() {
    explore(|| {
        let notes = Notes::pinned();
        notes.slots[0].pin_again();
        let notes = Arc::new(notes);
        let holders = [(); 2].map(|()| spawn(&notes, |notes| notes.unpin(&notes.slots[0])));
        notes.drain();
        join(holders);
        notes.assert_exact();
        assert!(notes.slots[0].word().is_inactive());
    });
}

/// Between the last unpin and its note the block is evicted by a sweep, and
/// registered anew.
#[test]
fn a_note_is_pushed_in_the_next_tenancy() {
    explore(|| {
        let notes = Arc::new(Notes::pinned());
        let holder = spawn(&notes, |notes| notes.unpin(&notes.slots[0]));
        let evictor = spawn(&notes, |notes| {
            let slot = &notes.slots[0];
            if slot.vacate_unheld(false).is_some() {
                make_primary(slot, key(2, 0));
                notes.unpin(slot);
            }
        });
        notes.drain();
        holder.join().unwrap();
        evictor.join().unwrap();
        notes.assert_exact();
    });
}

/// A drain that reads the hash of a slot while it is reused lists no hash that
/// is not that of the tenancy it saw inactive.
#[test]
fn a_drain_lists_what_it_saw() {
    explore(|| {
        let notes = Notes::pinned();
        notes.unpin(&notes.slots[0]);
        let notes = Arc::new(notes);
        let evictor = spawn(&notes, |notes| {
            assert!(notes.slots[0].vacate_unheld(false).is_some());
            make_primary(&notes.slots[0], key(2, 0));
        });
        notes.drain();
        let listed = notes.listed.lock().unwrap().get(&0).copied();
        evictor.join().unwrap();
        assert!(listed.is_none_or(|listed| listed == hash(1)));
    });
}

/// A drain that finds the next tenancy inactive sees its hash.
#[test]
fn a_drain_and_the_next_tenancy() {
    explore(|| {
        let notes = Arc::new(Notes::pinned());
        make_inactive(&notes.slots[0]);
        assert!(!notes.slots[0].mark_queued().is_queued());
        notes.stack.push(&notes.slots[0]);
        let evictor = spawn(&notes, |notes| {
            assert!(notes.slots[0].vacate_unheld(false).is_some());
            make_primary(&notes.slots[0], key(2, 0));
            notes.unpin(&notes.slots[0]);
        });
        notes.drain();
        evictor.join().unwrap();
        notes.assert_exact();
        assert!(notes.slots[0].word().is_inactive());
    });
}

/// Whichever comes first: the order has the priority in the end.
#[test]
fn a_directive_a_release_and_a_drain() {
    explore(|| {
        let notes = Arc::new(Notes::pinned());
        let holder = spawn(&notes, |notes| notes.unpin(&notes.slots[0]));
        let speaker = spawn(&notes, |notes| {
            let slot = &notes.slots[0];
            assert!(notes.give(slot, slot.word(), 80));
        });
        notes.drain();
        join([holder, speaker]);
        assert_eq!(notes.priority(0), 80);
        notes.assert_exact();
    });
}

#[test]
fn two_directives_and_a_drain() {
    explore(|| {
        let notes = Arc::new(Notes::pinned());
        notes.unpin(&notes.slots[0]);
        notes.drain();
        let speakers = [70, 80].map(|priority| {
            spawn(&notes, move |notes| {
                let slot = &notes.slots[0];
                assert!(notes.give(slot, slot.word(), priority));
            })
        });
        notes.drain();
        join(speakers);
        let slot = &notes.slots[0];
        let last = notes.directives.of(slot, slot.word().generation());
        assert_eq!(notes.priority(0), last.unwrap().priority.get());
    });
}

/// A directive for a block that is evicted meanwhile does not become that of the next.
#[test]
fn a_late_directive_and_the_next_tenancy() {
    explore(|| {
        let notes = Arc::new(Notes::pinned());
        notes.unpin(&notes.slots[0]);
        notes.drain();
        let before = notes.slots[0].word();
        let speaker = spawn(&notes, move |notes| notes.give(&notes.slots[0], before, 70));
        let slot = &notes.slots[0];
        assert!(slot.vacate_unheld(false).is_some());
        make_primary(slot, key(2, 0));
        assert!(notes.give(slot, slot.word(), 80));
        notes.unpin(slot);
        speaker.join().unwrap();
        assert_eq!(notes.priority(0), 80);
    });
}

/// Who takes out what was said of an earlier tenancy leaves what is said of a later one.
#[test]
fn a_drain_and_what_is_said_of_the_next_tenancy() {
    explore(|| {
        let notes = Arc::new(Notes::pinned());
        let slot = &notes.slots[0];
        assert!(notes.give(slot, slot.word(), 70));
        notes.drain();
        make_inactive(slot);
        assert!(slot.vacate_unheld(false).is_some());
        make_primary(slot, key(2, 0));
        notes.unpin(slot);
        let evictor = spawn(&notes, |notes| {
            let slot = &notes.slots[0];
            assert!(slot.vacate_unheld(false).is_some());
            make_primary(slot, key(3, 0));
            assert!(notes.give(slot, slot.word(), 80));
            notes.unpin(slot);
        });
        notes.drain();
        evictor.join().unwrap();
        assert_eq!(notes.priority(0), 80);
    });
}
