//! The listing of who holds which blocks.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{BlockId, SequenceHash};

use super::LeaseId;

/// A lease as operators see it: its owner, its blocks, and since when and until when it holds
/// them.
///
/// [`BlockManager::holders`](crate::BlockManager::holders) returns one per lease.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The id of the lease.
    pub lease: LeaseId,
    /// The owner's name, as passed to [`BlockManager::lease`](crate::BlockManager::lease).
    pub owner: Arc<str>,
    /// The blocks and the hashes of their contents, in the order in which they were leased.
    pub blocks: Vec<(BlockId, SequenceHash)>,
    /// When the lease was made, by the system clock, so that you can find it in logs.
    pub since: SystemTime,
    /// How long ago the lease was made, whether or not the system clock has been set since.
    pub held_for: Duration,
    /// When the lease will expire unless it is renewed, by the system clock as it is set now;
    /// `None` if it never will.
    pub until: Option<SystemTime>,
    /// How long it will be until the lease expires; `None` if it never will.
    pub remaining: Option<Duration>,
}
