//! The wire: from a subscription to messages on a bus.

pub mod batcher;
pub(super) mod messages;
pub mod publisher;
