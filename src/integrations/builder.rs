//! Building a [`SchedulableSequence`].

use std::sync::Arc;

use dynamo_tokens::Token;

use super::{SchedulableSequence, SequenceDelegate};
use crate::blocks::BlockMetadata;

/// Builds a [`SchedulableSequence`]. Everything except the delegate is required.
#[derive(Default)]
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

    /// Sets the number of tokens per block, which must be that of the manager.
    pub fn block_size(mut self, value: u32) -> Self {
        self.block_size = Some(value);
        self
    }

    /// Sets the delegate, which receives every event. By default, events are discarded.
    pub fn delegate(mut self, delegate: Arc<dyn SequenceDelegate>) -> Self {
        self.delegate = Some(delegate);
        self
    }

    /// Builds the sequence, which holds no blocks yet.
    ///
    /// # Errors
    ///
    /// If a required value is missing, or if the block size is 0.
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
