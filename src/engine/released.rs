//! Released stacks: the notes that the hot path leaves for the policy plane.
//!
//! A block that becomes inactive (and, for policies that want to know, one that
//! comes into use again) is *noted*: its slot is pushed on the stack of its
//! thread's shard. Whoever holds the policy plane drains the stacks and looks at
//! each slot's word to learn what has become of it.
//!
//! A slot is noted at most once: the `noted` mark in its word is set by the
//! step that makes the note necessary and cleared, together with reading the
//! word, by the drainer (`Slot::unnote`). So the stacks never hold more than
//! one link a block, nothing is lost, and nothing grows, however long the plane
//! is busy.
//!
//! A push is one exchange and a drain takes the whole stack by one swap, so
//! there is no ABA: a push only needs the head to be what its link says, not
//! what it was.

use crossbeam_utils::CachePadded;

use super::slot::{NIL, Slot};
use crate::sync::{AtomicU32, Ordering};

/// One shard's stack.
pub(super) struct ReleasedStack {
    head: CachePadded<AtomicU32>,
}

impl ReleasedStack {
    pub(super) fn new() -> Self {
        Self {
            head: CachePadded::new(AtomicU32::new(NIL)),
        }
    }

    /// Pushes one slot that the caller has marked as noted.
    #[inline]
    pub(super) fn push(&self, slot: &Slot) {
        self.push_run(slot, slot);
    }

    /// Pushes a run of slots that the caller has marked as noted and linked
    /// through `next_note`, from `top`, the latest, down to `bottom`.
    #[inline]
    pub(super) fn push_run(&self, top: &Slot, bottom: &Slot) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            bottom.next_note.store(head, Ordering::Relaxed);
            // Release: pairs with the acquire in `drain`, for the links.
            match self.head.compare_exchange_weak(
                head,
                top.id(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all notes and calls `visit` with each, in the order of the pushes.
    ///
    /// `visit` clears the mark; the link may be used again from then on.
    pub(super) fn drain(&self, slots: &[Slot], mut visit: impl FnMut(&Slot)) {
        if self.head.load(Ordering::Relaxed) == NIL {
            return;
        }
        // Acquire: pairs with the release of every push in the stack, each of
        // which read the one below it.
        let mut at = self.head.swap(NIL, Ordering::Acquire);
        let mut first = NIL;
        while at != NIL {
            let next = slots[at as usize].next_note.load(Ordering::Relaxed);
            slots[at as usize].next_note.store(first, Ordering::Relaxed);
            first = at;
            at = next;
        }
        while first != NIL {
            let slot = &slots[first as usize];
            first = slot.next_note.load(Ordering::Relaxed);
            visit(slot);
        }
    }

    /// Calls `visit` with every slot on the stack. Only while nobody uses it.
    pub(super) fn for_each(&self, slots: &[Slot], mut visit: impl FnMut(&Slot)) {
        let mut at = self.head.load(Ordering::Acquire);
        while at != NIL {
            let slot = &slots[at as usize];
            visit(slot);
            at = slot.next_note.load(Ordering::Relaxed);
        }
    }
}

/// A run of slots to be noted in one push, in the order they were added.
pub(super) struct Run<'a> {
    ends: Option<(&'a Slot, &'a Slot)>,
}

impl<'a> Run<'a> {
    pub(super) fn new() -> Self {
        Self { ends: None }
    }

    /// Adds a slot that the caller has marked as noted.
    #[inline]
    pub(super) fn add(&mut self, slot: &'a Slot) {
        self.ends = match self.ends {
            None => Some((slot, slot)),
            Some((top, bottom)) => {
                slot.next_note.store(top.id(), Ordering::Relaxed);
                Some((slot, bottom))
            }
        };
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_none()
    }

    #[inline]
    pub(super) fn push_to(self, stack: &ReleasedStack) {
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

    fn drained(stack: &ReleasedStack, slots: &[Slot]) -> Vec<u32> {
        let mut ids = Vec::new();
        stack.drain(slots, |slot| {
            slot.unnote();
            ids.push(slot.id());
        });
        ids
    }

    #[test]
    fn notes_come_out_in_the_order_they_went_in() {
        let slots = slots(8);
        let stack = ReleasedStack::new();
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
        let stack = ReleasedStack::new();
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
                            if !slot.note().is_noted() {
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
        assert!(slots.iter().all(|slot| !slot.word().is_noted()));
    }
}
