//! What an operation owes to user code, until it is complete.

use crate::user_code::Panics;

use super::extras::Extras;

/// The drops of what hung on hashes whose registrations have ended, and the first panic of
/// user code that has been called already.
///
/// An operation collects these while it is under way, and [settles](Self::settle) them when
/// nothing is held and nothing is left to be done: then user code may take its time, use
/// the manager and the registry, or panic. If it is dropped instead, since the operation
/// unwinds, the same is done, but no panic goes on.
#[derive(Default)]
#[must_use = "user code is to be run when the operation is complete"]
pub(crate) struct Leftovers {
    /// The newest: each leads to the one before.
    extras: Option<Box<Extras>>,
    panics: Panics,
}

impl Leftovers {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            extras: None,
            panics: Panics::new(),
        }
    }

    /// Runs user code that has to be asked for an answer now. A panic is kept.
    #[inline]
    pub(crate) fn catch<R>(&mut self, code: impl FnOnce() -> R) -> Option<R> {
        self.panics.catch(code)
    }

    /// Leaves the attachments and callbacks of an entry that has ended.
    pub(super) fn leave(&mut self, mut extras: Box<Extras>) {
        extras.before = self.extras.take();
        self.extras = Some(extras);
    }

    /// Runs what is left, in the order in which it was left. For the end of an operation.
    ///
    /// # Panics
    ///
    /// With the first panic of user code, unless the thread unwinds already.
    #[inline]
    pub(crate) fn settle(mut self) {
        if self.extras.is_some() {
            self.drop_extras();
        }
        std::mem::take(&mut self.panics).resume();
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

impl Drop for Leftovers {
    #[inline]
    fn drop(&mut self) {
        if self.extras.is_some() {
            self.drop_extras();
        }
    }
}
