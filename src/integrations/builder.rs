//! The builder of a [`SchedulableSequence`].

use std::fmt;
use std::sync::Arc;

use dynamo_tokens::Token;

use super::{SchedulableSequence, SequenceDelegate};
use crate::blocks::BlockMetadata;

/// Builds a [`SchedulableSequence`]. Every value except the delegate is required.
///
/// ```
/// use kvbm_lockfree::SchedulableSequence;
///
/// let request = SchedulableSequence::<()>::builder()
///     .tokens(vec![1, 2, 3])
///     .max_output_tokens(16)
///     .block_size(4)
///     .build::<()>()?;
/// assert_eq!(request.num_input_tokens(), 3);
///
/// let error = SchedulableSequence::<()>::builder().build::<()>().unwrap_err();
/// assert_eq!(error.to_string(), "`tokens` must be initialized");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct SchedulableSequenceBuilder {
    tokens: Option<Vec<Token>>,
    max_output_tokens: Option<usize>,
    block_size: Option<u32>,
    delegate: Option<Arc<dyn SequenceDelegate>>,
}

impl SchedulableSequenceBuilder {
    /// Sets the prompt.
    pub fn tokens(mut self, value: Vec<Token>) -> Self {
        self.tokens = Some(value);
        self
    }

    /// Sets the maximum number of tokens to generate.
    pub fn max_output_tokens(mut self, value: usize) -> Self {
        self.max_output_tokens = Some(value);
        self
    }

    /// Sets the number of tokens per block, which must match the manager's.
    pub fn block_size(mut self, value: u32) -> Self {
        self.block_size = Some(value);
        self
    }

    /// Sets the delegate, which receives every event of the sequence. By default, events
    /// are discarded.
    pub fn delegate(mut self, delegate: Arc<dyn SequenceDelegate>) -> Self {
        self.delegate = Some(delegate);
        self
    }

    /// Creates the sequence, which holds no blocks yet.
    ///
    /// # Errors
    ///
    /// Returns an error that names the value if a required one is missing or if the block
    /// size is 0.
    pub fn build<T: BlockMetadata>(self) -> anyhow::Result<SchedulableSequence<T>> {
        let missing = |what| anyhow::anyhow!("`{what}` must be initialized");
        let tokens = self.tokens.ok_or_else(|| missing("tokens"))?;
        let max_output_tokens = self
            .max_output_tokens
            .ok_or_else(|| missing("max_output_tokens"))?;
        let block_size = self.block_size.ok_or_else(|| missing("block_size"))?;
        anyhow::ensure!(block_size > 0, "`block_size` must be at least 1");
        let delegate = self.delegate;
        Ok(SchedulableSequence::new(
            tokens,
            max_output_tokens,
            block_size,
            delegate,
        ))
    }
}

impl fmt::Debug for SchedulableSequenceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulableSequenceBuilder")
            .field("tokens", &self.tokens)
            .field("max_output_tokens", &self.max_output_tokens)
            .field("block_size", &self.block_size)
            .field("has_delegate", &self.delegate.is_some())
            .finish()
    }
}
