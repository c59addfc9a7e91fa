//! Released stacks: the notes that the hot path leaves for the policy plane.
//!
//! A block that becomes inactive (and, for policies that want to know, one that
//! comes into use again) is *queued*: its slot is pushed on the stack of its
//! thread's shard. Whoever holds the policy plane drains the stacks and looks at
//! each slot's word to learn what has become of it.
//!
//! A slot is queued at most once: the `queued` mark in its word is set by the
//! step that makes the note necessary and cleared, together with reading the
//! word, by the drainer (`Slot::unmark_queued`). So the stacks never hold more than
//! one link a block, nothing is lost, and nothing grows, however long the plane
//! is busy.
//!
//! # Undone releases
//!
//! Under a policy that lets the order of resurrections be whatever it is
//! (`SlotPolicy::resurrections_commute`), a block that is matched while its
//! release is still to be applied leaves no second note and need not have the
//! first applied either: the release is *cancelled*, and the shard's stack is marked to
//! hold such. From one thread, all resurrections that it holds then come after all
//! its releases, because a release to be queued later has the stack drained first.
//!
use crossbeam_utils::CachePadded;

use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::slot_stack::SlotStack;
use crate::sync::{AtomicBool, Ordering};

/// One shard's stack.
pub(crate) struct ReleaseLog(CachePadded<Log>);

struct Log {
    stack: SlotStack,
    /// Whether releases are cancelled that are likely on this stack. A hint that has
    /// no more to it than the place of those releases in the order.
    cancelled: AtomicBool,
}

impl ReleaseLog {
    pub(crate) fn new() -> Self {
        Self(CachePadded::new(Log {
            stack: SlotStack::new(),
            cancelled: AtomicBool::new(false),
        }))
    }

    /// Marks the stack as one with cancelled releases.
    #[inline]
    pub(crate) fn mark_cancelled(&self) {
        if !self.has_cancelled() {
            self.0.cancelled.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the stack is marked as one with cancelled releases.
    #[inline]
    pub(crate) fn has_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Takes the mark off. For the drainer. Returns whether the stack had it.
    pub(crate) fn take_cancelled(&self) -> bool {
        let cancelled = self.has_cancelled();
        if cancelled {
            self.0.cancelled.store(false, Ordering::Relaxed);
        }
        cancelled
    }

    /// Pushes one slot that the caller has marked as queued.
    #[inline]
    pub(crate) fn push(&self, slot: &Slot) {
        self.push_run(slot, slot);
    }

    /// Pushes a run of slots that the caller has marked as queued and linked
    /// through `next_queued`, from `top`, the latest, down to `bottom`.
    #[inline]
    pub(crate) fn push_run(&self, top: &Slot, bottom: &Slot) {
        self.0.stack.push_run(top.id(), &bottom.next_queued);
    }

    /// Takes all notes and calls `look` with each, in no order.
    #[inline]
    pub(crate) fn take<'s>(&self, slots: &'s [Slot], mut look: impl FnMut(&Slot)) -> Drained<'s> {
        let first = self.0.stack.drain(
            |id| &slots[id as usize].next_queued,
            |id| look(&slots[id as usize]),
        );
        Drained { slots, first }
    }

    /// Calls `visit` with every slot on the stack. Only while nobody uses it.
    pub(crate) fn for_each(&self, slots: &[Slot], mut visit: impl FnMut(&Slot)) {
        self.0.stack.for_each(
            |id| &slots[id as usize].next_queued,
            |id| visit(&slots[id as usize]),
        );
    }
}

/// The notes of a stack, in the hand of the drainer.
#[must_use = "notes that are not visited are lost"]
pub(crate) struct Drained<'s> {
    slots: &'s [Slot],
    first: u32,
}

impl Drained<'_> {
    /// Calls `visit` with each note, in the order of the pushes.
    ///
    /// `visit` clears the mark; the link may be used again from then on.
    #[inline]
    pub(crate) fn for_each(self, mut visit: impl FnMut(&Slot)) {
        let mut at = self.first;
        while at != NIL {
            let slot = &self.slots[at as usize];
            at = slot.next_queued.load(Ordering::Relaxed);
            visit(slot);
        }
    }
}

/// A run of slots to be queued in one push, in the order they were added.
pub(crate) struct Run<'a> {
    ends: Option<(&'a Slot, &'a Slot)>,
}

impl<'a> Run<'a> {
    pub(crate) fn new() -> Self {
        Self { ends: None }
    }

    /// Adds a slot that the caller has marked as queued.
    #[inline]
    pub(crate) fn add(&mut self, slot: &'a Slot) {
        self.ends = match self.ends {
            None => Some((slot, slot)),
            Some((top, bottom)) => {
                slot.next_queued.store(top.id(), Ordering::Relaxed);
                Some((slot, bottom))
            }
        };
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    #[inline]
    pub(crate) fn push_to(self, stack: &ReleaseLog) {
        if let Some((top, bottom)) = self.ends {
            stack.push_run(top, bottom);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: u32) -> Vec<Slot> {
        (0..count).map(|id| Slot::new(id, false)).collect()
    }

    fn drained(stack: &ReleaseLog, slots: &[Slot]) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut looked = 0;
        let taken = stack.take(slots, |_| looked += 1);
        taken.for_each(|slot| {
            slot.unmark_queued();
            ids.push(slot.id());
        });
        assert_eq!(ids.len(), looked);
        ids
    }

    #[test]
    fn notes_come_out_in_the_order_they_went_in() {
        let slots = slots(8);
        let stack = ReleaseLog::new();
        stack.push(&slots[3]);
        let mut run = Run::new();
        for at in [5, 1, 7] {
            run.add(&slots[at]);
        }
        run.push_to(&stack);
        stack.push(&slots[0]);
        assert_eq!(drained(&stack, &slots), [3, 5, 1, 7, 0]);
        assert!(drained(&stack, &slots).is_empty());
    }

    #[test]
    fn threads_lose_no_note() {
        const SLOTS: u32 = 64;
        let slots = slots(SLOTS);
        let stack = ReleaseLog::new();
        let mut seen = vec![0; SLOTS as usize];
        std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4)
                .map(|part| {
                    let (slots, stack) = (&slots, &stack);
                    scope.spawn(move || {
                        let own = &slots[part * 16..][..16];
                        let mut pushed = vec![0; 16];
                        for round in 0..40_000 {
                            let slot = &own[round % 16];
                            if !slot.mark_queued().is_queued() {
                                stack.push(slot);
                                pushed[round % 16] += 1;
                            }
                        }
                        pushed
                    })
                })
                .collect();
            while pushers.iter().any(|pusher| !pusher.is_finished()) {
                for id in drained(&stack, &slots) {
                    seen[id as usize] += 1;
                }
            }
            for id in drained(&stack, &slots) {
                seen[id as usize] += 1;
            }
            let pushed: Vec<i32> = pushers
                .into_iter()
                .flat_map(|pusher| pusher.join().unwrap())
                .collect();
            assert_eq!(seen, pushed);
        });
        assert!(slots.iter().all(|slot| !slot.word().is_queued()));
    }
}
