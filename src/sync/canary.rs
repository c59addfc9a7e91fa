//! Canaries, which detect reads of freed nodes in models.
//!
//! A model runs the code that ships, which frees its nodes. A later read would be undefined
//! behaviour instead of a reported failure. In a model, a node therefore carries a canary: every
//! accessor checks it, freeing the node (or keeping it for reuse) kills it, and the memory is kept until the next run begins.
//! Loom also verifies that checks and kills are ordered by the code's own synchronization,
//! whichever came first in a run. In all other builds, a canary compiles to nothing.

#[cfg(kvbm_loom)]
pub(crate) use model::*;

#[cfg(not(kvbm_loom))]
pub(crate) struct Canary;

#[cfg(not(kvbm_loom))]
impl Canary {
    pub(crate) fn new() -> Self {
        Self
    }

    /// Fails the model if the canary is dead.
    #[inline(always)]
    pub(crate) fn check(&self) {}

    /// Kills the canary, because its node is about to be freed.
    #[inline(always)]
    pub(crate) fn kill(&self) {}

    /// Revives the canary, because its node's memory is used again.
    #[inline(always)]
    pub(crate) fn revive(&self) {}
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
            // SAFETY: loom checks that there is no concurrent write.
            let is_dead = self.0.with(|is_dead| unsafe { *is_dead });
            assert!(!is_dead, "read of a freed node");
        }

        #[track_caller]
        pub(crate) fn kill(&self) {
            // SAFETY: loom checks that there is no concurrent access.
            let was_dead = self.0.with_mut(|is_dead| unsafe { is_dead.replace(true) });
            assert!(!was_dead, "a node freed twice");
        }

        #[track_caller]
        pub(crate) fn revive(&self) {
            // SAFETY: loom checks that there is no concurrent access.
            let was_dead = self.0.with_mut(|is_dead| unsafe { is_dead.replace(false) });
            assert!(was_dead, "a node in use is used again");
        }
    }

    thread_local! {
        /// What the current run has freed. The threads of a model share it; see `model_epoch`.
        static FREED: RefCell<Vec<(*mut u8, Layout)>> = RefCell::default();
    }

    pub(crate) fn free<T: ?Sized>(killed: Box<T>) {
        let layout = Layout::for_value(&*killed);
        let memory = Box::into_raw(killed).cast();
        FREED.with_borrow_mut(|freed| freed.push((memory, layout)));
    }

    /// Frees the memory of the previous run's nodes. Must be called at the beginning of a run.
    #[cfg(test)]
    pub(crate) fn begin() {
        for (memory, layout) in FREED.take() {
            // SAFETY: the memory comes from a box of this layout, in a run that has ended. Its
            // atomics belonged to that run and need not be dropped.
            unsafe { std::alloc::dealloc(memory, layout) };
        }
    }
}
