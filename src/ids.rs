//! Identifiers of blocks, contents, managers and tiers.

use std::sync::atomic::{AtomicU64, Ordering};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Identifies a block within its manager: a number less than the manager's block count.
pub type BlockId = usize;

/// Identifies the content of a block: its position in the sequence, a hash of all tokens up to
/// the end of the block, and a fragment of its parent's hash.
pub type SequenceHash = dynamo_tokens::PositionalLineageHash;

/// The metadata type of a manager, which names its tier.
///
/// Every type that is `Clone + Send + Sync + 'static` implements this trait. The type keeps the
/// guards of different tiers apart at compile time, and names the tier in the registry's
/// presence checks. No value of it is ever stored.
pub trait BlockMetadata: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> BlockMetadata for T {}

/// Identifies a manager. An id is unique in the process and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub struct ManagerId(pub u64);

impl ManagerId {
    /// An id that no manager has.
    pub const NULL: Self = Self(0);

    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: the numbers only have to be distinct.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A type that knows the sequence hash of a block's content.
pub trait KvbmSequenceHashProvider {
    /// Returns the hash to register the block under.
    fn kvbm_sequence_hash(&self) -> SequenceHash;
}

impl KvbmSequenceHashProvider for dynamo_tokens::TokenBlock {
    fn kvbm_sequence_hash(&self) -> SequenceHash {
        self.positional_lineage_hash()
    }
}

/// The kind of memory in which a layout of blocks resides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
pub enum LogicalLayoutHandle {
    /// Device memory.
    G1,
    /// Host memory.
    G2,
    /// Disk.
    G3,
    /// A service outside this process that manages its own blocks.
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
