//! Which thread dispatches while all subscribers wait?
//!
//! A thread of the events manager. While there are events it naps between looks at the queue,
//! so that registrations need not wake it; after a while without any it parks. It also starts
//! the cleaner, and exits once the channel is closed.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Duration;

use super::cleaner;
use super::hub::Hub;

/// How long the thread naps between two looks at the queue.
pub(super) const NAP: Duration = Duration::from_micros(100);

/// Number of consecutive looks at an empty queue after which the thread parks.
pub(super) const IDLE_LOOKS: u32 = 50;

/// The thread's next action after it has dispatched.
enum Next {
    Exit,
    StartCleaner,
    Idle { drained_any: bool },
}

/// Starts the thread.
///
/// # Panics
///
/// If the system cannot start a thread.
pub(super) fn start(hub: &Arc<Hub>) -> Thread {
    let hub = Arc::clone(hub);
    thread::Builder::new()
        .name("kvbm-events".into())
        .spawn(move || run(&hub))
        .expect("the system can start a thread")
        .thread()
        .clone()
}

/// The thread's loop.
fn run(hub: &Arc<Hub>) {
    let mut idle_looks = 0;
    loop {
        hub.doorbell.disarm();
        let next = hub.dispatch(None, |dispatcher, drained_any| {
            if dispatcher.is_closed() {
                Next::Exit
            } else if dispatcher.cleanups.needs_cleaner() {
                dispatcher.cleanups.begin();
                Next::StartCleaner
            } else {
                Next::Idle { drained_any }
            }
        });
        match next {
            Next::Exit => return,
            Next::StartCleaner => {
                cleaner::start(hub, cleaner::thread());
                idle_looks = 0;
            }
            Next::Idle { drained_any } => {
                idle_looks = if drained_any { 0 } else { idle_looks + 1 };
                if idle_looks >= IDLE_LOOKS && hub.doorbell.arm(|| !hub.queue.is_empty()) {
                    thread::park();
                } else {
                    thread::park_timeout(NAP);
                }
            }
        }
    }
}
