//! The errors of building and resetting a manager.

/// An error returned when a manager cannot be built.
///
/// [`build`](super::BlockManagerConfigBuilder::build) reports everything as a
/// [`ValidationError`](Self::ValidationError). The other variants exist so that code that
/// matches those of `kvbm-logical` compiles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockManagerBuilderError {
    /// The block count is zero. Never returned: that is a
    /// [`ValidationError`](Self::ValidationError).
    #[error("Block count must be greater than 0")]
    InvalidBlockCount,
    /// The block size does not fit. Never returned:
    /// [`block_size`](super::BlockManagerConfigBuilder::block_size) panics instead.
    #[error("Block size mismatch: expected {expected} tokens, got {actual}")]
    BlockSizeMismatch {
        /// Tokens expected.
        expected: usize,
        /// Tokens given.
        actual: usize,
    },
    /// The policy cannot be built. Never returned: that is a
    /// [`ValidationError`](Self::ValidationError).
    #[error("Invalid backend configuration: {0}")]
    InvalidBackend(String),
    /// An option is missing or out of range. The message says which.
    #[error("Builder validation failed: {0}")]
    ValidationError(String),
}

/// An error returned when blocks are still held after a reset of the inactive pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockManagerResetError {
    /// Not all blocks are free.
    #[error("Reset pool count mismatch: expected {expected}, got {actual}")]
    BlockCountMismatch {
        /// The number of blocks of the manager.
        expected: usize,
        /// The number of free blocks.
        actual: usize,
    },
}
