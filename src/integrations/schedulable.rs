//! A request and its scheduled step.

use std::fmt;
use std::sync::Arc;

use dynamo_tokens::Token;

use super::positions::Positions;
use super::{
    ApplyError, BlockSizeMismatch, NoopDelegate, RequestSequence, SchedulableSequenceBuilder,
    ScheduleError, SequenceDelegate, SequenceEvent, SequenceState,
};
use crate::BlockManager;
use crate::blocks::BlockMetadata;

/// A request that enforces the steps of a serving loop.
///
/// The [module documentation](super) shows chunked prefill, speculative decoding and
/// preemption. In its simplest form, a request runs like this:
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry, DecodeOutcome, SchedulableSequence};
///
/// let manager = BlockManager::<()>::builder()
///     .block_count(8)
///     .block_size(4)
///     .registry(BlockRegistry::new())
///     .build()?;
/// let mut request = SchedulableSequence::<()>::builder()
///     .tokens((0..6).collect())
///     .max_output_tokens(3)
///     .block_size(4)
///     .build()?;
///
/// request.match_and_add_prefix(&manager)?;
/// request.schedule_prefill(6 - request.prefill_position(), &manager)?;
/// request.apply_prefill(Some(100), &manager)?;
/// while !request.is_complete() {
///     request.schedule_decode(&manager)?;
///     let outcome = request.apply_decode(101, &manager)?;
///     assert_ne!(outcome, DecodeOutcome::Continue);
/// }
/// request.release()?;
/// assert_eq!(manager.available_blocks(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # How far has it got?
///
/// [`total_tokens`](Self::total_tokens) tokens are known. The KV of the first
/// [`kv_position`](Self::kv_position) of them is computed, in blocks that the sequence holds;
/// the others are its [tail](Self::tail_tokens). Every step computes tokens from
/// `kv_position` on. Exactly the blocks whose tokens are all computed are registered, so
/// that other requests can match them.
///
/// A block that is given up takes its KV with it: a [release](Self::release) resets
/// `kv_position` to 0, and a [reacquisition](Self::reacquire) moves it to the end of the
/// cached blocks.
pub struct SchedulableSequence<T: BlockMetadata> {
    pub(super) inner: RequestSequence<T>,
    pub(super) state: SequenceState,
    pub(super) positions: Positions,
    delegate: Arc<dyn SequenceDelegate>,
}

impl<T: BlockMetadata> SchedulableSequence<T> {
    /// Creates a builder.
    pub fn builder() -> SchedulableSequenceBuilder {
        SchedulableSequenceBuilder::default()
    }

    /// Creates a sequence that holds no blocks yet. `block_size` is the number of tokens per
    /// block, which must match the manager's. Without a `delegate`, events are discarded.
    pub fn new(
        tokens: Vec<Token>,
        max_output_tokens: usize,
        block_size: u32,
        delegate: Option<Arc<dyn SequenceDelegate>>,
    ) -> Self {
        let new = Self {
            inner: RequestSequence::new(tokens, max_output_tokens, block_size),
            state: SequenceState::Idle,
            positions: Positions::default(),
            delegate: delegate.unwrap_or_else(|| Arc::new(NoopDelegate)),
        };
        new.tell(SequenceEvent::Created {
            num_input_tokens: new.num_input_tokens(),
            max_output_tokens,
            block_size: block_size as usize,
        });
        new
    }

    /// Checks that the manager's blocks have the same size as this sequence's. Methods that
    /// get blocks from a manager panic if they do not.
    ///
    /// # Errors
    ///
    /// Returns [`BlockSizeMismatch`] if the sizes differ.
    pub fn check_block_size(&self, manager: &BlockManager<T>) -> Result<(), BlockSizeMismatch> {
        self.inner.check_block_size(manager)
    }

    /// Appends tokens that are known without having been sampled by a step of this sequence,
    /// such as tokens that another instance generated. Their KV is not computed.
    ///
    /// If exactly one token is then left to compute, a decode can continue from it; otherwise
    /// compute the tail with [`schedule_prefill`](Self::schedule_prefill).
    ///
    /// # Errors
    ///
    /// * [`WrongState`](ApplyError::WrongState) if a step is scheduled.
    /// * [`AppendExceedsRemaining`](ApplyError::AppendExceedsRemaining) if fewer tokens may
    ///   still be generated.
    pub fn append_tokens(&mut self, tokens: &[Token]) -> Result<(), ApplyError> {
        self.require_idle_to_apply()?;
        let (requested, remaining) = (tokens.len(), self.remaining_tokens());
        if requested > remaining {
            return Err(ApplyError::AppendExceedsRemaining {
                requested,
                remaining,
            });
        }
        for &token in tokens {
            self.inner.append_token(token);
        }
        Ok(())
    }

