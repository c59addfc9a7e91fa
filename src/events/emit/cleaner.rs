//! Which thread removes the registrations that a cleared tier leaves behind?
//!
//! Ending a registration drops its attachments, which is user code and may be slow. The
//! thread that wakes subscribers therefore does not do it. It starts another one, the
//! *cleaner*, when a tier is queued; the cleaner exits when the queue is empty.
//!
//! Registrations end in the order of the slots. Ending children before their parents would
//! require a list of all cleared blocks, sorted by position, and would still guarantee
//! nothing: concurrent allocations end registrations too, each as its block is handed out.

use std::sync::{Arc, Weak};
use std::thread;

use crate::registry::Tier;
use crate::user_code::contain;

use super::hub::Hub;

/// Returns a builder for the cleaner's thread.
pub(super) fn thread() -> thread::Builder {
    thread::Builder::new().name("kvbm-cleaner".into())
}

/// Runs the cleaner on a new thread, or on this one if none can be started. The caller has
/// recorded in the cleanup queue that a cleaner is running.
pub(super) fn start(hub: &Arc<Hub>, thread: thread::Builder) {
    let for_thread = Arc::clone(hub);
    if let Err(error) = thread.spawn(move || run(&for_thread)) {
        contain("a log subscriber panicked", || {
            tracing::error!(
                %error,
                "no thread to end cleared registrations; subscribers may be woken late"
            );
        });
        run(hub);
    }
}

/// Cleans up queued tiers one by one, keeping each alive only while it is being cleaned up.
fn run(hub: &Hub) {
    loop {
        let next = hub.dispatcher().cleanups.next();
        let Some(tier) = next else { return };
        remove_cleared(&tier);
    }
}

/// Ends the registrations that a cleared tier has left behind. The caller must hold no lock.
pub(super) fn remove_cleared(tier: &Weak<dyn Tier>) {
    let Some(tier) = tier.upgrade() else {
        return;
    };
    let leftovers = contain("a cleared tier panicked", || tier.end_cleared());
    // This may be the last reference to the tier's memory, and with it to its registry and
    // the emitter. It is dropped first, so that slow drops of attachments do not delay the
    // end of streams.
    contain("a registry panicked when it was dropped", || drop(tier));
    if let Some(leftovers) = leftovers {
        contain("an attachment panicked when it was dropped", || {
            leftovers.settle();
        });
    }
}
