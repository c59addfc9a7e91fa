//! Catches reads of freed nodes in models.
//!
//! A model runs the code that ships, and that frees its nodes; a read after that
//! would be undefined rather than reported. So in a model a node carries a
//! canary: every accessor looks at it, to free a node is to kill it, and the
//! memory stays until the next run begins. Loom also checks that the look and
//! the kill are ordered by what the code synchronizes with, whichever came first
//! in the run at hand. Elsewhere a canary is nothing at all.

#[cfg(kvbm_loom)]
pub(crate) use model::*;

#[cfg(not(kvbm_loom))]
pub(crate) struct Canary;

#[cfg(not(kvbm_loom))]
impl Canary {
    pub(crate) fn new() -> Self {
        Self
    }

    /// Fails the run if the canary is dead.
    #[inline(always)]
    pub(crate) fn check(&self) {}

    /// Kills the canary: what carries it is freed.
    #[inline(always)]
    pub(crate) fn kill(&self) {}
}

/// Frees a box whose canaries have been killed.
#[cfg(not(kvbm_loom))]
#[inline(always)]
pub(crate) fn free<T: ?Sized>(killed: Box<T>) {
    drop(killed);
}

#[cfg(kvbm_loom)]
mod model {
    use std::alloc::Layout;
    use std::cell::RefCell;

    use crate::sync::UnsafeCell;

    pub(crate) struct Canary(UnsafeCell<bool>);

    impl Canary {
        pub(crate) fn new() -> Self {
            Self(UnsafeCell::new(false))
        }

        #[track_caller]
        pub(crate) fn check(&self) {
            // SAFETY: loom has checked that nobody writes it meanwhile.
            let is_dead = self.0.with(|is_dead| unsafe { *is_dead });
            assert!(!is_dead, "read of a freed node");
        }

        #[track_caller]
        pub(crate) fn kill(&self) {
            // SAFETY: loom has checked that nobody accesses it meanwhile.
            let was_dead = self.0.with_mut(|is_dead| unsafe { is_dead.replace(true) });
            assert!(!was_dead, "a node freed twice");
        }
    }

    thread_local! {
        /// What the run at hand has freed. A model's threads share it: see
        /// `model_epoch`.
        static FREED: RefCell<Vec<(*mut u8, Layout)>> = RefCell::default();
    }

    pub(crate) fn free<T: ?Sized>(killed: Box<T>) {
        let layout = Layout::for_value(&*killed);
        let memory = Box::into_raw(killed).cast();
        FREED.with_borrow_mut(|freed| freed.push((memory, layout)));
    }

    /// Gives back the memory of what the last run freed. To be called at the
    /// beginning of a run.
    #[cfg(test)]
    pub(crate) fn begin() {
        for (memory, layout) in FREED.take() {
            // SAFETY: from a box of this layout, in a run that has ended. Its
            // atomics were that run's and need no dropping.
            unsafe { std::alloc::dealloc(memory, layout) };
        }
    }
}
