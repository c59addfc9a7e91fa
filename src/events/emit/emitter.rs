//! What does a registration need in order to emit events?
//!
//! An [`Emitter`], the producing side of a hub. The hub stays open as long as its emitter is
//! alive.

use std::sync::Arc;

use super::dispatch_thread;
use super::dispatcher::Queued;
use super::hub::Hub;
use super::subscription::Subscription;

/// The producing side of a hub. Dropping it closes the channel once everything queued has
/// been broadcast.
pub(in crate::events) struct Emitter(pub(super) Arc<Hub>);

impl Emitter {
    /// Creates a hub, its emitter, and its dispatch thread.
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread.
    pub(in crate::events) fn new(channel_capacity: usize) -> Arc<Self> {
        let hub = Arc::new(Hub::new(channel_capacity));
        hub.set_dispatch_thread(dispatch_thread::start(&hub));
        Arc::new(Self(hub))
    }

    /// Queues an event or a cleared tier. Lock-free: see [`Hub::enqueue`].
    pub(in crate::events) fn enqueue(&self, entry: impl Into<Queued>) {
        self.0.enqueue(entry.into());
    }

    /// Subscribes to everything enqueued from now on.
    pub(in crate::events) fn subscribe(&self) -> Subscription {
        let (id, events) = self
            .0
            .dispatch(None, |dispatcher, _| dispatcher.subscribe());
        Subscription::new(id, events, Arc::clone(&self.0))
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        self.0.close();
    }
}
