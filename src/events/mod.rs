//! Events: which hashes are registered, and which no longer are.
//!
//! A router that sends each request to the instance that already has its prefix needs to
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
//! # Guarantees
//!
//! * For each hash, `Create` and `Remove` alternate, starting with `Create`, even when
//!   threads race to register it. A hash that is registered again before its `Remove` has
//!   been broadcast emits neither.
//! * Events of one thread are broadcast in the order of its operations; if one operation
//!   happens before another on any thread, so do their events.
//! * Polling a subscription first yields all events of operations that happened before
//!   the poll, and only then [`Pending`](std::task::Poll::Pending). The thread that
//!   begins a registration emits its event; a thread that registers the same hash
//!   meanwhile does not wait for that.
//! * Registering takes no lock for events and never waits, whatever subscribers do. It
//!   costs one allocation and one atomic exchange, plus an entry in the registry, which
//!   blocks do not need without events.
//! * A subscriber that falls behind by more than
//!   [`channel_capacity`](EventsManagerBuilder::channel_capacity) events loses the
//!   oldest ones. [`EventsManager::subscribe_loss_aware`] reports how many.
//! * Streams end, and the manager's threads exit, as soon as the manager and everything
//!   that holds it are gone.
//! * Wakers are called with no lock held, and may use the events themselves. One that
//!   panics is reported and affects nobody else. Subscribers are woken one after the
//!   other, so a slow waker delays the wake-ups of the others, but not their events.
//!
//! A subscription does not take part in tokio's cooperative scheduling, because that
//! would hide available events from a task that has used up its budget. A loop over a
//! subscription that events keep arriving at should therefore yield from time to time;
//! [`EventBatcher`] does.
//!
//! # How it is built
//!
//! | file | idea |
//! |---|---|
//! | `notes` | what registrations leave behind: a stack that takes a note with one exchange |
//! | `lives` | how many registrations of each hash are known of; makes the pairs exact |
//! | `bell` | wakes the thread that reads the notes if it sleeps |
//! | `hub` | who leaves notes, who reads them, and the channel to the subscribers |
//! | `sleepers` | the wakers of subscriptions that have nothing to read |
//! | `subscription` | the stream that a subscriber polls |
//! | `cleaner` | ends what cleared tiers leave behind, on a thread of its own |
//! | [`manager`] | the public side of these |
//! | [`policy`] | which hashes have events at all |
//! | [`protocol`] | events, and the batches of them that are sent |
//! | [`batcher`], [`publisher`] | from a subscription to a message bus |
//! | `messages` | serializes batches, and splits those that are too large |
//! | `losses` | counts and reports messages that were not published |
//!
//! A registration begins with its entry in the registry. The thread that creates the
//! entry leaves the `Create` note while it holds a handle to it; the thread that ends
//! the entry leaves the `Remove` note. So the notes of *one* registration are in order.
//! Those of two consecutive registrations of a hash need not be: the second may be noted
//! before the end of the first. Readers therefore count: `Create` is broadcast when a
//! hash goes from zero registrations to one, `Remove` when it goes from one to zero.
//!
//! Notes are read by whoever polls a subscription or subscribes, and by a thread of the
//! manager's, so that subscribers that sleep are woken. Readers exclude each other with
//! a lock that threads leaving notes never take. Under that lock events are broadcast
//! and subscriptions that found none are registered to be woken, so neither can miss the
//! other. The reader takes the wakers along and calls them after unlocking.

pub mod batcher;
mod bell;
mod cleaner;
mod hub;
mod lives;
mod losses;
pub mod manager;
mod messages;
mod notes;
pub mod policy;
pub mod protocol;
pub mod publisher;
mod sleepers;
mod subscription;

pub use batcher::{BatchingConfig, EventBatcher};
pub use manager::{EventsManager, EventsManagerBuilder, EventsManagerSettings};
pub use policy::{AllEventsPolicy, EventEmissionPolicy, PowerOfTwoPolicy};
pub use protocol::{InstanceId, KvCacheEvent, KvCacheEvents, KvbmCacheEvents};
pub use publisher::{KvbmCacheEventsPublisher, KvbmCacheEventsPublisherBuilder};

#[cfg(all(test, kvbm_loom))]
pub(crate) use {bell::Bell, lives::Lives, notes::Notes};
