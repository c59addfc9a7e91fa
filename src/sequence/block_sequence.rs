//! Tokens cut into blocks.

use std::ops::Range;

use dynamo_tokens::{SaltHash, Token, TokenBlock, TokenBlockSequence, Tokens};

use super::BlockSequenceError;
use crate::{KvbmSequenceHashProvider, SequenceHash};

/// A growing sequence of tokens, cut into blocks of equal size. The last may be partial.
///
/// ```
/// use kvbm_lockfree::BlockSequence;
///
/// let mut sequence = BlockSequence::new(vec![1, 2, 3, 4, 5], 4, None);
/// assert_eq!((sequence.blocks().len(), sequence.total_tokens()), (1, 5));
/// // The second block is partial until it has four tokens.
/// assert_eq!(sequence.extend_tokens(vec![6, 7])?, None);
/// assert_eq!(sequence.append_token(8)?, Some(1));
/// assert_eq!(sequence.all_sequence_hashes().len(), 2);
/// # Ok::<(), kvbm_lockfree::sequence::BlockSequenceError>(())
/// ```
#[derive(Debug)]
pub struct BlockSequence {
    sequence: TokenBlockSequence,
}

impl BlockSequence {
    /// Cuts `tokens` into blocks of `block_size` tokens.
    ///
    /// The salt goes into every hash: sequences with different salts, such as those of
    /// different models or tenants, share no hashes.
    pub fn new(tokens: Vec<Token>, block_size: u32, salt_hash: Option<SaltHash>) -> Self {
        Self {
            sequence: TokenBlockSequence::new(Tokens::from(tokens), block_size, salt_hash),
        }
    }

    /// Returns the complete blocks.
    pub fn blocks(&self) -> &[TokenBlock] {
        self.sequence.blocks()
    }

    /// Returns the number of tokens per block.
    pub fn block_size(&self) -> usize {
        self.sequence.block_size()
    }

    /// Returns the number of tokens, including those of the partial block.
    pub fn total_tokens(&self) -> usize {
        self.sequence.total_tokens()
    }

    /// Returns the underlying token sequence.
    pub fn sequence(&self) -> &TokenBlockSequence {
        &self.sequence
    }

    /// Returns the sequence hash of every complete block. O(blocks); allocates the vector.
    pub fn all_sequence_hashes(&self) -> Vec<SequenceHash> {
        self.blocks()
            .iter()
            .map(KvbmSequenceHashProvider::kvbm_sequence_hash)
            .collect()
    }

    /// Appends tokens. Returns the range of blocks that they completed, if any.
    ///
    /// # Errors
    ///
    /// Returns [`BlockSequenceError::TokenExtension`] if `dynamo-tokens` rejects the tokens,
    /// which it never does for text.
    pub fn extend_tokens(
        &mut self,
        tokens: Vec<Token>,
    ) -> Result<Option<Range<usize>>, BlockSequenceError> {
        Ok(self.sequence.extend(Tokens::from(tokens))?)
    }

    /// Appends one token. Returns the index of the block that it completed, if any.
    ///
    /// # Errors
    ///
    /// Fails as [`extend_tokens`](Self::extend_tokens) does.
    pub fn append_token(&mut self, token: Token) -> Result<Option<usize>, BlockSequenceError> {
        Ok(self.sequence.append(token)?)
    }
}
