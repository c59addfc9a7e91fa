//! Events: which hashes are registered, and which no longer are.
//!
//! A router that sends each request to the instance that already holds its prefix needs to
//! know what every instance holds. An [`EventsManager`] given to a registry emits a
//! [`KvCacheEvent::Create`] for every registration and a [`KvCacheEvent::Remove`] when
//! one ends. An [`EventBatcher`] groups these events into batches, and a
//! [`KvbmCacheEventsPublisher`] sends the batches over a
//! [`Publisher`](crate::pubsub::Publisher).
//!
//! ```
//! use std::sync::Arc;
//!
//! use futures::{FutureExt, StreamExt};
//! use kvbm_lockfree::events::{EventsManager, KvCacheEvent};
//! use kvbm_lockfree::{BlockRegistry, SequenceHash};
//!
//! let events = Arc::new(EventsManager::builder().build());
//! let mut subscription = Box::pin(events.subscribe());
//! let registry = BlockRegistry::builder().event_manager(events).build();
//!
//! let hash = SequenceHash::new(7, None, 0);
//! drop(registry.register_sequence_hash(hash));
//!
//! let mut next = || subscription.next().now_or_never().flatten();
//! assert_eq!(next(), Some(KvCacheEvent::Create(hash)));
//! assert_eq!(next(), Some(KvCacheEvent::Remove(hash)));
//! assert_eq!(next(), None);
//! ```
//!
//! # When does a subscriber see an event?
//!
//! Polling a subscription first yields the events of everything that happened before the
//! poll, and only then [`Pending`](std::task::Poll::Pending). A subscriber that waits is
//! woken, in any executor. The thread that begins a registration emits its event; another
//! thread that registers the same hash at the same time does not wait for that.
//!
//! # In which order?
//!
//! * Per hash, `Create` and `Remove` alternate, starting with `Create`, even when threads
//!   race to register it. A hash that is registered again before its `Remove` has been
//!   broadcast emits neither.
//! * A thread's events are broadcast in the order of its operations. If one operation
//!   happens before another on any thread, so do their events.
//!
//! # What does it cost a registration?
//!
//! One allocation and one atomic exchange, plus an entry in the registry, which blocks do
//! not need without events. Registering takes no lock for events and never waits, whatever
//! subscribers do.
//!
//! # What if a subscriber is slow, or panics?
//!
//! * A subscriber that falls behind by more than
//!   [`channel_capacity`](EventsManagerBuilder::channel_capacity) events loses the oldest
//!   ones. [`EventsManager::subscribe_loss_aware`] reports how many.
//! * Wakers are called with no lock held and may use the events themselves. A panicking waker
//!   is reported and affects no other subscriber. Subscribers are woken one by one, so a slow
//!   waker delays the wake-ups of others, but not their events.
//! * A subscription opts out of tokio's cooperative scheduling, which would hide available
//!   events from a task that has used up its budget. A loop over a busy subscription should
//!   therefore yield from time to time; [`EventBatcher`] does.
//!
//! # When does a stream end?
//!
//! As soon as the manager and everything that holds it are gone. The manager's threads exit
//! then, too.
//!
//! # How does it work?
//!
//! | file | idea |
//! |---|---|
//! | `event` | the event: a hash is registered, or no longer is |
//! | [`policy`] | which hashes emit events |
//! | `emit/queue` | where registrations queue events: a stack that is drained as a whole |
//! | `emit/doorbell` | when a producer must wake the dispatch thread |
//! | `emit/live_counts` | live registrations per hash: which events subscribers see |
//! | `emit/waiters` | the wakers of subscriptions that wait for an event |
//! | `emit/cleanup_queue` | tiers whose cleared registrations are still to be removed |
//! | `emit/dispatcher` | the state under the lock: what happens to each drained entry |
//! | `emit/hub` | the protocol: how threads enqueue, dispatch and wait |
//! | `emit/cleaner` | removes cleared registrations, on a thread of its own |
//! | `emit/dispatch_thread` | dispatches while all subscribers wait |
//! | `emit/subscription` | the stream a subscriber polls |
//! | `emit/emitter` | the producing side, which keeps the hub open |
//! | `emit/release_handle` | a guard that announces the end of a registration |
//! | [`manager`] | the public side of these |
//! | `wire/messages` | what is sent: batches of events, each with its instance |
//! | `wire/`[`batcher`], `wire/`[`publisher`] | from a subscription to a message bus |
//! | `wire/encoding` | serializes batches, and splits those that are too large |
//! | `wire/losses` | counts and reports messages that were not published |
//!
//! A registration begins with its entry in the registry. The thread that creates the entry
//! queues `Create` while it holds a handle to it; the thread that ends the entry queues
//! `Remove`. So the events of *one* registration are queued in order. Those of consecutive
//! registrations of a hash need not be: the second may be queued before the end of the
//! first. The dispatcher therefore counts: it broadcasts `Create` when a hash goes from zero
//! registrations to one, and `Remove` when it goes from one to zero.
//!
//! A thread that polls a subscription, or creates one, *dispatches*: it drains the queue,
//! broadcasts the events and wakes waiting subscribers. While all subscribers wait, a thread
//! of the manager does so. Dispatching takes a lock that registrations never take.

mod emit;
mod event;
pub mod manager;
pub mod policy;
mod wire;

pub use manager::{EventsManager, EventsManagerBuilder, EventsManagerSettings};
pub use policy::{AllEventsPolicy, EventEmissionPolicy, PowerOfTwoPolicy};
pub use protocol::{InstanceId, KvCacheEvent, KvCacheEvents, KvbmCacheEvents};
pub use wire::batcher::{self, BatchingConfig, EventBatcher};
pub use wire::publisher::{self, KvbmCacheEventsPublisher, KvbmCacheEventsPublisherBuilder};

/// The event, the batches it is sent in, and the guard that announces the end of a
/// registration.
pub mod protocol {
    pub use super::emit::EventReleaseHandle;
    pub use super::event::KvCacheEvent;
    pub use super::wire::messages::{InstanceId, KvCacheEvents, KvbmCacheEvents};
}

#[cfg(all(test, kvbm_loom))]
pub(crate) use emit::{Doorbell, EventQueue, LiveCounts};
