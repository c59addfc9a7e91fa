//! Epochs for models: garbage is freed as early as the rules allow.
//!
//! crossbeam frees garbage in batches, at a time that depends on what the process has done before.
//! A model checker needs every run of a model to be the same. It also wants garbage to be freed as
//! early as possible, since that is when a reader that breaks the rules is caught. Here, a deferred
//! function runs as soon as all guards that existed when it was deferred have been dropped.
//!
//! # Which orderings does it provide?
//!
//! Those of crossbeam, by the same fences. A thread that pins after a function was deferred sees
//! what was done before the deferral. A deferred function runs after everything that was done under
//! the guards it waited for.
//!
//! loom and shuttle run all threads of a model on one operating system thread, so the model's
//! threads share that thread's locals.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::sync::{Ordering, fence};

type Deferred = Box<dyn FnOnce()>;

#[derive(Default)]
struct State {
    next: u64,
    guards: BTreeSet<u64>,
    /// The deferred functions, each with the guards that it waits for.
    deferred: Vec<(BTreeSet<u64>, Deferred)>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Prevents what is reachable now from being freed.
pub(crate) struct Guard(u64);

/// Returns a new guard.
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
    /// Runs `f` once every guard that exists now has been dropped.
    pub(crate) fn defer(&self, f: impl FnOnce() + 'static) {
        fence(Ordering::SeqCst);
        STATE.with_borrow_mut(|state| {
            let guards = state.guards.clone();
            state.deferred.push((guards, Box::new(f)));
        });
    }

    /// Does nothing: deferred functions always run as soon as possible.
    #[expect(clippy::unused_self, reason = "as crossbeam's")]
    pub(crate) fn flush(&self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A failed run has nothing left to prove, and must not be resumed.
            std::mem::forget(STATE.take());
            return;
        }
        // Orders what was done under this guard before the functions that wait for it; and if one
        // of them runs here, everything under the other guards it waited for before it as well.
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
