//! What is sent over a message bus?
//!
//! Batches of events, each with the instance it comes from.
//!
//! Serialized forms match `kvbm-logical`'s byte for byte, so each crate can read what the
//! other writes.

use serde::{Deserialize, Serialize};

use crate::SequenceHash;

/// Identifies a server instance among those that share a message bus.
pub type InstanceId = u128;

/// A batch of events of one kind.
///
/// Parents and children are ordered within a batch, but not across batches; see
/// [`EventBatcher`](super::batcher::EventBatcher#order-across-batches).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCacheEvents {
    /// These hashes are now registered. An [`EventBatcher`](super::batcher::EventBatcher) lists
    /// parents before children.
    Create(Vec<SequenceHash>),
    /// These hashes are no longer registered. An
    /// [`EventBatcher`](super::batcher::EventBatcher) lists children before parents.
    Remove(Vec<SequenceHash>),
    /// The instance will publish nothing more.
    Shutdown,
}

/// A message on the bus: a batch of events from one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvbmCacheEvents {
    /// The batch of events.
    pub events: KvCacheEvents,
    /// The instance in which the events happened.
    pub instance_id: InstanceId,
}
