//! Why a step was refused. A call that returns one of these errors has changed nothing.

use super::SequenceState;

/// The reason why a step was not scheduled. The sequence is unchanged.
///
/// The [module documentation](super#what-do-the-errors-mean) says how to react to each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A step is already scheduled.
    #[error("expected Idle state, got {state:?}")]
    NotIdle {
        /// The step that is scheduled.
        state: SequenceState,
    },
    /// The chunk reaches beyond the known tokens.
    #[error("prefill overrun: position {position} + {num_tokens} > {num_input_tokens}")]
    PrefillOverrun {
        /// The number of computed tokens, which is where the chunk would begin.
        position: usize,
        /// The number of tokens in the chunk.
        num_tokens: usize,
        /// The number of known tokens: the prompt and, in a resumed request, the tokens
        /// generated before.
        num_input_tokens: usize,
    },
    /// The prompt is computed, and at most one token is left, which a decode computes.
    #[error("prefill already complete")]
    PrefillComplete,
    /// Prompt tokens must be computed first.
    #[error("prefill not yet complete (position {position} < {num_input_tokens})")]
    PrefillNotComplete {
        /// The number of prompt tokens that are computed, in blocks that are held.
        position: usize,
        /// The number of prompt tokens.
        num_input_tokens: usize,
    },
    /// The manager has too few available blocks.
    #[error("allocation failed: needed {needed} blocks")]
    AllocationFailed {
        /// The number of blocks that the step needs and the sequence does not hold.
        needed: usize,
    },
    /// All output tokens have been generated.
    #[error("generation complete: {generated} >= {max_output}")]
    GenerationComplete {
        /// The number of tokens generated.
        generated: usize,
        /// The maximum number of tokens to generate.
        max_output: usize,
    },
    /// A decode cannot continue from here: tokens after the prompt must be computed first, or
    /// there is no token to continue from.
    #[error("expected {expected} dangling token(s), got {actual}")]
    WrongDanglingCount {
        /// The number of tokens that a decode continues from: always 1.
        expected: usize,
        /// The number of known tokens that are not computed.
        actual: usize,
    },
}

/// The reason why a step was not applied or reverted, why tokens were not appended, or why
/// blocks were not released or reacquired. The sequence is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The call does not fit the sequence's state: it is for another step than the one that is
    /// scheduled, for a step although none is scheduled, or for an idle sequence.
    #[error("expected {expected}, got {actual:?}")]
    WrongState {
        /// The state that the call requires.
        expected: &'static str,
        /// The state of the sequence.
        actual: SequenceState,
    },
    /// A token was passed, but known tokens remain to be computed after this chunk.
    #[error("token provided but prefill not completing this chunk")]
    TokenOnNonFinalChunk,
    /// More tokens were accepted than drafted.
    #[error("accepted {accepted} tokens exceeds scheduled {scheduled}")]
    AcceptedExceedsScheduled {
        /// The number of tokens accepted.
        accepted: usize,
        /// The number of tokens drafted.
        scheduled: usize,
    },
    /// No token was passed, but the chunk reaches the last known token and so samples the
    /// next one.
    #[error("final prefill chunk requires a generated token")]
    MissingTokenOnFinalChunk,
    /// More tokens were passed than may still be generated.
    #[error("append requested {requested} tokens but only {remaining} remain")]
    AppendExceedsRemaining {
        /// The number of tokens to append.
        requested: usize,
        /// The number of tokens that may still be generated.
        remaining: usize,
    },
}

/// The error of using a manager whose blocks have another size than the sequence's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("a sequence with blocks of {expected} tokens cannot use a manager with blocks of {actual}")]
pub struct BlockSizeMismatch {
    /// The sequence's block size, in tokens.
    pub expected: usize,
    /// The manager's block size, in tokens.
    pub actual: usize,
}
