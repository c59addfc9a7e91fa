//! What can go wrong when publishing to NATS?

use std::time::Duration;

use async_nats::ConnectError;
use async_nats::jetstream::context::{CreateStreamError, PublishError};

/// An error of a [`NatsPublisher`](super::NatsPublisher).
///
/// The publisher could not be built, did not accept a message, or lost one. Methods of
/// [`Publisher`](crate::pubsub::Publisher) return it as an [`anyhow::Error`]; downcast that to
/// tell errors apart:
///
/// ```
/// use kvbm_lockfree::pubsub::{NatsError, Publisher};
///
/// /// Publishes a message, unless too many are waiting.
/// fn try_publish(bus: &impl Publisher, payload: &'static [u8]) -> anyhow::Result<bool> {
///     match bus.publish("kvbm.events", payload.into()) {
///         Ok(()) => Ok(true),
///         Err(error) => match error.downcast::<NatsError>()? {
///             NatsError::Full { .. } => Ok(false),
///             error => Err(error.into()),
///         },
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The capacity is 0, so no message could be accepted.
    #[error("the capacity is 0, but must be at least 1")]
    NoCapacity,
    /// The capacity is larger than the maximum.
    #[error("the capacity is {capacity}, but must be at most {max}")]
    ExcessiveCapacity {
        /// The requested capacity.
        capacity: usize,
        /// The largest capacity that can be set.
        max: usize,
    },
    /// The publisher was built outside a tokio runtime.
    #[error("the publisher was built outside a tokio runtime")]
    NoRuntime,
    /// The client could not connect.
    #[error("cannot connect to a NATS server")]
    Connect {
        /// The client's error.
        source: ConnectError,
    },
    /// No connection was established while the publisher was being built.
    #[error("no connection to a NATS server was established within {waited:?}")]
    NoServer {
        /// How long the builder waited.
        waited: Duration,
    },
    /// The stream does not exist, and the server did not create it.
    #[error("the stream {name} does not exist and could not be created")]
    Stream {
        /// The stream's name.
        name: String,
        /// The server's or the client's error.
        source: CreateStreamError,
    },
    /// A stream of this name exists, but does not cover the requested subjects.
    #[error("the stream {stream} covers {covers:?}, but not {needed:?}")]
    Subjects {
        /// The stream's name.
        stream: String,
        /// The subjects of the existing stream.
        covers: Vec<String>,
        /// The subjects of the requested configuration that it does not cover.
        needed: Vec<String>,
    },
    /// Messages cannot be published to this subject: it is malformed, has wildcards, or
    /// is longer than 1024 bytes.
    #[error("cannot publish to the subject {0:?}")]
    Subject(String),
    /// The message is larger than the server or the stream accepts.
    #[error("the message has {size} bytes, but at most {max} are accepted")]
    TooLarge {
        /// The size of the payload in bytes.
        size: usize,
        /// The size of the largest payload that is accepted, in bytes.
        max: usize,
    },
    /// As many messages are waiting as the capacity allows.
    #[error("{capacity} messages are already waiting for the server")]
    Full {
        /// The publisher's capacity, in messages.
        capacity: usize,
    },
    /// The publisher's task has ended because its runtime was shut down, or because the
    /// publisher was dropped.
    #[error("the publisher has stopped")]
    Stopped,
    /// The client was closed, or gave up reconnecting.
    #[error("the client is closed")]
    Closed,
    /// The client panicked while delivering the message, which may have arrived.
    #[error("the NATS client panicked")]
    Panicked,
    /// The connection broke, or no confirmation came in time. The message may have arrived
    /// nevertheless.
    #[error("the server did not confirm the message")]
    Unconfirmed,
    /// The server's permissions forbid the client's user to publish to the subject.
    #[error("publishing to {subject} is not permitted")]
    Denied {
        /// The subject.
        subject: String,
    },
    /// The stream does not cover the message's subject.
    #[error("the stream {stream} covers {covers:?}, and not {subject}")]
    Uncovered {
        /// The stream's name.
        stream: String,
        /// The subjects of the stream.
        covers: Vec<String>,
        /// The message's subject.
        subject: String,
    },
    /// The server refused to store the message.
    #[error("the server refused a message to {subject}: {error}")]
    Refused {
        /// The message's subject.
        subject: String,
        /// The server's answer.
        error: PublishError,
    },
    /// The server answered, but did not acknowledge the message in any attempt. The message
    /// may have been stored nevertheless, if only its acknowledgements were lost.
    #[error("a message to {subject} was sent {attempts} times and never acknowledged")]
    Unacknowledged {
        /// The message's subject.
        subject: String,
        /// How many times it was sent.
        attempts: u32,
    },
    /// A flush gave up for lack of progress. The messages are still waiting, and not lost.
    #[error("{messages} messages are still waiting for the server")]
    Waiting {
        /// How many messages are waiting.
        messages: usize,
    },
    /// Messages were lost before a flush completed, and no earlier flush had reported them.
    #[error("{messages} messages were lost; the last one because: {reason}")]
    Lost {
        /// How many messages were lost.
        messages: u64,
        /// Why the last one was lost.
        reason: String,
    },
}
