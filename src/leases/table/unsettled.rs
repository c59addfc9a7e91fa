//! The user code of pieces that a thread has released, one after another.
//!
//! The user code of a piece (drops of attachments, a log subscriber) may ask the manager for
//! something that releases the next piece. If that ran its user code at once, the calls would nest
//! as deep as there are pieces. So it is put on a list of the thread, and runs when the call that
//! came first is done with its own.

use std::cell::RefCell;
use std::mem;

use crate::leases::LeaseId;
use crate::registry::Leftovers;
use crate::user_code::contain;

use super::leases::Name;

/// What is left to do for a piece whose blocks have been released.
pub(super) struct Unsettled {
    pub(super) leftovers: Leftovers,
    /// The lease, if this was its first piece.
    pub(super) ended: Option<(LeaseId, Name)>,
}

thread_local! {
    /// What came after the piece that this thread is at, if it is at one.
    static LATER: RefCell<Option<Vec<Unsettled>>> = const { RefCell::new(None) };
}

impl Unsettled {
    /// Runs the user code, now or when the thread is done with that of the piece it is at.
    pub(super) fn settle(self) {
        let mut own = Some(self);
        let is_first = LATER.try_with(|later| match &mut *later.borrow_mut() {
            Some(later) => {
                later.extend(own.take());
                false
            }
            none => {
                *none = Some(Vec::new());
                true
            }
        });
        if let Some(own) = own {
            own.run();
        }
        // An error: the thread ends, and has no list any more.
        if !is_first.unwrap_or(false) {
            return;
        }
        loop {
            let next = LATER.with(|later| {
                let mut later = later.borrow_mut();
                let next = later.as_mut().map(mem::take).unwrap_or_default();
                if next.is_empty() {
                    *later = None;
                }
                next
            });
            if next.is_empty() {
                return;
            }
            next.into_iter().for_each(Self::run);
        }
    }

    fn run(self) {
        let Self { leftovers, ended } = self;
        contain(
            "user code panicked while a lease released its blocks",
            || leftovers.settle(),
        );
        if let Some((id, name)) = ended {
            // The subscriber is user code.
            contain("a log subscriber panicked", || {
                tracing::info!(
                    lease = id.0,
                    owner = &*name.owner,
                    blocks = name.blocks,
                    "lease expired"
                );
            });
        }
    }
}
