//! The gate at which a thread is suspended.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::Step;

/// The time after which a thread counts as stuck. Nothing is expected to take a noticeable
/// fraction of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// The steps at which the thread must stop, in this order.
    static ARMED: RefCell<Option<(Arc<Gate>, &'static [Step])>> = const { RefCell::new(None) };
}

/// Suspends the calling thread if it is to stop at this step.
pub(crate) fn reach(step: Step) {
    // A thread whose locals have been destroyed is not armed.
    let gate = ARMED.try_with(|armed| {
        let (gate, steps) = armed.take()?;
        let (reached, rest) = match steps {
            [next, rest @ ..] if *next == step => (Some(Arc::clone(&gate)), rest),
            steps => (None, steps),
        };
        if !rest.is_empty() {
            armed.replace(Some((gate, rest)));
        }
        reached
    });
    if let Ok(Some(gate)) = gate {
        gate.stop();
    }
}

/// A gate at which one thread stops, once for each step that it was armed with.
#[derive(Default)]
pub(super) struct Gate {
    passes: Mutex<Passes>,
    changed: Condvar,
}

#[derive(Default)]
struct Passes {
    /// How many times the thread has stopped.
    stopped: usize,
    /// The number of the last stop from which the thread may continue.
    granted: usize,
    /// Whether the thread has completed its operation.
    ended: bool,
}

impl Gate {
    /// Arms the gate: the calling thread will stop at these steps.
    pub(super) fn arm(self: &Arc<Self>, steps: &'static [Step]) {
        ARMED.set(Some((Arc::clone(self), steps)));
    }

    fn stop(&self) {
        let mut passes = self.passes.lock().unwrap();
        passes.stopped += 1;
        self.changed.notify_all();
        let own = passes.stopped;
        drop(
            self.changed
                .wait_while(passes, |passes| passes.granted < own)
                .unwrap(),
        );
    }

    /// Signals that the operation is complete, even if the thread is armed for more steps.
    pub(super) fn end(&self) {
        ARMED.set(None);
        self.passes.lock().unwrap().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the thread has stopped for the `nth` time. Returns false if the operation is
    /// complete before that, or if it takes too long.
    pub(super) fn wait_for_stop(&self, nth: usize) -> bool {
        let passes = self.passes.lock().unwrap();
        let (passes, _) = self
            .changed
            .wait_timeout_while(passes, PATIENCE, |passes| {
                passes.stopped < nth && !passes.ended
            })
            .unwrap();
        passes.stopped >= nth
    }

    /// Waits until the operation is complete, for at most `patience`. Returns whether it is.
    pub(super) fn wait_for_end(&self, patience: Duration) -> bool {
        let passes = self.passes.lock().unwrap();
        let (passes, _) = self
            .changed
            .wait_timeout_while(passes, patience, |passes| !passes.ended)
            .unwrap();
        passes.ended
    }

    /// Lets the thread continue from its `nth` stop.
    pub(super) fn grant(&self, nth: usize) {
        self.passes.lock().unwrap().granted = nth;
        self.changed.notify_all();
    }
}
