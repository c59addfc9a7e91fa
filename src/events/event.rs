//! What is an event? A hash is registered, or no longer is.

use serde::{Deserialize, Serialize};

use crate::SequenceHash;

/// A registration has begun or ended.
///
/// The serialized form is that of `kvbm-logical`, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCacheEvent {
    /// The hash is now registered.
    Create(SequenceHash),
    /// The hash is no longer registered.
    Remove(SequenceHash),
}
