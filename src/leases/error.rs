//! The errors of operations on leases.

use std::fmt;

use crate::BlockId;
use crate::blocks::{BlockMetadata, ImmutableBlock};

use super::LeaseId;

/// The error returned by an operation on a lease that no longer holds its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// The lease has expired or was released, or its manager was dropped. A manager returns
    /// the same for an id that it has never issued.
    #[error("lease {0} has expired or was released")]
    Expired(LeaseId),
}

/// The error returned when a block to be leased belongs to another manager. It contains all
/// blocks, unchanged.
#[non_exhaustive]
pub struct ForeignBlock<T: BlockMetadata> {
    /// The id of the first block that belongs to another manager.
    pub block_id: BlockId,
    /// All blocks, in the order in which they were passed.
    pub blocks: Vec<ImmutableBlock<T>>,
}

impl<T: BlockMetadata> fmt::Debug for ForeignBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignBlock")
            .field("block_id", &self.block_id)
            .field("blocks", &self.blocks)
            .finish()
    }
}

impl<T: BlockMetadata> fmt::Display for ForeignBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} belongs to another manager", self.block_id)
    }
}

impl<T: BlockMetadata> std::error::Error for ForeignBlock<T> {}
