//! What happens to a drained entry?
//!
//! An event that changes whether its hash is registered is broadcast; a cleared tier is
//! queued for cleanup. This is the state under the hub's lock, so everything here runs on
//! one thread at a time, and none of it is user code: subscriptions register their wakers
//! with [`Waiters`], not with the channel.

use std::sync::Weak;

use tokio::sync::broadcast;

use crate::events::event::KvCacheEvent;
use crate::registry::Tier;

use super::cleanup_queue::CleanupQueue;
use super::live_counts::LiveCounts;
use super::waiters::{WaiterId, Waiters};

/// An entry of the event queue.
pub(in crate::events) enum Queued {
    /// The beginning or end of a registration.
    Event(KvCacheEvent),
    /// A tier has been cleared. Ending the registrations it leaves behind queues a `Remove`
    /// for each.
    Cleared(Weak<dyn Tier>),
}

impl From<KvCacheEvent> for Queued {
    fn from(event: KvCacheEvent) -> Self {
        Self::Event(event)
    }
}

/// Broadcasts events and keeps track of the subscriptions that wait for them.
pub(super) struct Dispatcher {
    live_counts: LiveCounts,
    pub(super) cleanups: CleanupQueue,
    pub(super) waiters: Waiters,
    /// `None` once closed.
    channel: Option<broadcast::Sender<KvCacheEvent>>,
}

/// The effect of draining the queue.
#[derive(Default)]
pub(super) struct Progress {
    /// Whether the queue held any entries.
    pub(super) drained_any: bool,
    /// Whether there is news for subscribers: an event, or the end of the stream.
    pub(super) has_news: bool,
}

impl Dispatcher {
    /// Creates a dispatcher whose channel holds this many events.
    pub(super) fn new(channel_capacity: usize) -> Self {
        Self {
            live_counts: LiveCounts::default(),
            cleanups: CleanupQueue::default(),
            waiters: Waiters::default(),
            channel: Some(broadcast::Sender::new(channel_capacity)),
        }
    }

    /// Returns whether the channel is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_none()
    }

    /// Adds a subscription to all events broadcast from now on.
    ///
    /// # Panics
    ///
    /// If the channel is closed.
    pub(super) fn subscribe(&mut self) -> (WaiterId, broadcast::Receiver<KvCacheEvent>) {
        let channel = self.channel.as_ref();
        let channel = channel.expect("open while there is an emitter");
        (self.waiters.next_id(), channel.subscribe())
    }

    /// Processes drained entries in order.
    pub(super) fn process(&mut self, entries: impl Iterator<Item = Queued>) -> Progress {
        let mut progress = Progress::default();
        let Some(channel) = &self.channel else {
            return progress;
        };
        for entry in entries {
            progress.drained_any = true;
            match entry {
                Queued::Event(event) => {
                    if self.live_counts.apply(&event) {
                        // An error means that there are no subscribers.
                        progress.has_news |= channel.send(event).is_ok();
                    }
                }
                Queued::Cleared(tier) => self.cleanups.push(tier),
            }
        }
        if progress.drained_any {
            self.live_counts.trim();
        }
        progress
    }

    /// Closes the channel: subscriptions end once they have read what is left in it.
    pub(super) fn close(&mut self) {
        self.channel = None;
        // A live tier keeps an emitter alive, so these are all gone.
        self.cleanups.clear();
    }
}
