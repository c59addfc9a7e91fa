//! The interface of a message bus for events. With the feature `nats`, a publisher to
//! NATS servers.

#[cfg(feature = "nats")]
mod nats;

use anyhow::Result;
use bytes::Bytes;
use futures::future::BoxFuture;

#[cfg(feature = "nats")]
pub use nats::{NatsError, NatsPublisher, NatsPublisherBuilder, NatsRefusals, async_nats};

/// Sends messages under subjects.
///
/// [`events::KvbmCacheEventsPublisher`](crate::events::KvbmCacheEventsPublisher)
/// has an example.
pub trait Publisher: Send + Sync {
    /// Accepts a message to be sent, without waiting for anything.
    ///
    /// # Errors
    ///
    /// If the message cannot be accepted. It is lost then.
    fn publish(&self, subject: &str, payload: Bytes) -> Result<()>;

    /// Completes when the messages accepted before have been sent and the bus has
    /// confirmed them.
    ///
    /// # Errors
    ///
    /// If they could not be sent, or were not confirmed.
    fn flush(&self) -> BoxFuture<'static, Result<()>>;

    /// Returns the size in bytes of the largest payload that is accepted, or `None`, the
    /// default, if there is no limit.
    ///
    /// [`events::KvbmCacheEventsPublisher`](crate::events::KvbmCacheEventsPublisher)
    /// splits batches that exceed it. The limit may change, for instance when a
    /// connection is established.
    fn max_payload(&self) -> Option<usize> {
        None
    }
}
