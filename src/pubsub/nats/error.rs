//! What can be wrong with publishing to NATS.

use async_nats::jetstream::context::CreateStreamError;

/// A publisher could not be made, or a message was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// A queue without room.
    #[error("the capacity is 0, and must be at least 1")]
    NoCapacity,
    /// The capacity of the queue is too large.
    #[error("the capacity is {capacity}, and must be at most {max}")]
    ExcessiveCapacity {
        /// The capacity asked for.
        capacity: usize,
        /// The maximum.
        max: usize,
    },
    /// There is no tokio runtime whose task the publisher could be.
    #[error("a publisher is a task of a tokio runtime, and there is none")]
    NoRuntime,
    /// The server did not make the stream.
    #[error("there is no stream {name}")]
    Stream {
        /// The stream's name.
        name: String,
        /// What the server said.
        source: CreateStreamError,
    },
    /// Messages cannot be published to this subject.
    #[error("{0:?} is no subject to publish to")]
    Subject(String),
    /// The message is larger than the server takes.
    #[error("a message of {size} bytes, where the server takes {max}")]
    TooLarge {
        /// The message's size in bytes.
        size: usize,
        /// The greatest that the server takes.
        max: usize,
    },
    /// As many messages as there is room for wait for the server.
    #[error("{capacity} messages wait for the server already")]
    Full {
        /// How many there is room for.
        capacity: usize,
    },
    /// The publisher's runtime has been shut down.
    #[error("the publisher has stopped")]
    Stopped,
    /// The server did not confirm what it was sent.
    #[error("the connection was lost for good")]
    Unconfirmed,
}
