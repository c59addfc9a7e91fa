//! The wire: how events get from a subscription to messages on a bus.

pub mod batcher;
mod encoding;
mod losses;
pub(super) mod messages;
pub mod publisher;
