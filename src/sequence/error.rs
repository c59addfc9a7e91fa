//! Why sequences and assignments refuse input.

use dynamo_tokens::TokenBlockError;

use crate::blocks::BlockMetadata;
use crate::{BlockId, ImmutableBlock, MutableBlock, SequenceHash};

/// The reason why a [`BlockSequence`](super::BlockSequence) or
/// [`ExternalBlockAssignments`](super::ExternalBlockAssignments) refused its input. Nothing
/// has changed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum BlockSequenceError {
    /// A list names a known id after a new one. Known ids must come first.
    #[error(
        "ordering violation: known block_id {known_id} at index {known_index} \
         appeared after new block_id {new_id} at index {first_new_index}"
    )]
    OrderingViolation {
        /// The known id.
        known_id: BlockId,
        /// The first new id.
        new_id: BlockId,
        /// The index of the known id in the list.
        known_index: usize,
        /// The index of the first new id in the list.
        first_new_index: usize,
    },

    /// A token block's place in the sequence differs from the position in its hash.
    #[error("position mismatch for block_id {block_id}: expected {expected}, actual {actual}")]
    PositionMismatch {
        /// The place of the token block in the sequence.
        expected: usize,
        /// The position in its hash.
        actual: u64,
        /// The id that would have been paired with the token block.
        block_id: BlockId,
    },

    /// An id is present already, or occurs twice in the list.
    #[error("duplicate block_id {block_id} already present")]
    DuplicateBlockId {
        /// The first such id.
        block_id: BlockId,
    },

    /// The underlying token sequence rejected the tokens. Never returned in practice: the
    /// sequences of a [`BlockSequence`](super::BlockSequence) reject none.
    #[error("token extension error: {0}")]
    TokenExtension(#[from] TokenBlockError),
}

/// The reason why [`LogicalBlockAssignments`](super::LogicalBlockAssignments) refused guards.
/// Nothing has changed, and the error returns the guards.
#[derive(Debug, thiserror::Error)]
pub enum LogicalBlockAssignmentError<T: BlockMetadata> {
    /// The id of a mutable block is present already, or occurs twice in the input.
    #[error("duplicate block_id {block_id} already present")]
    DuplicateBlockId {
        /// The first such id.
        block_id: BlockId,
        /// The whole input.
        blocks: Vec<MutableBlock<T>>,
    },

    /// The id of an immutable block is present already, or occurs twice in the input.
    #[error("duplicate block_id {block_id} already present")]
    DuplicateAssignedBlockId {
        /// The first such id.
        block_id: BlockId,
        /// The whole input.
        blocks: Vec<ImmutableBlock<T>>,
    },

    /// A matched block does not hold the content that the sequence has at its position. Never
    /// returned: managers match by content.
    #[error("sequence hash mismatch at position {position}: expected {expected}, got {actual}")]
    SequenceHashMismatch {
        /// The position in the sequence.
        position: usize,
        /// The hash of the sequence at this position.
        expected: SequenceHash,
        /// The hash of the block.
        actual: SequenceHash,
        /// The whole input.
        blocks: Vec<ImmutableBlock<T>>,
    },
}
