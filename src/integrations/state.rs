//! The states of a sequence, and what becomes of generated tokens.

/// The step that is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceState {
    /// No step is scheduled.
    Idle,
    /// A chunk of known tokens is to be computed.
    PrefillScheduled {
        /// Tokens in the chunk.
        num_tokens: usize,
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
    /// One token is to be generated.
    DecodeScheduled {
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
    /// A draft of several tokens is to be verified.
    SpeculativeScheduled {
        /// Tokens in the draft.
        num_tokens: usize,
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
}

/// What became of generated tokens.
///
/// A block of tokens is *completed* by the token that fills it. The block is registered
/// by the step after that, which computes the token's KV.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeOutcome {
    /// Generation continues within a block.
    Continue,
    /// A block of tokens was completed.
    BlockCompleted,
    /// All output tokens have been generated.
    MaxLength,
    /// A block of tokens was completed, and all output tokens have been generated.
    BlockCompletedAndMaxLength,
}
