//! Grace periods for models: what a deferral may wait for, and not a moment more.
//!
//! crossbeam frees garbage in batches, now and then, at a time that depends on
//! what the process did before. A checker needs every run of a model to be the
//! same, and wants garbage freed as early as the rules allow, since that is when
//! a reader that breaks them gets hurt. So here a deferral runs at the very
//! moment the last of the guards is gone that were there when it was made.
//!
//! What crossbeam orders is ordered here too, with the fences that it has: whoever
//! is pinned after a deferral was made sees what was done before it, and what is
//! deferred runs after everything that was done under the guards it waited for.
//!
//! loom and shuttle run all threads of a model on one thread of the system, so
//! that thread's locals are the state the model's threads share.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::sync::{Ordering, fence};

type Deferred = Box<dyn FnOnce()>;

#[derive(Default)]
struct State {
    next: u64,
    guards: BTreeSet<u64>,
    /// What is deferred, with the guards that it waits for.
    deferred: Vec<(BTreeSet<u64>, Deferred)>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Keeps what is reachable now from being freed.
pub(crate) struct Guard(u64);

/// A new guard.
pub(crate) fn pin() -> Guard {
    STATE.with_borrow_mut(|state| {
        state.next += 1;
        let id = state.next;
        state.guards.insert(id);
        // Pairs with the fence in `defer`.
        fence(Ordering::SeqCst);
        Guard(id)
    })
}

impl Guard {
    /// Runs `f` once every guard there is now has been dropped.
    pub(crate) fn defer(&self, f: impl FnOnce() + 'static) {
        fence(Ordering::SeqCst);
        STATE.with_borrow_mut(|state| {
            let guards = state.guards.clone();
            state.deferred.push((guards, Box::new(f)));
        });
    }

    /// Nothing: deferrals run as soon as they may.
    #[expect(clippy::unused_self, reason = "as crossbeam's")]
    pub(crate) fn flush(&self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A failed run has nothing left to prove, and may not be resumed.
            std::mem::forget(STATE.take());
            return;
        }
        // Orders what was done under this guard before what waits for it, and
        // if that runs here, all that it waited for before it.
        fence(Ordering::SeqCst);
        let due: Vec<Deferred> = STATE.with_borrow_mut(|state| {
            state.guards.remove(&self.0);
            for (guards, _) in &mut state.deferred {
                guards.remove(&self.0);
            }
            state
                .deferred
                .extract_if(.., |(guards, _)| guards.is_empty())
                .map(|(_, f)| f)
                .collect()
        });
        due.into_iter().for_each(|f| f());
    }
}