    // ---- state and counts ----

    /// Returns which step is scheduled, if any.
    pub fn state(&self) -> SequenceState {
        self.state
    }

    /// Returns how many prompt tokens are computed: [`kv_position`](Self::kv_position), capped
    /// at the end of the prompt.
    pub fn prefill_position(&self) -> usize {
        self.kv_position().min(self.num_input_tokens())
    }

    /// Returns whether the whole prompt is computed, in blocks that are held.
    pub fn is_prefill_complete(&self) -> bool {
        self.kv_position() >= self.num_input_tokens()
    }

    /// Returns how many leading tokens are computed, in blocks that are held. The next step
    /// begins here.
    pub fn kv_position(&self) -> usize {
        self.positions.computed()
    }

    /// Returns how many known tokens are not computed: 1 between two decodes, more before the
    /// prompt is computed, after tokens were appended, or after blocks were lost.
    pub fn tail_tokens(&self) -> usize {
        self.total_tokens() - self.kv_position()
    }

    /// Returns the delegate, which receives the events.
    pub fn delegate(&self) -> &Arc<dyn SequenceDelegate> {
        &self.delegate
    }

    /// Returns the underlying request.
    pub fn inner(&self) -> &RequestSequence<T> {
        &self.inner
    }

    /// Returns how many tokens have been generated.
    pub fn generated_tokens(&self) -> usize {
        self.inner.generated_tokens()
    }

    /// Returns the maximum number of tokens to generate.
    pub fn max_output_tokens(&self) -> usize {
        self.inner.max_output_tokens()
    }

    /// Returns how many tokens the prompt has.
    pub fn num_input_tokens(&self) -> usize {
        self.inner.num_input_tokens()
    }

    /// Returns the number of known tokens: the prompt and everything appended to it.
    pub fn total_tokens(&self) -> usize {
        self.inner.total_tokens()
    }

    /// Returns how many tokens may still be generated.
    pub fn remaining_tokens(&self) -> usize {
        self.inner.remaining_tokens()
    }

    /// Returns how many blocks the known tokens fill.
    pub fn num_blocks(&self) -> usize {
        self.inner.num_blocks()
    }

    /// Returns how many of the held blocks are registered: those whose tokens are all
    /// computed.
    pub fn assigned_blocks(&self) -> usize {
        self.inner.assigned_blocks()
    }

    /// Returns 0: every step registers the blocks that it fills, so none stay staged.
    pub fn staged_blocks(&self) -> usize {
        self.inner.staged_blocks()
    }

    /// Returns how many of the held blocks are not registered.
    pub fn unassigned_blocks(&self) -> usize {
        self.inner.unassigned_blocks()
    }

    /// Returns how many blocks were cached when blocks were last matched or reacquired.
    pub fn prefix_matched_blocks(&self) -> usize {
        self.inner.prefix_matched_blocks()
    }

    /// Returns the number of tokens per block.
    pub fn block_size(&self) -> usize {
        self.inner.block_size()
    }

    /// Returns whether all output tokens have been generated.
    pub fn is_complete(&self) -> bool {
        self.inner.is_complete()
    }

    // ---- parts of steps ----

    pub(super) fn tell(&self, event: SequenceEvent) {
        self.delegate.on_event(&event);
    }

    pub(super) fn wrong_state(&self, expected: &'static str) -> ApplyError {
        ApplyError::WrongState {
            expected,
            actual: self.state,
        }
    }

    pub(super) fn require_idle(&self) -> Result<(), ScheduleError> {
        match self.state {
            SequenceState::Idle => Ok(()),
            state => Err(ScheduleError::NotIdle { state }),
        }
    }

    pub(super) fn require_idle_to_apply(&self) -> Result<(), ApplyError> {
        match self.state {
            SequenceState::Idle => Ok(()),
            _ => Err(self.wrong_state("Idle")),
        }
    }
}

impl<T: BlockMetadata> fmt::Debug for SchedulableSequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulableSequence")
            .field("state", &self.state)
            .field("prefill_position", &self.prefill_position())
            .field("kv_position", &self.kv_position())
            .field("inner", &self.inner)
            .finish()
    }
}
