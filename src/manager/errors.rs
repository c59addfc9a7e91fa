//! What can go wrong when a manager is built or reset.

/// A manager could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BlockManagerBuilderError {
    /// The block count is zero.
    #[error("Block count must be greater than 0")]
    InvalidBlockCount,
    /// The block size does not fit.
    #[error("Block size mismatch: expected {expected} tokens, got {actual}")]
    BlockSizeMismatch {
        /// Tokens expected.
        expected: usize,
        /// Tokens given.
        actual: usize,
    },
    /// The policy cannot be built.
    #[error("Invalid backend configuration: {0}")]
    InvalidBackend(String),
    /// An option is missing or out of range: says which.
    #[error("Builder validation failed: {0}")]
    ValidationError(String),
}

/// Blocks are held, so that not all of them are free.
#[derive(Debug, thiserror::Error)]
pub enum BlockManagerResetError {
    /// Not all blocks are free.
    #[error("Reset pool count mismatch: expected {expected}, got {actual}")]
    BlockCountMismatch {
        /// The manager's blocks.
        expected: usize,
        /// Those that are free.
        actual: usize,
    },
}
