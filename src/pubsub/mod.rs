//! How do events reach other processes? Through a message bus.
//!
//! [`Publisher`] is the interface to a bus: it accepts a message without waiting, and is
//! flushed at the end. With the feature `nats`, `NatsPublisher` implements it for
//! [NATS](https://nats.io) servers. For another bus, implement the trait:
//!
//! ```
//! use bytes::Bytes;
//! use futures::future::{BoxFuture, FutureExt};
//! use kvbm_lockfree::pubsub::Publisher;
//! use tokio::sync::mpsc;
//!
//! /// Passes messages to another task of this process.
//! struct ToTask(mpsc::Sender<(String, Bytes)>);
//!
//! impl Publisher for ToTask {
//!     fn publish(&self, subject: &str, payload: Bytes) -> anyhow::Result<()> {
//!         // Does not wait: fails if the channel is full, or closed.
//!         self.0.try_send((subject.to_owned(), payload))?;
//!         Ok(())
//!     }
//!
//!     fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
//!         let channel = self.0.clone();
//!         async move {
//!             // All of the channel is free once the task has received every message.
//!             channel.reserve_many(channel.max_capacity()).await?;
//!             Ok(())
//!         }
//!         .boxed()
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let (sender, mut receiver) = mpsc::channel(2);
//! let bus = ToTask(sender);
//! bus.publish("kvbm.events", Bytes::from_static(b"one"))?;
//! bus.publish("kvbm.events", Bytes::from_static(b"two"))?;
//! assert!(bus.publish("kvbm.events", Bytes::new()).is_err(), "the channel is full");
//!
//! let flush = tokio::spawn(bus.flush());
//! assert_eq!(receiver.recv().await.unwrap().1, "one");
//! assert_eq!(receiver.recv().await.unwrap().1, "two");
//! flush.await??;
//! # anyhow::Ok(())
//! # })?;
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! # Who uses a publisher?
//!
//! A [`KvbmCacheEventsPublisher`](crate::events::KvbmCacheEventsPublisher) does. It
//! serializes batches of events and publishes them from a task of its own, so neither
//! registrations nor subscribers ever wait for a bus.
//!
//! # What can be lost, and how do I learn of it?
//!
//! A publisher reports a loss in one of two places: [`publish`](Publisher::publish) returns
//! an error if it does not accept a message, and [`flush`](Publisher::flush) returns one if
//! accepted messages have been lost since. `NatsPublisher` also counts both kinds.

#[cfg(feature = "nats")]
mod nats;

use anyhow::Result;
use bytes::Bytes;
use futures::future::BoxFuture;

#[cfg(feature = "nats")]
pub use nats::{NatsError, NatsPublisher, NatsPublisherBuilder, NatsRefusals, async_nats};

/// Publishes messages to subjects of a message bus.
///
/// The [module documentation](self) has an implementation, and
/// [`KvbmCacheEventsPublisher`](crate::events::KvbmCacheEventsPublisher) shows one at work.
pub trait Publisher: Send + Sync {
    /// Accepts a message to be sent. Never waits for the bus.
    ///
    /// # Errors
    ///
    /// Returns an error if the message cannot be accepted; it is then lost.
    fn publish(&self, subject: &str, payload: Bytes) -> Result<()>;

    /// Returns a future that completes when every message accepted so far has been sent, and
    /// the bus has confirmed it.
    ///
    /// # Errors
    ///
    /// The future resolves to an error if messages could not be sent, or were not confirmed.
    fn flush(&self) -> BoxFuture<'static, Result<()>>;

    /// Returns the size in bytes of the largest payload that is accepted, or `None`, the
    /// default, if there is no limit.
    ///
    /// [`KvbmCacheEventsPublisher`](crate::events::KvbmCacheEventsPublisher) asks before it
    /// sends a batch, and splits batches that are larger. The limit may change, for instance
    /// when a connection is established.
    fn max_payload(&self) -> Option<usize> {
        None
    }
}
