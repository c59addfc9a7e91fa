//! Threads that work in rounds and meet in between while they still hold guards.

use std::sync::{Condvar, Mutex};
use std::thread;

/// A barrier whose last arrival runs a check while no other member is running. A member that panics
/// breaks the barrier, so that the others do not wait forever.
pub struct Rounds {
    state: Mutex<State>,
    changed: Condvar,
    members: usize,
}

struct State {
    arrived: usize,
    round: u64,
    going_on: bool,
}

impl Rounds {
    pub fn new(members: usize) -> Self {
        Rounds {
            state: Mutex::new(State {
                arrived: 0,
                round: 0,
                going_on: true,
            }),
            changed: Condvar::new(),
            members,
        }
    }

    /// Runs `work` until a meeting ends it. At each meeting, one member runs `quiet`, which returns
    /// whether there is another round.
    pub fn attend(&self, mut work: impl FnMut(), quiet: impl Fn() -> bool) {
        let _member = Member(self);
        loop {
            work();
            if !self.meet(&quiet) {
                return;
            }
        }
    }

    fn meet(&self, quiet: impl Fn() -> bool) -> bool {
        let mut state = self.state.lock().expect("another member failed");
        state.arrived += 1;
        if state.arrived == self.members {
            // A failure here poisons the mutex, which ends the wait of all members.
            state.going_on &= quiet();
            state.arrived = 0;
            state.round += 1;
            self.changed.notify_all();
            return state.going_on;
        }
        let round = state.round;
        let waits = |state: &mut State| state.round == round && state.going_on;
        let state = self.changed.wait_while(state, waits);
        state.expect("another member failed").going_on
    }
}

struct Member<'a>(&'a Rounds);

impl Drop for Member<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let state = self.0.state.lock();
            state
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .going_on = false;
            self.0.changed.notify_all();
        }
    }
}
