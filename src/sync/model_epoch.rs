//! Grace periods for models: what a deferral may wait for, and not a moment more.
//!
//! crossbeam frees garbage in batches, now and then, at a time that depends on
//! what the process did before. A checker needs every run of a model to be the
//! same, and wants garbage freed as early as the rules allow, since that is when
//! a reader that breaks them gets hurt. So here a deferral runs at the very
//! moment the last of the guards is gone that were there when it was made.
//!
//! loom and shuttle run all threads of a model on one thread of the system, so
//! that thread's locals are the state the model's threads share.

use std::cell::RefCell;
use std::collections::BTreeSet;

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
        Guard(id)
    })
}

impl Guard {
    /// Runs `f` once every guard there is now has been dropped.
    pub(crate) fn defer(&self, f: impl FnOnce() + 'static) {
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
        // A failed run has nothing left to prove, and may not be resumed.
        if !std::thread::panicking() {
            due.into_iter().for_each(|f| f());
        }
    }
}
