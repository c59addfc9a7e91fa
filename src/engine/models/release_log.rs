//! Models of a release log: pushes against pushes and a drain.
//!
//! The drainer sees what a thread wrote before its push, and the drainer's reads happen before
//! the slot is queued again. Each push is drained once, and the pushes of one thread in order.

use std::cell::Cell;
use std::sync::Arc;

use super::{Contents, explore, join, key, make_inactive, make_primary, spawn};
use crate::engine::parts::release_log::{ReleaseLog, Run};
use crate::engine::parts::slot::Slot;
use crate::sync::limits::DRAINED;
use crate::sync::try_lock::TryLock;

struct LoggedSlots {
    slots: Vec<Slot>,
    log: ReleaseLog,
    /// Held by the thread that drains.
    plane: TryLock<()>,
    /// Written by the thread that marks a slot, and by the one that clears the mark.
    marked: Contents,
    /// The number of times each slot has been pushed.
    pushed: Vec<Cell<u32>>,
    drained: Cell<Vec<u32>>,
}

impl LoggedSlots {
    fn new(slots: u32) -> Arc<Self> {
        Arc::new(Self {
            slots: (0..slots).map(|id| Slot::new(id, false)).collect(),
            log: ReleaseLog::new(),
            plane: TryLock::new(()),
            marked: Contents::new(slots as usize),
            pushed: (0..slots).map(|_| Cell::new(0)).collect(),
            drained: Cell::default(),
        })
    }

    /// Marks a slot. Returns whether it was unmarked before.
    fn mark(&self, at: usize) -> bool {
        let is_ours = !self.slots[at].mark_queued().is_queued();
        if is_ours {
            self.marked.write(at as u32, 1);
            self.pushed[at].set(self.pushed[at].get() + 1);
        }
        is_ours
    }

    /// Queues a slot, unless it is queued already.
    fn queue(&self, at: usize) {
        if self.mark(at) {
            // SAFETY: this thread has set the mark.
            let _ = unsafe { self.log.push(&self.slots[at]) };
        }
    }

    /// Pushes a slot that the thread's own exchange has marked.
    fn push_marked(&self, at: usize) {
        self.marked.write(at as u32, 1);
        self.pushed[at].set(self.pushed[at].get() + 1);
        // SAFETY: this thread has set the mark.
        let _ = unsafe { self.log.push(&self.slots[at]) };
    }

    /// Pins an inactive slot, and queues it.
    fn pin(&self, at: usize) {
        let mut seen = self.slots[at].word();
        while let Err(now) = self.slots[at].pin(seen, true) {
            seen = now;
        }
        if !seen.is_queued() {
            self.push_marked(at);
        }
    }

    /// Takes the last pin off, which queues the slot.
    fn unpin(&self, at: usize) {
        let mut seen = self.slots[at].word();
        while let Err(now) = self.slots[at].unpin_last(seen) {
            seen = now;
        }
        if !seen.is_queued() {
            self.push_marked(at);
        }
    }

    /// Queues two slots by one push.
    fn queue_run(&self, run: [usize; 2]) {
        let mut queued = Run::new();
        for at in run {
            if self.mark(at) {
                // SAFETY: this thread has set the mark.
                let _ = unsafe { queued.add(&self.slots[at]) };
            }
        }
        let _ = queued.push_to(&self.log);
    }

    /// Drains the log, unless another thread does.
    fn drain(&self) {
        if let Some(_held) = self.plane.try_hold() {
            self.drain_once();
        }
    }

    /// Applies a drain's worth of updates, and checks that each slot is on the log once.
    fn drain_once(&self) {
        self.log.take(&self.slots, |_| {}).for_each(|slot| {
            assert_eq!(self.marked.read(slot.id()), 1, "queued once");
            self.marked.write(slot.id(), 0);
            slot.unmark_queued();
            let mut drained = self.drained.take();
            drained.push(slot.id());
            self.drained.set(drained);
        });
    }

    /// Drains what is left, and checks that every push has been drained. Returns the slots in
    /// the order in which they were.
    fn finish(&self) -> Vec<u32> {
        while self.log.len() > 0 {
            self.drain();
        }
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
        let logged = LoggedSlots::new(2);
        let pushers = [0, 1].map(|at| spawn(&logged, move |logged| logged.queue(at)));
        logged.drain();
        join(pushers);
        assert_eq!(logged.finish().len(), 2);
    });
}

#[test]
fn a_run_keeps_its_order() {
    explore(|| {
        let logged = LoggedSlots::new(3);
        let pusher = spawn(&logged, |logged| logged.queue(0));
        let runner = spawn(&logged, |logged| logged.queue_run([2, 1]));
        logged.drain();
        pusher.join().unwrap();
        runner.join().unwrap();
        let mut drained = logged.finish();
        drained.retain(|&id| id != 0);
        assert_eq!(drained, [2, 1]);
    });
}

/// A slot may be queued again as soon as the drainer has cleared its mark.
#[test]
fn a_slot_is_queued_again_while_it_is_drained() {
    explore(|| {
        let logged = LoggedSlots::new(2);
        logged.queue(0);
        logged.queue(1);
        let again = spawn(&logged, |logged| logged.queue(1));
        let other = spawn(&logged, |logged| logged.queue(0));
        logged.drain();
        again.join().unwrap();
        other.join().unwrap();
        logged.finish();
    });
}

/// The word may equal the one that was seen even though the slot has been queued and drained
/// since.
#[test]
fn a_last_unpin_against_a_late_push_and_its_drain() {
    explore(|| {
        let logged = LoggedSlots::new(1);
        make_primary(&logged.slots[0], key(1, 0));
        let late = spawn(&logged, |logged| logged.queue(0));
        let holder = spawn(&logged, |logged| logged.unpin(0));
        logged.drain();
        late.join().unwrap();
        holder.join().unwrap();
        logged.finish();
    });
}

#[test]
fn a_pin_against_a_late_push_and_its_drain() {
    explore(|| {
        let logged = LoggedSlots::new(1);
        make_primary(&logged.slots[0], key(1, 0));
        make_inactive(&logged.slots[0]);
        let late = spawn(&logged, |logged| logged.queue(0));
        let matcher = spawn(&logged, |logged| logged.pin(0));
        logged.drain();
        late.join().unwrap();
        matcher.join().unwrap();
        logged.finish();
    });
}

/// One drain leaves the earliest slots, which another one takes, while a further slot is queued.
#[test]
fn what_a_drain_leaves_is_taken_by_another() {
    explore(|| {
        let logged = LoggedSlots::new(DRAINED + 2);
        for at in 0..=DRAINED as usize {
            logged.queue(at);
        }
        let drainer = spawn(&logged, |logged| logged.drain());
        let pusher = spawn(&logged, |logged| logged.queue(DRAINED as usize + 1));
        logged.drain();
        drainer.join().unwrap();
        pusher.join().unwrap();
        let drained = logged.finish();
        let place = |slot| drained.iter().position(|&at| at == slot);
        assert!(place(DRAINED) < place(0), "the latest before the earliest");
    });
}
