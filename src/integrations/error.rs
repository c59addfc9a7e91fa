//! Why a step was not taken. Nothing has changed then.

use super::SequenceState;

/// Why a step was not scheduled.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// Another step is scheduled.
    #[error("expected Idle state, got {state:?}")]
    NotIdle {
        /// The step that is.
        state: SequenceState,
    },
    /// The chunk reaches beyond the input.
    #[error("prefill overrun: position {position} + {num_tokens} > {num_input_tokens}")]
    PrefillOverrun {
        /// Input tokens that are done.
        position: usize,
        /// Tokens of the chunk.
        num_tokens: usize,
        /// All input tokens.
        num_input_tokens: usize,
    },
    /// All input tokens are done.
    #[error("prefill already complete")]
    PrefillComplete,
    /// Not all input tokens are done.
    #[error("prefill not yet complete (position {position} < {num_input_tokens})")]
    PrefillNotComplete {
        /// Input tokens that are done.
        position: usize,
        /// All input tokens.
        num_input_tokens: usize,
    },
    /// The manager has too few blocks, or blocks of another size.
    #[error("allocation failed: needed {needed} blocks")]
    AllocationFailed {
        /// Blocks that the step needs besides those the sequence has.
        needed: usize,
    },
    /// All output tokens are generated.
    #[error("generation complete: {generated} >= {max_output}")]
    GenerationComplete {
        /// Tokens generated.
        generated: usize,
        /// Tokens that were to be generated at most.
        max_output: usize,
    },
    /// A decode goes on from exactly one token whose KV is not computed.
    #[error("expected {expected} dangling token(s), got {actual}")]
    WrongDanglingCount {
        /// One.
        expected: usize,
        /// How many there are.
        actual: usize,
    },
}

/// Why a step was not applied or reverted, or blocks not released or got back.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another step is scheduled, or none.
    #[error("expected {expected}, got {actual:?}")]
    WrongState {
        /// The state the call is for.
        expected: &'static str,
        /// The state there is.
        actual: SequenceState,
    },
    /// Only the last chunk of a prefill yields a token.
    #[error("token provided but prefill not completing this chunk")]
    TokenOnNonFinalChunk,
    /// More tokens are accepted than were drafted.
    #[error("accepted {accepted} tokens exceeds scheduled {scheduled}")]
    AcceptedExceedsScheduled {
        /// Tokens accepted.
        accepted: usize,
        /// Tokens drafted.
        scheduled: usize,
    },
    /// The last chunk of a prefill yields a token.
    #[error("final prefill chunk requires a generated token")]
    MissingTokenOnFinalChunk,
    /// More tokens than may still be generated.
    #[error("append requested {requested} tokens but only {remaining} remain")]
    AppendExceedsRemaining {
        /// Tokens to be appended.
        requested: usize,
        /// Tokens that may still be generated.
        remaining: usize,
    },
}
