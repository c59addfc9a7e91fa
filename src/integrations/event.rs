//! What happens to a sequence, told to whoever wants to know.

use dynamo_tokens::Token;

/// A step in the life of a [`SchedulableSequence`](super::SchedulableSequence).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceEvent {
    /// It was made.
    Created {
        /// Tokens of the prompt.
        num_input_tokens: usize,
        /// Tokens that may be generated.
        max_output_tokens: usize,
        /// Tokens a block.
        block_size: usize,
    },
    /// Cached blocks were looked for.
    PrefixMatched {
        /// How many were found.
        blocks_matched: usize,
    },
    /// A chunk of the prompt was scheduled.
    PrefillScheduled {
        /// Tokens of the chunk.
        num_tokens: usize,
        /// Blocks got for it.
        blocks_allocated: usize,
    },
    /// A chunk of the prompt was done.
    PrefillApplied {
        /// Tokens of the chunk.
        num_tokens: usize,
        /// Blocks registered.
        blocks_registered: usize,
        /// Whether it yielded the first generated token.
        token_emitted: bool,
    },
    /// A decode was scheduled.
    DecodeScheduled {
        /// Blocks got for it.
        blocks_allocated: usize,
    },
    /// A token was decoded.
    DecodeApplied {
        /// The token.
        token: Token,
        /// Whether it completed a block.
        block_completed: bool,
    },
    /// A draft was scheduled.
    SpeculativeScheduled {
        /// Tokens of the draft.
        num_tokens: usize,
        /// Blocks got for it.
        blocks_allocated: usize,
    },
    /// Tokens of a draft were accepted.
    SpeculativeApplied {
        /// How many.
        accepted: usize,
        /// Of how many.
        scheduled: usize,
        /// Blocks that are not needed for them.
        blocks_released: usize,
    },
    /// A step was taken back.
    ScheduleReverted {
        /// Blocks given back.
        blocks_released: usize,
    },
    /// Blocks that were not used were dropped.
    UnassignedDropped {
        /// How many.
        count: usize,
    },
    /// All blocks were released.
    Released,
    /// Blocks were to be got back.
    Reacquired {
        /// Blocks that were still cached.
        prefix_matched: usize,
        /// Whether all are there again.
        success: bool,
    },
}

/// Is told what happens to a sequence, when it has happened and on the thread that
/// did it.
pub trait SequenceDelegate: Send + Sync {
    /// Called once for each event.
    fn on_event(&self, event: &SequenceEvent);
}

/// Does not want to know.
pub struct NoopDelegate;

impl SequenceDelegate for NoopDelegate {
    fn on_event(&self, _event: &SequenceEvent) {}
}
