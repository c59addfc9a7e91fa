//! How do messages get to a [NATS](https://nats.io) server, and what becomes of them?
//!
//! `publish` enters a message in the ledger and puts it on a queue. The courier, a task,
//! takes messages off the queue and delivers them. Every accepted message is *settled* in the
//! ledger exactly once, when it is confirmed or lost. A flush waits for that.
//!
//! | file | idea |
//! |---|---|
//! | `publisher` | the public side: accepts messages, flushes |
//! | `builder` | its settings, and its start |
//! | `ledger` | counts messages that were accepted, settled and lost |
//! | `flush` | waits until everything accepted is settled, and reports losses |
//! | `limits` | which subjects and sizes are accepted |
//! | `courier` | the task that takes messages off the queue |
//! | `core_delivery` | delivers to current subscribers, in windows that the server confirms |
//! | `stream_delivery` | delivers into a JetStream stream, with retries |
//! | `stream_store` | that stream, and which of the server's errors are final |
//! | `subjects` | which subjects a stream covers |
//! | `connection` | the connection, and whether the server answers on it |
//! | `refusals` | messages that the server's permissions forbid |
//! | `error` | what can go wrong |

mod builder;
mod connection;
mod core_delivery;
mod courier;
mod error;
mod flush;
mod ledger;
mod limits;
mod publisher;
mod refusals;
mod stream_delivery;
mod stream_store;
mod subjects;

pub use async_nats;
pub use builder::NatsPublisherBuilder;
pub use error::NatsError;
pub use publisher::NatsPublisher;
pub use refusals::NatsRefusals;
