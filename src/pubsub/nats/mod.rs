//! Publishing to a [NATS](https://nats.io) server.
//!
//! | file | idea |
//! |---|---|
//! | `publisher` | a bounded queue of messages |
//! | `builder` | its settings, and its start |
//! | `ledger` | counts what was accepted, settled and lost |
//! | `flush` | waits until everything accepted is settled, and reports losses |
//! | `limits` | how large messages may be |
//! | `courier` | the task that takes messages from the queue to the server |
//! | `core_delivery` | delivery to subscribers, in windows that the server confirms |
//! | `stream_delivery` | delivery into a JetStream stream, with retries |
//! | `store` | that stream, and which of the server's errors are final |
//! | `subjects` | which subjects a stream covers |
//! | `link` | the connection, and whether the server answers on it |
//! | `refusals` | messages that the server does not permit |
//! | `error` | what can go wrong |

mod builder;
mod core_delivery;
mod courier;
mod error;
mod flush;
mod ledger;
mod limits;
mod link;
mod publisher;
mod refusals;
mod store;
mod stream_delivery;
mod subjects;

pub use async_nats;
pub use builder::NatsPublisherBuilder;
pub use error::NatsError;
pub use publisher::NatsPublisher;
pub use refusals::NatsRefusals;
