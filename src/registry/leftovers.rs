//! Deferred user code: drops and panics that an operation deals with after its own work is
//! complete.
//!
//! An operation on blocks may end registrations, and so has to drop what users attached to
//! them. Those drops are user code: they may be slow, use the manager, or panic. So the
//! operation only collects them while it is under way, as [`Leftovers`], and
//! [settles](Leftovers::settle) them last, when it holds nothing and nothing is half done.
//!
//! Some user code cannot be deferred, because the operation needs its answer or its effect
//! at once: a frequency tracker's count, or whether an events manager wants a hash. That
//! code runs under [`Leftovers::catch`], and only its panic is deferred.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::user_code::Panics;

use super::extras::Extras;

/// The user code that an operation has deferred: the attachments and callbacks of hashes whose
/// registrations have ended, which must be dropped, and the first panic of user code that has
/// already run.
///
/// If this is dropped because the operation unwinds, the drops still run, but no panic is
/// resumed.
///
/// It is one word, and allocates nothing while there is nothing to defer.
#[derive(Default)]
#[must_use = "deferred user code must run when the operation is complete"]
pub(crate) struct Leftovers(Option<Box<Owed>>);

#[derive(Default)]
struct Owed {
    /// The extras deferred last. Each links to those deferred before.
    extras: Option<Box<Extras>>,
    panics: Panics,
}

impl Leftovers {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Runs user code that cannot be deferred. Returns `None` if it panics, and defers the
    /// panic.
    #[inline]
    pub(crate) fn catch<R>(&mut self, code: impl FnOnce() -> R) -> Option<R> {
        // Unwind safety: only state of the user's own can be left half changed.
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

    /// Defers dropping the attachments and callbacks of an entry that has ended.
    pub(super) fn leave(&mut self, mut extras: Box<Extras>) {
        let owed = self.owed();
        extras.before = owed.extras.take();
        owed.extras = Some(extras);
    }

    /// Runs the deferred drops in the order in which they were deferred. Call it last, when
    /// the operation is complete.
    ///
    /// # Panics
    ///
    /// Resumes the first panic of user code, unless the thread is already unwinding.
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
