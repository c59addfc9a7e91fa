//! What leases are refused for.

use std::fmt;

use crate::BlockId;
use crate::blocks::{BlockMetadata, ImmutableBlock};

use super::LeaseId;

/// A lease does not hold its blocks any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Its time is up, or it was released, or its manager is gone. To a manager, an id
    /// that it has never given out is the same.
    #[error("lease {0} has expired or was released")]
    Expired(LeaseId),
}

/// Blocks were not leased, since one of them is another manager's. All are handed back
/// as they were.
pub struct ForeignBlock<T: BlockMetadata> {
    /// The first block that is another manager's.
    pub block_id: BlockId,
    /// The blocks, in their order.
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
