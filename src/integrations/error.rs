//! Errors of steps. A step that returns one has changed nothing.

use super::SequenceState;

/// Why a step was not scheduled.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A step is scheduled already.
    #[error("expected Idle state, got {state:?}")]
    NotIdle {
        /// The step that is scheduled.
        state: SequenceState,
    },
    /// The chunk reaches beyond the known tokens.
    #[error("prefill overrun: position {position} + {num_tokens} > {num_input_tokens}")]
    PrefillOverrun {
        /// Tokens that are computed: where the chunk would begin.
        position: usize,
        /// Tokens in the chunk.
        num_tokens: usize,
        /// Tokens that are known: the prompt and, when a request is resumed, what was
        /// generated before.
        num_input_tokens: usize,
    },
    /// The prompt is computed, and no more than the last token is left.
    #[error("prefill already complete")]
    PrefillComplete,
    /// Tokens of the prompt are to be computed first.
    #[error("prefill not yet complete (position {position} < {num_input_tokens})")]
    PrefillNotComplete {
        /// Tokens of the prompt that are computed, in blocks that are held.
        position: usize,
        /// Tokens of the prompt.
        num_input_tokens: usize,
    },
    /// The manager has too few blocks.
    #[error("allocation failed: needed {needed} blocks")]
    AllocationFailed {
        /// Blocks that the step needs and the sequence does not hold.
        needed: usize,
    },
    /// All output tokens have been generated.
    #[error("generation complete: {generated} >= {max_output}")]
    GenerationComplete {
        /// Tokens generated.
        generated: usize,
        /// The maximum number of tokens to generate.
        max_output: usize,
    },
    /// The tail is not what a decode computes: tokens after the prompt are to be computed
    /// first, or there is none to go on from.
    #[error("expected {expected} dangling token(s), got {actual}")]
    WrongDanglingCount {
        /// Always 1.
        expected: usize,
        /// Tokens that are not computed.
        actual: usize,
    },
}

/// Why a step was not applied or reverted, or blocks were not released or reacquired.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another step is scheduled, or none.
    #[error("expected {expected}, got {actual:?}")]
    WrongState {
        /// The state that the call is for.
        expected: &'static str,
        /// The state of the sequence.
        actual: SequenceState,
    },
    /// There is a token, but known tokens remain to be computed after this chunk.
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
    /// The chunk reaches the last known token, so it yields the next one.
    #[error("final prefill chunk requires a generated token")]
    MissingTokenOnFinalChunk,
    /// There are more tokens than may still be generated.
    #[error("append requested {requested} tokens but only {remaining} remain")]
    AppendExceedsRemaining {
        /// Tokens to be appended.
        requested: usize,
        /// Tokens that may still be generated.
        remaining: usize,
    },
}

/// A manager's blocks are of another size than those of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sequence with blocks of {expected} tokens cannot use a manager with blocks of {actual}")]
pub struct BlockSizeMismatch {
    /// The sequence's block size, in tokens.
    pub expected: usize,
    /// The manager's block size, in tokens.
    pub actual: usize,
}
