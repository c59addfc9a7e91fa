//! Block ids paired with the hashes of a token sequence.

use dynamo_tokens::{SaltHash, TokenBlockSequence};

use crate::{BlockId, KvbmSequenceHashProvider, SequenceHash};

use super::config::{DEFAULT_TEST_BLOCK_SIZE, validate_test_block_size};

/// Builds the hashes of a token sequence, each with a block id.
///
/// ```
/// use kvbm_lockfree::testing::BlockSequenceBuilder;
///
/// let blocks = BlockSequenceBuilder::from_tokens((0..8).collect())
///     .with_block_size(4)
///     .build();
/// assert_eq!(blocks.len(), 2);
/// assert_eq!((blocks[1].0, blocks[1].1.position()), (1, 1));
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BlockSequenceBuilder {
    tokens: Vec<u32>,
    salt: Option<SaltHash>,
    block_size: usize,
}

impl BlockSequenceBuilder {
    /// Creates a builder for these tokens, in blocks of four.
    pub fn from_tokens(tokens: Vec<u32>) -> Self {
        Self {
            tokens,
            salt: None,
            block_size: DEFAULT_TEST_BLOCK_SIZE,
        }
    }

    /// Sets the block size in tokens.
    ///
    /// # Panics
    ///
    /// Panics if it is not a power of two from 1 to 1024.
    pub fn with_block_size(mut self, size: usize) -> Self {
        assert!(
            validate_test_block_size(size),
            "block size {size} is not a power of two from 1 to 1024"
        );
        self.block_size = size;
        self
    }

    /// Sets the salt of the hashes.
    pub fn with_salt(mut self, salt: SaltHash) -> Self {
        self.salt = Some(salt);
        self
    }

    /// Returns the hash of each block, with ids from 0 on.
    ///
    /// # Panics
    ///
    /// Panics if the tokens do not fill the last block.
    pub fn build(self) -> Vec<(BlockId, SequenceHash)> {
        assert!(
            self.tokens.len().is_multiple_of(self.block_size),
            "{} tokens do not fill blocks of {}",
            self.tokens.len(),
            self.block_size
        );
        TokenBlockSequence::from_slice(&self.tokens, self.block_size as u32, self.salt)
            .blocks()
            .iter()
            .map(KvbmSequenceHashProvider::kvbm_sequence_hash)
            .enumerate()
            .collect()
    }
}
