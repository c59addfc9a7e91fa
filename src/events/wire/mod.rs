//! From a subscription to a message bus.

pub mod batcher;
pub(super) mod messages;
pub mod publisher;
