//! What can be wrong with the input of assignments.

use dynamo_tokens::TokenBlockError;

use crate::blocks::BlockMetadata;
use crate::{BlockId, ImmutableBlock, MutableBlock, SequenceHash};

/// Why a sequence, or assignments of ids, refused something. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum BlockSequenceError {
    /// Ids that are known already come first in a list; this one came later.
    #[error(
        "ordering violation: known block_id {known_id} at index {known_index} \
         appeared after new block_id {new_id} at index {first_new_index}"
    )]
    OrderingViolation {
        /// The known id.
        known_id: BlockId,
        /// The first new one.
        new_id: BlockId,
        /// Where in the list the known one is.
        known_index: usize,
        /// Where in the list the first new one is.
        first_new_index: usize,
    },

    /// A token block is at another position than its hash says.
    #[error("position mismatch for block_id {block_id}: expected {expected}, actual {actual}")]
    PositionMismatch {
        /// The place in the sequence.
        expected: usize,
        /// The position in the hash.
        actual: u64,
        /// The id that was to be paired with the token block.
        block_id: BlockId,
    },

    /// An id is there already, or twice in the list.
    #[error("duplicate block_id {block_id} already present")]
    DuplicateBlockId {
        /// The id.
        block_id: BlockId,
    },

    /// The token sequence refused tokens. Never returned: those that a
    /// [`BlockSequence`](super::BlockSequence) can have refuse none.
    #[error("token extension error: {0}")]
    TokenExtension(#[from] TokenBlockError),
}

/// Why assignments of guards refused some. Nothing has changed, and the guards come
/// back with the error.
#[derive(Debug, thiserror::Error)]
pub enum LogicalBlockAssignmentError<T: BlockMetadata> {
    /// The id of a mutable block is there already, or twice in the input.
    #[error("duplicate block_id {block_id} already present")]
    DuplicateBlockId {
        /// The first such id.
        block_id: BlockId,
        /// The whole input.
        blocks: Vec<MutableBlock<T>>,
    },

    /// The id of an immutable block is there already, or twice in the input.
    #[error("duplicate block_id {block_id} already present")]
    DuplicateAssignedBlockId {
        /// The first such id.
        block_id: BlockId,
        /// The whole input.
        blocks: Vec<ImmutableBlock<T>>,
    },

    /// A matched block holds other content than the sequence has at its position. Never
    /// returned, since no manager does that.
    #[error("sequence hash mismatch at position {position}: expected {expected}, got {actual}")]
    SequenceHashMismatch {
        /// The position in the sequence.
        position: usize,
        /// The sequence's hash.
        expected: SequenceHash,
        /// The block's hash.
        actual: SequenceHash,
        /// The whole input.
        blocks: Vec<ImmutableBlock<T>>,
    },
}
