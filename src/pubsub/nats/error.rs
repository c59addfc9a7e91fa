//! What can go wrong when publishing to NATS.

use std::time::Duration;

use async_nats::ConnectError;
use async_nats::jetstream::context::{CreateStreamError, PublishError};

/// An error of a [`NatsPublisher`](super::NatsPublisher): it could not be built, it did
/// not accept a message, or it lost one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The queue would have no room.
    #[error("the capacity is 0, and must be at least 1")]
    NoCapacity,
    /// The capacity of the queue is too large.
    #[error("the capacity is {capacity}, and must be at most {max}")]
    ExcessiveCapacity {
        /// The requested capacity.
        capacity: usize,
        /// The maximum.
        max: usize,
    },
    /// The publisher was built outside a tokio runtime.
    #[error("a publisher is a task of a tokio runtime, and there is none")]
    NoRuntime,
    /// The client could not connect.
    #[error("cannot connect")]
    Connect {
        /// What the client said.
        source: ConnectError,
    },
    /// No connection was established while the publisher was being built.
    #[error("no server within {waited:?}")]
    NoServer {
        /// How long the builder waited.
        waited: Duration,
    },
    /// The stream does not exist, and the server did not create it.
    #[error("there is no stream {name}")]
    Stream {
        /// The stream's name.
        name: String,
        /// What the server said.
        source: CreateStreamError,
    },
    /// A stream of this name exists, but has other subjects.
    #[error("the stream {stream} covers the subjects {covers:?}, and {needed:?} are needed")]
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
    #[error("{0:?} is no subject to publish to")]
    Subject(String),
    /// The message is larger than the server or the stream accepts.
    #[error("a message of {size} bytes, where at most {max} are accepted")]
    TooLarge {
        /// The size of the payload in bytes.
        size: usize,
        /// The maximum.
        max: usize,
    },
    /// The queue is full.
    #[error("{capacity} messages wait for the server already")]
    Full {
        /// The capacity of the queue.
        capacity: usize,
    },
    /// The publisher's task has ended, because its runtime was shut down or the publisher
    /// was dropped.
    #[error("the publisher has stopped")]
    Stopped,
    /// The client was closed, or gave up reconnecting.
    #[error("the client is closed")]
    Closed,
    /// The client panicked while it had the message.
    #[error("the NATS client panicked")]
    Panicked,
    /// The connection broke, or no confirmation came in time. The message may have
    /// arrived nevertheless.
    #[error("the server did not confirm that it has the message")]
    Unconfirmed,
    /// The client's user is not permitted to publish to the subject.
    #[error("publishing to {subject} is not permitted")]
    Denied {
        /// The subject.
        subject: String,
    },
    /// The stream does not cover the message's subject.
    #[error("the stream {stream} covers the subjects {covers:?}, and not {subject}")]
    Uncovered {
        /// The stream's name.
        stream: String,
        /// The subjects of the stream.
        covers: Vec<String>,
        /// The message's subject.
        subject: String,
    },
    /// The server refused to store the message.
    #[error("a message to {subject} was refused: {error}")]
    Refused {
        /// The message's subject.
        subject: String,
        /// What the server said.
        error: PublishError,
    },
    /// The server did not store the message, however often it was sent.
    #[error("a message to {subject} was sent {attempts} times and never acknowledged")]
    Unacknowledged {
        /// The message's subject.
        subject: String,
        /// How many times it was sent.
        attempts: u32,
    },
    /// A flush gave up. The messages are still in the queue.
    #[error("{messages} messages are still waiting for the server")]
    Waiting {
        /// How many messages wait.
        messages: usize,
    },
    /// Messages were lost before a flush completed.
    #[error("{messages} messages were lost; the last one because: {reason}")]
    Lost {
        /// How many messages were lost.
        messages: u64,
        /// Why the last one was lost.
        reason: String,
    },
}
