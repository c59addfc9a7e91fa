//! What an operation owes to user code, until it is complete.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::user_code::Panics;

use super::extras::Extras;

/// The drops of what hung on hashes whose registrations have ended, and the first panic of
/// user code that has been called already.
///
/// An operation collects these while it is under way, and [settles](Self::settle) them when
/// nothing is held and nothing is left to be done: then user code may take its time, use
/// the manager and the registry, or panic. If it is dropped instead, since the operation
/// unwinds, the same is done, but no panic goes on.
///
/// One word, and nothing on the heap, for as long as there are none.
#[derive(Default)]
#[must_use = "user code is to be run when the operation is complete"]
pub(crate) struct Leftovers(Option<Box<Owed>>);

#[derive(Default)]
struct Owed {
    /// The newest: each leads to the one before.
    extras: Option<Box<Extras>>,
    panics: Panics,
}

impl Leftovers {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Runs user code that has to be asked for an answer now. A panic is kept.
    #[inline]
    pub(crate) fn catch<R>(&mut self, code: impl FnOnce() -> R) -> Option<R> {
        // Unwind safety: what the code has left half done is the user's own.
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.owed().panics.add(payload);
                None
            }
        }
    }

    #[cold]
    fn owed(&mut self) -> &mut Owed {
        self.0.get_or_insert_default()
    }

    /// Leaves the attachments and callbacks of an entry that has ended.
    pub(super) fn leave(&mut self, mut extras: Box<Extras>) {
        let owed = self.owed();
        extras.before = owed.extras.take();
        owed.extras = Some(extras);
    }

    /// Runs what is left, in the order in which it was left. For the end of an operation.
    ///
    /// # Panics
    ///
    /// With the first panic of user code, unless the thread unwinds already.
    #[inline]
    pub(crate) fn settle(mut self) {
        if let Some(owed) = self.0.take() {
            owed.settle();
        }
    }
}

impl Drop for Leftovers {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut owed) = self.0.take() {
            owed.drop_extras();
        }
    }
}

impl Owed {
    #[cold]
    fn settle(mut self) {
        self.drop_extras();
        self.panics.resume();
    }

    #[cold]
    fn drop_extras(&mut self) {
        let mut in_order = None;
        let mut newest = self.extras.take();
        while let Some(mut extras) = newest {
            newest = extras.before.take();
            extras.before = in_order;
            in_order = Some(extras);
        }
        while let Some(mut extras) = in_order {
            in_order = extras.before.take();
            extras.drop_each(&mut self.panics);
        }
    }
}
