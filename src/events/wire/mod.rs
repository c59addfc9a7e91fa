//! The wire: from a subscription to a message bus.
//!
//! | file | idea |
//! |---|---|
//! | `messages` | what is sent: batches of events, and whose they are |
//! | `batcher` | groups events into batches |
//! | `publisher` | a task that serializes batches and publishes them |

pub mod batcher;
pub(super) mod messages;
pub mod publisher;
