//! Where a suspended thread stands.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::Step;

/// How long anything may take. Only a verdict, "stuck": nothing here is
/// expected to take a noticeable part of it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    /// The steps, in this order, at which the thread is to stop.
    static ARMED: RefCell<Option<(Arc<Gate>, &'static [Step])>> = const { RefCell::new(None) };
}

/// Stops the thread if it is to stop here.
pub(crate) fn reach(step: Step) {
    // A thread whose locals are gone is not one that was armed.
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

/// One thread stops here, once for each step it was armed with.
#[derive(Default)]
pub(super) struct Gate {
    passes: Mutex<Passes>,
    changed: Condvar,
}

#[derive(Default)]
struct Passes {
    /// Times the thread has stopped.
    stopped: usize,
    /// Times it may go on.
    granted: usize,
    /// Whether it has come to the end of its operation.
    ended: bool,
}

impl Gate {
    /// Has the calling thread stop at these steps.
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

    /// Says that the operation is over, armed for more steps or not.
    pub(super) fn end(&self) {
        ARMED.set(None);
        self.passes.lock().unwrap().ended = true;
        self.changed.notify_all();
    }

    /// Waits until the thread has stopped for the `nth` time. Returns whether it
    /// has: not if it came to its end first, or took too long.
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

    /// Waits until the operation is over, no longer than `patience`.
    pub(super) fn wait_for_end(&self, patience: Duration) -> bool {
        let passes = self.passes.lock().unwrap();
        let (passes, _) = self
            .changed
            .wait_timeout_while(passes, patience, |passes| !passes.ended)
            .unwrap();
        passes.ended
    }

    /// Lets the thread go on from its `nth` stop.
    pub(super) fn grant(&self, nth: usize) {
        self.passes.lock().unwrap().granted = nth;
        self.changed.notify_all();
    }
}
