//! Released stacks: pushes against pushes and a drain.
//!
//! What a pusher wrote before its push is there for the drainer, and what the
//! drainer read has been read before the slot is queued again; every note comes out
//! once, those of one thread in their order.

use std::cell::Cell;
use std::sync::Arc;

use super::{Contents, explore, join, key, make_inactive, make_primary, spawn};
use crate::engine::parts::release_log::{ReleaseLog, Run};
use crate::engine::parts::slot::Slot;

struct Notes {
    slots: Vec<Slot>,
    stack: ReleaseLog,
    /// Written by whoever marks a slot and by whoever clears the mark.
    marked: Contents,
    /// How often each slot has been pushed.
    pushed: Vec<Cell<u32>>,
    drained: Cell<Vec<u32>>,
}

impl Notes {
    fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self {
            slots: (0..slots).map(|id| Slot::new(id, false)).collect(),
            stack: ReleaseLog::new(),
            marked: Contents::new(slots as usize),
            pushed: (0..slots).map(|_| Cell::new(0)).collect(),
            drained: Cell::default(),
        })
    }

    /// Marks a slot, unless it is marked.
    fn mark(&self, at: usize) -> bool {
        let is_ours = !self.slots[at].mark_queued().is_queued();
        if is_ours {
            self.marked.write(at as u32, 1);
            self.pushed[at].set(self.pushed[at].get() + 1);
        }
        is_ours
    }

    fn mark_queued(&self, at: usize) {
        if self.mark(at) {
            self.stack.push(&self.slots[at]);
        }
    }

    /// What a thread does whose own exchange has marked a slot.
    fn push_marked(&self, at: usize) {
        self.marked.write(at as u32, 1);
        self.pushed[at].set(self.pushed[at].get() + 1);
        self.stack.push(&self.slots[at]);
    }

    /// Pins an inactive slot, with a note.
    fn pin(&self, at: usize) {
        let mut seen = self.slots[at].word();
        while let Err(now) = self.slots[at].pin(seen, true) {
            seen = now;
        }
        if !seen.is_queued() {
            self.push_marked(at);
        }
    }

    /// Takes the last pin off.
    fn unpin(&self, at: usize) {
        let mut seen = self.slots[at].word();
        while let Err(now) = self.slots[at].unpin_last(seen) {
            seen = now;
        }
        if !seen.is_queued() {
            self.push_marked(at);
        }
    }

    fn note_run(&self, run: [usize; 2]) {
        let mut notes = Run::new();
        for at in run {
            if self.mark(at) {
                notes.add(&self.slots[at]);
            }
        }
        notes.push_to(&self.stack);
    }

    fn drain(&self) {
        self.stack.take(&self.slots, |_| {}).for_each(|slot| {
            assert_eq!(self.marked.read(slot.id()), 1, "queued once");
            self.marked.write(slot.id(), 0);
            slot.unmark_queued();
            let mut drained = self.drained.take();
            drained.push(slot.id());
            self.drained.set(drained);
        });
    }

    /// Every push has come out. Returns the order in which they did.
    fn finish(&self) -> Vec<u32> {
        self.drain();
        let drained = self.drained.take();
        for slot in &self.slots {
            let times = drained.iter().filter(|&&id| id == slot.id()).count();
            assert_eq!(times, self.pushed[slot.id() as usize].get() as usize);
            assert!(!slot.word().is_queued());
        }
        drained
    }
}

#[test]
fn two_pushes_and_a_drain() {
    explore(|| {
        let notes = Notes::new(2);
        let pushers = [0, 1].map(|at| spawn(&notes, move |notes| notes.mark_queued(at)));
        notes.drain();
        join(pushers);
        assert_eq!(notes.finish().len(), 2);
    });
}

#[test]
fn a_run_keeps_its_order() {
    explore(|| {
        let notes = Notes::new(3);
        let pusher = spawn(&notes, |notes| notes.mark_queued(0));
        let runner = spawn(&notes, |notes| notes.note_run([2, 1]));
        notes.drain();
        pusher.join().unwrap();
        runner.join().unwrap();
        let mut drained = notes.finish();
        drained.retain(|&id| id != 0);
        assert_eq!(drained, [2, 1]);
    });
}

/// The mark may be set again as soon as the drainer has cleared it.
#[test]
fn a_slot_is_queued_again_while_it_is_drained() {
    explore(|| {
        let notes = Notes::new(2);
        notes.mark_queued(0);
        notes.mark_queued(1);
        let again = spawn(&notes, |notes| notes.mark_queued(1));
        let other = spawn(&notes, |notes| notes.mark_queued(0));
        notes.drain();
        again.join().unwrap();
        other.join().unwrap();
        notes.finish();
    });
}

/// The word may be as it was seen, and yet have been queued and drained since.
#[test]
fn a_last_unpin_against_a_late_note_and_its_drain() {
    explore(|| {
        let notes = Notes::new(1);
        make_primary(&notes.slots[0], key(1, 0));
        let late = spawn(&notes, |notes| notes.mark_queued(0));
        let holder = spawn(&notes, |notes| notes.unpin(0));
        notes.drain();
        late.join().unwrap();
        holder.join().unwrap();
        notes.finish();
    });
}

#[test]
fn a_pin_against_a_late_note_and_its_drain() {
    explore(|| {
        let notes = Notes::new(1);
        make_primary(&notes.slots[0], key(1, 0));
        make_inactive(&notes.slots[0]);
        let late = spawn(&notes, |notes| notes.mark_queued(0));
        let matcher = spawn(&notes, |notes| notes.pin(0));
        notes.drain();
        late.join().unwrap();
        matcher.join().unwrap();
        notes.finish();
    });
}
