//! Tokens, cut into blocks.

use std::ops::Range;

use dynamo_tokens::{SaltHash, Token, TokenBlock, TokenBlockSequence, Tokens};

use super::BlockSequenceError;
use crate::{KvbmSequenceHashProvider, SequenceHash};

/// A sequence of tokens, cut into blocks of one size; the last may be partial.
///
/// ```
/// use kvbm_lockfree::BlockSequence;
///
/// let mut sequence = BlockSequence::new(vec![1, 2, 3, 4, 5], 4, None);
/// assert_eq!((sequence.blocks().len(), sequence.total_tokens()), (1, 5));
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
    /// Cuts `tokens` into blocks of `block_size` tokens. Sequences with different
    /// salts share no hashes.
    pub fn new(tokens: Vec<Token>, block_size: u32, salt_hash: Option<SaltHash>) -> Self {
        Self {
            sequence: TokenBlockSequence::new(Tokens::from(tokens), block_size, salt_hash),
        }
    }

    /// The complete blocks.
    pub fn blocks(&self) -> &[TokenBlock] {
        self.sequence.blocks()
    }

    /// Tokens a block.
    pub fn block_size(&self) -> usize {
        self.sequence.block_size()
    }

    /// All tokens, those of the partial block included.
    pub fn total_tokens(&self) -> usize {
        self.sequence.total_tokens()
    }

    /// The token sequence itself.
    pub fn sequence(&self) -> &TokenBlockSequence {
        &self.sequence
    }

    /// The sequence hash of every complete block. Allocates the vector.
    pub fn all_sequence_hashes(&self) -> Vec<SequenceHash> {
        self.blocks()
            .iter()
            .map(KvbmSequenceHashProvider::kvbm_sequence_hash)
            .collect()
    }

    /// Appends tokens. Returns which blocks they completed, if any.
    ///
    /// # Errors
    ///
    /// None: `dynamo-tokens` has an error for tokens that it refuses,
    /// [`BlockSequenceError::TokenExtension`], and refuses none of a text.
    pub fn extend_tokens(
        &mut self,
        tokens: Vec<Token>,
    ) -> Result<Option<Range<usize>>, BlockSequenceError> {
        Ok(self.sequence.extend(Tokens::from(tokens))?)
    }

    /// Appends one token. Returns the block it completed, if it did.
    ///
    /// # Errors
    ///
    /// As [`extend_tokens`](Self::extend_tokens).
    pub fn append_token(&mut self, token: Token) -> Result<Option<usize>, BlockSequenceError> {
        Ok(self.sequence.append(token)?)
    }
}
