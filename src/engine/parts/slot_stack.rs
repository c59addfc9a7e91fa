//! A stack of slot numbers, linked through words that its user supplies.
//!
//! A push is one exchange, and so is a drain. There is no ABA problem: a push only requires that
//! the head is what the pushed link says, and only one thread at a time drains, so a head that is
//! unchanged means an unchanged stack.
//!
//! The head also counts the slots. So whoever pushes learns how many are waiting, and a drain can
//! take some of them, the latest, with bounded work.
//!
//! # Which thread owns a link?
//!
//! The stack does not know whether a slot is on it already. Its users keep a mark per slot:
//!
//! | mark | the slot's link belongs to |
//! |---|---|
//! | clear | no thread |
//! | set, not yet pushed | the thread that has set the mark |
//! | set, on the stack | no thread, and none writes it |
//! | set, drained | the drainer, which reads the link and only then clears the mark |

use crate::engine::parts::slot::NIL;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// See the module documentation.
pub(crate) struct SlotStack {
    /// A [`Head`].
    head: AtomicU64,
}

/// The slot on top, and the number of slots.
#[derive(Clone, Copy)]
struct Head {
    /// [`NIL`] if the stack is empty.
    top: u32,
    depth: u32,
}

impl Head {
    const EMPTY: Self = Self { top: NIL, depth: 0 };

    fn of(word: u64) -> Self {
        Self {
            top: word as u32,
            depth: (word >> 32) as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.depth) << 32 | u64::from(self.top)
    }
}

