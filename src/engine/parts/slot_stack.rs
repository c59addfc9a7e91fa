//! A stack of slot numbers, linked through words that its user supplies.
//!
//! A push is one exchange; a drain takes the whole stack with one swap. So there is no ABA
//! problem: a push only requires that the head is what the pushed link says, not that it never
//! changed in between.
//!
//! The head counts the slots, so that whoever pushes learns how many are on the stack, and can
//! see to it that they do not become too many.
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

/// The head of the stack: `0..32` the top slot, or [`NIL`]; `32..64` the number of slots.
pub(crate) struct SlotStack {
    head: AtomicU64,
}

/// A value of the head.
#[derive(Clone, Copy)]
struct Head(u64);

impl Head {
    const EMPTY: Self = Self::new(NIL, 0);

    const fn new(top: u32, depth: u32) -> Self {
        Self((depth as u64) << 32 | top as u64)
    }

    fn top(self) -> u32 {
        self.0 as u32
    }

    fn depth(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl SlotStack {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU64::new(Head::EMPTY.0),
        }
    }

    /// Pushes a run of `count` slots that are linked from `top`, the latest, down to the slot
    /// whose link is `bottom`. Returns the number of slots that are then on the stack.
    /// Lock-free: one exchange, repeated if another thread pushes first.
    ///
    /// # Safety
    ///
    /// None of the slots is on the stack or in the hands of a drain, and no other thread pushes
    /// one of them: the caller has set their marks.
    #[inline(always)]
    pub(crate) unsafe fn push_run(&self, top: u32, bottom: &AtomicU32, count: u32) -> u32 {
        let mut head = Head(self.head.load(Ordering::Relaxed));
        loop {
            bottom.store(head.top(), Ordering::Relaxed);
            let depth = head.depth() + count;
            let new = Head::new(top, depth);
            // Release: pairs with the acquire in `take`, for the links.
            match self.head.compare_exchange_weak(
                head.0,
                new.0,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return depth,
                Err(now) => head = Head(now),
            }
        }
    }

    /// Returns the number of slots on the stack. A hint while others push or take.
    #[inline]
    pub(crate) fn depth(&self) -> u32 {
        Head(self.head.load(Ordering::Relaxed)).depth()
    }

    /// Takes all slots off the stack, with their marks. Returns the slot that was pushed last,
    /// or [`NIL`], from which the links lead to the earlier ones. One swap, whatever their number.
    #[inline(always)]
    pub(crate) fn take(&self) -> u32 {
        if Head(self.head.load(Ordering::Relaxed)).top() == NIL {
            return NIL;
        }
        // Acquire: pairs with the release of every push on the stack, since each of them read
        // the head that the push below it wrote.
        Head(self.head.swap(Head::EMPTY.0, Ordering::Acquire)).top()
    }

    /// Calls `visit` with every slot on the stack. Only while no other thread uses it.
    pub(crate) fn for_each<'l>(&self, link: impl Fn(u32) -> &'l AtomicU32, visit: impl FnMut(u32)) {
        let top = Head(self.head.load(Ordering::Acquire)).top();
        for_each_below(top, link, visit);
    }
}

/// Calls `visit` with the slot `at` and every slot that its links lead to.
pub(crate) fn for_each_below<'l>(
    mut at: u32,
    link: impl Fn(u32) -> &'l AtomicU32,
    mut visit: impl FnMut(u32),
) {
    while at != NIL {
        visit(at);
        at = link(at).load(Ordering::Relaxed);
    }
}

/// Slots that were taken off a stack and divided by [`reverse`].
pub(crate) struct Reversed {
    /// The slot of the later part that was pushed first, or [`NIL`]. From it, the links lead to
    /// those that were pushed after it.
    pub(crate) first: u32,
    /// The slot of the earlier part that was pushed last, or [`NIL`]. Its links are unchanged.
    pub(crate) rest: u32,
}

/// Reverses the links of up to `max` slots, from `last` towards the earlier ones, so that they
/// can be followed in the order of the pushes. Calls `look` with each, the latest first.
///
/// Only for the thread that has taken the slots off their stack.
#[inline(always)]
pub(crate) fn reverse<'l>(
    last: u32,
    max: u32,
    link: impl Fn(u32) -> &'l AtomicU32,
    mut look: impl FnMut(u32),
) -> Reversed {
    let (mut first, mut at) = (NIL, last);
    for _ in 0..max {
        if at == NIL {
            break;
        }
        let next = link(at).load(Ordering::Relaxed);
        link(at).store(first, Ordering::Relaxed);
        look(at);
        first = at;
        at = next;
    }
    Reversed { first, rest: at }
}
