//! Events in the life of a sequence, and their receiver.

use dynamo_tokens::Token;

/// A step in the life of a [`SchedulableSequence`](super::SchedulableSequence).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceEvent {
    /// The sequence was created.
    Created {
        /// Tokens of the prompt.
        num_input_tokens: usize,
        /// The maximum number of tokens to generate.
        max_output_tokens: usize,
        /// Tokens per block.
        block_size: usize,
    },
    /// Cached blocks were matched.
    PrefixMatched {
        /// Blocks found.
        blocks_matched: usize,
    },
    /// A prefill chunk was scheduled.
    PrefillScheduled {
        /// Tokens in the chunk.
        num_tokens: usize,
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
    /// A prefill chunk was applied.
    PrefillApplied {
        /// Tokens in the chunk.
        num_tokens: usize,
        /// Blocks registered.
        blocks_registered: usize,
        /// Whether it yielded the first generated token.
        token_emitted: bool,
    },
    /// A decode was scheduled.
    DecodeScheduled {
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
    /// A token was decoded.
    DecodeApplied {
        /// The token.
        token: Token,
        /// Whether it completed a block of tokens, which the next step registers.
        block_completed: bool,
    },
    /// A draft was scheduled.
    SpeculativeScheduled {
        /// Tokens in the draft.
        num_tokens: usize,
        /// Blocks allocated for it.
        blocks_allocated: usize,
    },
    /// A draft was applied.
    SpeculativeApplied {
        /// Tokens accepted.
        accepted: usize,
        /// Tokens drafted.
        scheduled: usize,
        /// Blocks dropped because the tokens that they were for were rejected.
        blocks_released: usize,
    },
    /// A scheduled step was reverted.
    ScheduleReverted {
        /// Blocks dropped.
        blocks_released: usize,
    },
    /// Blocks that were not registered were dropped.
    UnassignedDropped {
        /// Blocks dropped.
        count: usize,
    },
    /// All blocks were released.
    Released,
    /// Blocks were reacquired, or there were too few.
    Reacquired {
        /// Blocks that were still cached.
        prefix_matched: usize,
        /// Whether the sequence has blocks again. They are computed as far as they were
        /// cached.
        success: bool,
    },
}

/// Receives the events of a sequence, after the fact and on the thread that caused them.
pub trait SequenceDelegate: Send + Sync {
    /// Called once per event.
    fn on_event(&self, event: &SequenceEvent);
}

/// Discards all events.
pub struct NoopDelegate;

impl SequenceDelegate for NoopDelegate {
    fn on_event(&self, _event: &SequenceEvent) {}
}