impl SlotStack {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU64::new(Head::EMPTY.word()),
        }
    }

    /// Pushes a run of `len` slots that are linked from `top`, the latest, down to the slot whose
    /// link is `bottom`. Returns how many slots are then on the stack. Lock-free: one exchange,
    /// repeated if another thread pushes first.
    ///
    /// # Safety
    ///
    /// None of the slots is on the stack or in the hands of a drain, and no other thread pushes
    /// one of them: the caller has set their marks.
    #[inline(always)]
    pub(crate) unsafe fn push_run(&self, top: u32, bottom: &AtomicU32, len: u32) -> u32 {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            let Head { top: below, depth } = Head::of(head);
            bottom.store(below, Ordering::Relaxed);
            let depth = depth + len;
            let new = Head { top, depth }.word();
            // Release: pairs with the acquire in `drain`, for the links. Acquire: a push that follows a
            // drain sees what its thread did before the drain.
            match self
                .head
                .compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return depth,
                Err(now) => head = now,
            }
        }
    }

    /// Returns how many slots are on the stack. A hint, unless the caller keeps others from using
    /// it.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        Head::of(self.head.load(Ordering::Relaxed)).depth
    }

    /// Returns whether the stack is empty, by an exchange of its head that changes nothing: all pushes
    /// that come later see what this thread did before.
    pub(crate) fn is_empty_in_order(&self) -> bool {
        Head::of(self.head.fetch_or(0, Ordering::AcqRel)).depth == 0
    }

    /// Takes slots off the stack, up to `max` and those that are pushed meanwhile, the latest, and
    /// reverses their links, so that they can be followed in the order of the pushes. Calls `look` with each
    /// slot, the latest first. Returns the one of them that was pushed first, or [`NIL`] if the stack was empty.
    ///
    /// Only one thread at a time may do this.
    #[inline(always)]
    pub(crate) fn drain<'l>(
        &self,
        max: u32,
        link: impl Fn(u32) -> &'l AtomicU32,
        mut look: impl FnMut(u32),
    ) -> u32 {
        let Head { top, depth } = self.take(max, &link);
        let (mut at, mut first) = (top, NIL);
        for _ in 0..depth {
            let next = link(at).load(Ordering::Relaxed);
            link(at).store(first, Ordering::Relaxed);
            look(at);
            first = at;
            at = next;
        }
        first
    }

    /// Takes slots off the top of the stack, as [`drain`](Self::drain) does: up to `2 * max`, if others
    /// push meanwhile. Returns the topmost,
    /// and how many there are.
    #[inline(always)]
    fn take<'l>(&self, max: u32, link: &impl Fn(u32) -> &'l AtomicU32) -> Head {
        if self.depth() == 0 {
            return Head::EMPTY;
        }
        // Acquire, here and below: pairs with the release of every push on the stack, since each
        // of them has exchanged the head that the push below it wrote. Release: a push that follows sees
        // what this thread did before.
        let mut head = self.head.load(Ordering::Acquire);
        loop {
            let Head { top, depth } = Head::of(head);
            let left = if depth <= max {
                Head::EMPTY
            } else {
                Head {
                    top: Self::below(top, max, link),
                    depth: depth - max,
                }
            };
            // Only this thread takes slots off, so what is left stays where it is. What others push
            // meanwhile is taken as well, unless it is too much: then more is left.
            while Head::of(head).depth - left.depth <= max.saturating_mul(2) {
                match self.head.compare_exchange_weak(
                    head,
                    left.word(),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                ) {
                    Ok(_) => {
                        let Head { top, depth } = Head::of(head);
                        let depth = depth - left.depth;
                        return Head { top, depth };
                    }
                    Err(now) => head = now,
                }
            }
        }
    }

    /// Returns the slot that is `depth` below another.
    fn below<'l>(top: u32, depth: u32, link: &impl Fn(u32) -> &'l AtomicU32) -> u32 {
        (0..depth).fold(top, |at, _| link(at).load(Ordering::Relaxed))
    }

    /// Calls `visit` with every slot on the stack. Only while no other thread uses it.
    pub(crate) fn for_each<'l>(
        &self,
        link: impl Fn(u32) -> &'l AtomicU32,
        mut visit: impl FnMut(u32),
    ) {
        let mut at = Head::of(self.head.load(Ordering::Acquire)).top;
        while at != NIL {
            visit(at);
            at = link(at).load(Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_drain_takes_the_latest_and_leaves_the_rest() {
        let links: Vec<AtomicU32> = (0..10).map(|_| AtomicU32::new(0)).collect();
        let stack = SlotStack::new();
        let link = |slot: u32| &links[slot as usize];
        let drain = |max| {
            let mut order = Vec::new();
            let mut looked = Vec::new();
            let mut at = stack.drain(max, link, |slot| looked.push(slot));
            while at != NIL {
                order.push(at);
                at = link(at).load(Ordering::Relaxed);
            }
            looked.reverse();
            assert_eq!(looked, order);
            order
        };
        assert!(drain(3).is_empty());
        for (depth, slot) in (1..).zip([4, 0, 6, 2, 1]) {
            // SAFETY: the slot is not on the stack.
            assert_eq!(unsafe { stack.push_run(slot, link(slot), 1) }, depth);
        }
        assert_eq!(drain(2), [2, 1]);
        link(9).store(8, Ordering::Relaxed);
        // SAFETY: the slots are not on the stack, and are linked.
        assert_eq!(unsafe { stack.push_run(9, link(8), 2) }, 5);
        assert_eq!(drain(4), [0, 6, 8, 9]);
        assert_eq!(drain(4), [4]);
        assert!(drain(u32::MAX).is_empty());
    }

    #[test]
    fn a_drain_is_bounded_whatever_is_pushed_meanwhile() {
        const SLOTS: u32 = 10_000;
        let links: Vec<AtomicU32> = (0..SLOTS).map(|_| AtomicU32::new(NIL)).collect();
        let link = |slot: u32| &links[slot as usize];
        let stack = SlotStack::new();
        let push = |slots: std::ops::Range<u32>| {
            for slot in slots {
                // SAFETY: each slot is pushed once.
                unsafe { stack.push_run(slot, link(slot), 1) };
            }
        };
        push(0..10);
        let mut drained = 0;
        let has_pushed = std::cell::Cell::new(false);
        // Others push while the thread that drains follows the first link.
        let slow = |slot: u32| {
            if !has_pushed.replace(true) {
                push(10..SLOTS);
            }
            link(slot)
        };
        stack.drain(3, slow, |_| drained += 1);
        assert!(has_pushed.get() && drained <= 6, "{drained} were drained");
        while stack.depth() > 0 {
            let before = drained;
            stack.drain(3, link, |_| drained += 1);
            assert_eq!(drained - before, 3.min(SLOTS - before));
        }
        assert_eq!(drained, SLOTS);
    }
}
