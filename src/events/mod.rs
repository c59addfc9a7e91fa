//! Events: which hashes become registered, and which cease to be.
//!
//! A router that sends requests to the instance that has their prefix wants to
//! know what every instance has. An [`EventsManager`] given to a registry turns
//! every registration into a [`KvCacheEvent::Create`] and every end of one into a
//! [`KvCacheEvent::Remove`]; an [`EventBatcher`] makes batches of them, and a
//! [`KvbmCacheEventsPublisher`] sends these over a
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
//! * For each hash `Create` and `Remove` alternate, and `Create` comes first, also
//!   when registrations of one hash race. A hash that is registered anew before
//!   its end has been broadcast has no events in between.
//! * What one thread did is broadcast in the order in which it was done, and what
//!   happened before something else, before it.
//! * A subscription that is polled has first all events of what happened before
//!   the poll. A registration is announced by the thread that begins it; who
//!   registers the same hash meanwhile does not wait for that.
//! * Registering takes no lock for it and waits for nobody, whatever the
//!   subscribers do. It costs an allocation and one exchange for the note, and an
//!   entry in the registry, which blocks do not have without events.
//! * A subscriber that falls behind by more than
//!   [`channel_capacity`](EventsManagerBuilder::channel_capacity) events loses the
//!   oldest, and can learn of it: see [`EventsManager::subscribe_loss_aware`].
//!
//! # How it is built
//!
//! | file | idea |
//! |---|---|
//! | `notes` | what registrations leave: a stack that takes a note with one exchange |
//! | `lives` | how often each hash is registered, as far as notes have been read; makes the pairs exact |
//! | `bell` | wakes the thread that reads the notes, if it sleeps |
//! | `hub` | who leaves notes, who reads them, and the channel to the subscribers |
//! | [`manager`] | what users see of these |
//! | [`policy`] | which hashes have events at all |
//! | [`protocol`] | events, and batches of them as they are sent |
//! | [`batcher`], [`publisher`] | from a subscription to a message bus |
//!
//! A registration begins with its entry in the registry, and whoever makes the
//! entry leaves the `Create` note while having a handle to it; whoever ends the
//! entry leaves the `Remove` note. So the notes of *one* registration are in
//! order. Those of two registrations of a hash, one after the other, need not be:
//! the second may be noted before the end of the first. Reading counts: `Create`
//! is broadcast when a hash goes from none to one, `Remove` when from one to none.
//!
//! Notes are read by whoever polls a subscription or subscribes, and by a thread
//! of the manager's own, which sees to it that subscribers are woken. Readers
//! exclude each other by a lock, which those who leave notes do not know.

pub mod batcher;
mod bell;
mod cleaner;
mod hub;
mod lives;
pub mod manager;
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
