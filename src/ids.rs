//! Names: of blocks, of contents, of managers, and of tiers.

use std::sync::atomic::{AtomicU64, Ordering};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A block's number in its manager: from 0 to the block count.
pub type BlockId = usize;

/// What a block holds: its position, its content, and its parent's content.
pub type SequenceHash = dynamo_tokens::PositionalLineageHash;

/// The metadata type of a manager, which names its tier: any type that can be shared between
/// threads. The engine keeps no value of it.
pub trait BlockMetadata: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> BlockMetadata for T {}

/// A manager's number, unique in the process and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct ManagerId(pub u64);

impl ManagerId {
    /// No manager has this number.
    pub const NULL: Self = Self(0);

    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: that the numbers differ is all that matters.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Something with a sequence hash.
pub trait KvbmSequenceHashProvider {
    /// The hash under which its block is registered.
    fn kvbm_sequence_hash(&self) -> SequenceHash;
}

impl KvbmSequenceHashProvider for dynamo_tokens::TokenBlock {
    fn kvbm_sequence_hash(&self) -> SequenceHash {
        self.positional_lineage_hash()
    }
}

/// Where a layout of blocks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum LogicalLayoutHandle {
    /// Device memory.
    G1,
    /// Host memory.
    G2,
    /// Disk.
    G3,
    /// A service outside this process, which manages its blocks itself.
    G4,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manager_ids_differ_and_are_not_null() {
        let (a, b) = (ManagerId::next(), ManagerId::next());
        assert_ne!(a, b);
        assert!(a != ManagerId::NULL && b != ManagerId::NULL);
    }
}
