//! Publishing to a [NATS](https://nats.io) server.
//!
//! | file | idea |
//! |---|---|
//! | `publisher` | a bounded queue of messages |
//! | `courier` | the task that takes messages from the queue to the server |
//! | `error` | what can be wrong |

mod courier;
mod error;
mod publisher;

pub use async_nats;
pub use error::NatsError;
pub use publisher::{NatsPublisher, NatsPublisherBuilder};
