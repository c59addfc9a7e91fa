//! A stack of slot numbers, linked through words that its user supplies.
//!
//! A push is one exchange; a drain takes the whole stack with one swap. So there is no ABA
//! problem: a push only requires that the head is what the pushed link says, not that it never
//! changed in between.
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
use crate::sync::{AtomicU32, Ordering};

/// The head of the stack; [`NIL`] if it is empty.
pub(crate) struct SlotStack {
    head: AtomicU32,
}

impl SlotStack {
    pub(crate) fn new() -> Self {
        Self {
            head: AtomicU32::new(NIL),
        }
    }

    /// Pushes a run of slots that are linked from `top`, the latest, down to the slot whose
    /// link is `bottom`. Lock-free: one exchange, repeated if another thread pushes first.
    ///
    /// # Safety
    ///
    /// None of the slots is on the stack or in the hands of a drain, and no other thread pushes
    /// one of them: the caller has set their marks.
    #[inline(always)]
    pub(crate) unsafe fn push_run(&self, top: u32, bottom: &AtomicU32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            bottom.store(head, Ordering::Relaxed);
            // Release: pairs with the acquire in `drain`, for the links.
            match self
                .head
                .compare_exchange_weak(head, top, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Takes all slots off the stack and reverses their links, so that they can be followed in
    /// the order of the pushes. Calls `look` with each slot, the latest first. Returns the slot
    /// that was pushed first, or [`NIL`] if the stack was empty.
    #[inline(always)]
    pub(crate) fn drain<'l>(
        &self,
        link: impl Fn(u32) -> &'l AtomicU32,
        mut look: impl FnMut(u32),
    ) -> u32 {
        let mut first = NIL;
        if self.head.load(Ordering::Relaxed) != NIL {
            // Acquire: pairs with the release of every push on the stack, since each of them
            // read the head that the push below it wrote.
            let mut at = self.head.swap(NIL, Ordering::Acquire);
            while at != NIL {
                let next = link(at).load(Ordering::Relaxed);
                link(at).store(first, Ordering::Relaxed);
                look(at);
                first = at;
                at = next;
            }
        }
        first
    }

    /// Calls `visit` with every slot on the stack. Only while no other thread uses it.
    pub(crate) fn for_each<'l>(
        &self,
        link: impl Fn(u32) -> &'l AtomicU32,
        mut visit: impl FnMut(u32),
    ) {
        let mut at = self.head.load(Ordering::Acquire);
        while at != NIL {
            visit(at);
            at = link(at).load(Ordering::Relaxed);
        }
    }
}
