//! Events in the life of a sequence, and the trait that receives them.

use dynamo_tokens::Token;

/// Something that happened to a [`SchedulableSequence`](super::SchedulableSequence).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceEvent {
    /// The sequence was created.
    Created {
        /// The number of prompt tokens.
        num_input_tokens: usize,
        /// The maximum number of tokens to generate.
        max_output_tokens: usize,
        /// The number of tokens per block.
        block_size: usize,
    },
    /// Cached blocks were matched.
    PrefixMatched {
        /// The number of cached blocks found.
        blocks_matched: usize,
    },
    /// A prefill chunk was scheduled.
    PrefillScheduled {
        /// The number of tokens in the chunk.
        num_tokens: usize,
        /// The number of blocks allocated for it.
        blocks_allocated: usize,
    },
    /// A prefill chunk was applied.
    PrefillApplied {
        /// The number of tokens in the chunk.
        num_tokens: usize,
        /// The number of blocks that it filled, which were registered.
        blocks_registered: usize,
        /// Whether the chunk sampled a token, because it reached the last known one.
        token_emitted: bool,
    },
    /// A decode was scheduled.
    DecodeScheduled {
        /// The number of blocks allocated for it.
        blocks_allocated: usize,
    },
    /// A token was decoded.
    DecodeApplied {
        /// The sampled token.
        token: Token,
        /// Whether the token completed a block, which the next step registers.
        block_completed: bool,
    },
    /// The verification of a draft was scheduled.
    SpeculativeScheduled {
        /// The number of tokens in the draft.
        num_tokens: usize,
        /// The number of blocks allocated for it.
        blocks_allocated: usize,
    },
    /// The verification of a draft was applied.
    SpeculativeApplied {
        /// The number of tokens accepted.
        accepted: usize,
        /// The number of tokens drafted.
        scheduled: usize,
        /// The number of blocks dropped because the sequence does not need them after all.
        blocks_released: usize,
    },
    /// A scheduled step was reverted.
    ScheduleReverted {
        /// The number of blocks dropped.
        blocks_released: usize,
    },
    /// Unregistered blocks were dropped.
    UnassignedDropped {
        /// The number of blocks dropped.
        count: usize,
    },
    /// All blocks were released.
    Released,
    /// The sequence tried to reacquire its blocks.
    Reacquired {
        /// The number of blocks that were still cached, if this succeeded.
        prefix_matched: usize,
        /// Whether the sequence holds blocks again. Of these, only the cached ones are
        /// computed.
        success: bool,
    },
}

/// Receives the events of a sequence.
///
/// The sequence calls its delegate on the thread that caused the event, when the operation
/// is complete, with no lock held. A panic in the delegate reaches the caller of the
/// operation, which has taken effect by then.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use std::sync::Arc;
///
/// use kvbm_lockfree::{
///     BlockManager, BlockRegistry, SchedulableSequence, SequenceDelegate, SequenceEvent,
/// };
///
/// /// Counts preemptions.
/// #[derive(Default)]
/// struct Preemptions(AtomicUsize);
///
/// impl SequenceDelegate for Preemptions {
///     fn on_event(&self, event: &SequenceEvent) {
///         if *event == SequenceEvent::Released {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(4)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// let preemptions = Arc::new(Preemptions::default());
/// let mut request =
///     SchedulableSequence::<()>::new((0..6).collect(), 10, 4, Some(preemptions.clone()));
/// request.schedule_prefill(6, &manager)?;
/// request.apply_prefill(Some(100), &manager)?;
/// request.release()?;
/// assert_eq!(preemptions.0.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SequenceDelegate: Send + Sync {
    /// Handles one event.
    fn on_event(&self, event: &SequenceEvent);
}

/// A delegate that discards all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopDelegate;

impl SequenceDelegate for NoopDelegate {
    fn on_event(&self, _event: &SequenceEvent) {}
}
