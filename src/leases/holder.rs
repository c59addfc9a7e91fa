//! Who keeps what.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::{BlockId, SequenceHash};

use super::LeaseId;

/// A lease as an operator wants to see it: who keeps which blocks, since when, and
/// until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The lease.
    pub lease: LeaseId,
    /// The owner's name, as it was given.
    pub owner: Arc<str>,
    /// The blocks and their contents, in the order in which they were leased.
    pub blocks: Vec<(BlockId, SequenceHash)>,
    /// When the lease was made, by the clock on the wall: to be found in logs.
    pub since: SystemTime,
    /// How long ago that was, whatever has been done to that clock since.
    pub held_for: Duration,
    /// When it will expire unless it is renewed, by the clock on the wall as it is
    /// now; `None` if never.
    pub until: Option<SystemTime>,
    /// How long that is from now; `None` if it never expires.
    pub remaining: Option<Duration>,
}
