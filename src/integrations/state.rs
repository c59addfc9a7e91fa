//! The states of a sequence, and the outcomes of generating tokens.

/// Which step of a sequence is scheduled, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceState {
    /// No step is scheduled.
    Idle,
    /// The next forward pass computes a chunk of known tokens.
    PrefillScheduled {
        /// Tokens in the chunk.
        num_tokens: usize,
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
    /// The next forward pass generates one token.
    DecodeScheduled {
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
    /// The next forward pass verifies a draft of several tokens.
    SpeculativeScheduled {
        /// Tokens in the draft.
        num_tokens: usize,
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
}

/// What the generated tokens of a step did to the sequence.
///
/// The token that fills a block of tokens *completes* it. The next step computes that
/// token's KV and registers the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeOutcome {
    /// No block was completed, and generation continues.
    Continue,
    /// At least one block of tokens was completed, and generation continues.
    BlockCompleted,
    /// All output tokens have been generated; no block was completed.
    MaxLength,
    /// All output tokens have been generated, and at least one block was completed.
    BlockCompletedAndMaxLength,
}
