//! What a lease is called by.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A lease's number: unique in the process and never used again.
///
/// The first one of a process is random, so that a client that comes back with an id
/// from before a restart does not find the lease of another. Below 2^53: what knows
/// numbers as floating point only keeps it exactly.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
pub struct LeaseId(pub u64);

impl LeaseId {
    pub(super) fn next() -> Self {
        static NEXT: LazyLock<AtomicU64> =
            LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(()) >> 12));
        // Relaxed: that the numbers differ is all that matters.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
