//! The steps of a serving loop.

use std::fmt;
use std::sync::Arc;

use dynamo_tokens::Token;

use super::{
    ApplyError, NoopDelegate, RequestSequence, ScheduleError, SequenceDelegate, SequenceEvent,
};
use crate::BlockManager;
use crate::blocks::BlockMetadata;

/// The step that is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceState {
    /// None.
    Idle,
    /// A chunk of the prompt.
    PrefillScheduled {
        /// Tokens of the chunk.
        num_tokens: usize,
        /// Blocks got for it.
        blocks_allocated: usize,
    },
    /// One token.
    DecodeScheduled {
        /// Blocks got for it.
        blocks_allocated: usize,
    },
    /// A draft of some tokens.
    SpeculativeScheduled {
        /// Tokens of the draft.
        num_tokens: usize,
        /// Blocks got for it.
        blocks_allocated: usize,
    },
}

/// What came of generated tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeOutcome {
    /// Neither of the others.
    Continue,
    /// A block is complete.
    BlockCompleted,
    /// All output tokens are generated.
    MaxLength,
    /// Both.
    BlockCompletedAndMaxLength,
}

/// A request and the step it is at: see the [module](super).
///
/// A token that the model has generated is *dangling* until the next step computes its
/// KV: [`tail_tokens`](Self::tail_tokens) counts them.
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
/// let cached = request.match_and_add_prefix(&manager)? * 4;
/// request.schedule_prefill(6 - cached, &manager)?;
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
pub struct SchedulableSequence<T: BlockMetadata> {
    inner: RequestSequence<T>,
    state: SequenceState,
    /// Tokens of the prompt that are done.
    prefill_position: usize,
    /// Tokens whose KV is computed.
    kv_position: usize,
    delegate: Arc<dyn SequenceDelegate>,
}

/// Builds a [`SchedulableSequence`]. All but the delegate is required.
#[derive(Default)]
pub struct SchedulableSequenceBuilder {
    tokens: Option<Vec<Token>>,
    max_output_tokens: Option<usize>,
    block_size: Option<u32>,
    delegate: Option<Arc<dyn SequenceDelegate>>,
}

impl SchedulableSequenceBuilder {
    /// The prompt.
    pub fn tokens(mut self, value: Vec<Token>) -> Self {
        self.tokens = Some(value);
        self
    }

    /// Tokens to be generated at most.
    pub fn max_output_tokens(mut self, value: usize) -> Self {
        self.max_output_tokens = Some(value);
        self
    }

    /// Tokens a block, as in the manager.
    pub fn block_size(mut self, value: u32) -> Self {
        self.block_size = Some(value);
        self
    }

    /// Is told of all events; nobody if there is none.
    pub fn delegate(mut self, delegate: Arc<dyn SequenceDelegate>) -> Self {
        self.delegate = Some(delegate);
        self
    }

    /// The sequence, without blocks.
    ///
    /// # Errors
    ///
    /// If something required is not set, or the block size is 0.
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

impl<T: BlockMetadata> SchedulableSequence<T> {
    /// A builder.
    pub fn builder() -> SchedulableSequenceBuilder {
        SchedulableSequenceBuilder::default()
    }

    /// A sequence without blocks, with a [`NoopDelegate`] if there is no `delegate`.
    pub fn new(
        tokens: Vec<Token>,
        max_output_tokens: usize,
        block_size: u32,
        delegate: Option<Arc<dyn SequenceDelegate>>,
    ) -> Self {
        let new = Self {
            inner: RequestSequence::new(tokens, max_output_tokens, block_size),
            state: SequenceState::Idle,
            prefill_position: 0,
            kv_position: 0,
            delegate: delegate.unwrap_or_else(|| Arc::new(NoopDelegate)),
        };
        new.tell(SequenceEvent::Created {
            num_input_tokens: new.num_input_tokens(),
            max_output_tokens,
            block_size: block_size as usize,
        });
        new
    }

    // ---- prefill ----

    /// Takes the cached blocks of the longest prefix, whose tokens then count as done.
    /// Returns how many.
    ///
    /// # Errors
    ///
    /// [`NotIdle`](ScheduleError::NotIdle).
    ///
    /// # Panics
    ///
    /// If the sequence has blocks.
    pub fn match_and_add_prefix(
        &mut self,
        manager: &BlockManager<T>,
    ) -> Result<usize, ScheduleError> {
        self.require_idle()?;
        let blocks_matched = self
            .inner
            .match_and_add_prefix(manager)
            .unwrap_or_else(|error| panic!("a manager finds what it was asked for: {error}"));
        if blocks_matched > 0 {
            self.prefill_position += blocks_matched * self.block_size();
            self.kv_position = self.prefill_position;
        }
        self.tell(SequenceEvent::PrefixMatched { blocks_matched });
        Ok(blocks_matched)
    }

    /// Schedules the next `num_tokens` tokens of the prompt and gets blocks for them.
    ///
    /// # Errors
    ///
    /// [`NotIdle`](ScheduleError::NotIdle),
    /// [`PrefillComplete`](ScheduleError::PrefillComplete),
    /// [`PrefillOverrun`](ScheduleError::PrefillOverrun) or
    /// [`AllocationFailed`](ScheduleError::AllocationFailed).
    pub fn schedule_prefill(
        &mut self,
        num_tokens: usize,
        manager: &BlockManager<T>,
    ) -> Result<(), ScheduleError> {
        self.require_idle()?;
        if self.is_prefill_complete() {
            return Err(ScheduleError::PrefillComplete);
        }
        let position = self.prefill_position;
        let num_input_tokens = self.num_input_tokens();
        let end = match position.checked_add(num_tokens) {
            Some(end) if end <= num_input_tokens => end,
            _ => {
                return Err(ScheduleError::PrefillOverrun {
                    position,
                    num_tokens,
                    num_input_tokens,
                });
            }
        };
        let needed = end.div_ceil(self.block_size());
        let blocks_allocated =
            self.allocate(needed.saturating_sub(self.inner.held_blocks()), manager)?;
        self.state = SequenceState::PrefillScheduled {
            num_tokens,
            blocks_allocated,
        };
        self.tell(SequenceEvent::PrefillScheduled {
            num_tokens,
            blocks_allocated,
        });
        Ok(())
    }

    /// Commits the scheduled chunk and registers what is complete. The last chunk yields
    /// the first generated `token`.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState),
    /// [`TokenOnNonFinalChunk`](ApplyError::TokenOnNonFinalChunk),
    /// [`MissingTokenOnFinalChunk`](ApplyError::MissingTokenOnFinalChunk), or
    /// [`AppendExceedsRemaining`](ApplyError::AppendExceedsRemaining) for a token where
    /// none is to be generated.
    ///
    /// # Panics
    ///
    /// If the blocks are another manager's.
    pub fn apply_prefill(
        &mut self,
        token: Option<Token>,
        manager: &BlockManager<T>,
    ) -> Result<(), ApplyError> {
        let SequenceState::PrefillScheduled { num_tokens, .. } = self.state else {
            return Err(self.wrong_state("PrefillScheduled"));
        };
        let end = self.prefill_position + num_tokens;
        let is_final = end >= self.num_input_tokens();
        match token {
            Some(_) if !is_final => return Err(ApplyError::TokenOnNonFinalChunk),
            None if is_final && self.max_output_tokens() > 0 => {
                return Err(ApplyError::MissingTokenOnFinalChunk);
            }
            Some(_) if self.is_complete() => {
                return Err(ApplyError::AppendExceedsRemaining {
                    requested: 1,
                    remaining: 0,
                });
            }
            _ => {}
        }
        let before = self.assigned_blocks();
        self.inner.complete_and_register_pending(manager);
        self.prefill_position = end;
        self.kv_position = end;
        if let Some(token) = token {
            // A block that this completes is registered when its KV is computed, by
            // the next step.
            self.inner.append_token(token);
        }
        self.state = SequenceState::Idle;
        self.tell(SequenceEvent::PrefillApplied {
            num_tokens,
            blocks_registered: self.assigned_blocks() - before + self.staged_blocks(),
            token_emitted: token.is_some(),
        });
        Ok(())
    }

    // ---- decode ----

    /// Schedules a token and gets blocks: for what the dangling token completed, and
    /// for the next one.
    ///
    /// # Errors
    ///
    /// [`NotIdle`](ScheduleError::NotIdle),
    /// [`PrefillNotComplete`](ScheduleError::PrefillNotComplete),
    /// [`GenerationComplete`](ScheduleError::GenerationComplete),
    /// [`WrongDanglingCount`](ScheduleError::WrongDanglingCount) or
    /// [`AllocationFailed`](ScheduleError::AllocationFailed).
    pub fn schedule_decode(&mut self, manager: &BlockManager<T>) -> Result<(), ScheduleError> {
        self.require_generating()?;
        let registered = self.assigned_blocks() + self.staged_blocks();
        let needed = self.num_blocks().saturating_sub(registered) + 1;
        let blocks_allocated =
            self.allocate(needed.saturating_sub(self.unassigned_blocks()), manager)?;
        self.state = SequenceState::DecodeScheduled { blocks_allocated };
        self.tell(SequenceEvent::DecodeScheduled { blocks_allocated });
        Ok(())
    }

    /// Commits the token that was decoded and registers what is complete.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState).
    ///
    /// # Panics
    ///
    /// If the blocks are another manager's.
    pub fn apply_decode(
        &mut self,
        token: Token,
        manager: &BlockManager<T>,
    ) -> Result<DecodeOutcome, ApplyError> {
        let SequenceState::DecodeScheduled { .. } = self.state else {
            return Err(self.wrong_state("DecodeScheduled"));
        };
        let block_completed = self.inner.append_token(token).is_some();
        self.inner.complete_and_register_pending(manager);
        self.kv_position += 1;
        self.state = SequenceState::Idle;
        self.tell(SequenceEvent::DecodeApplied {
            token,
            block_completed,
        });
        Ok(self.outcome(block_completed))
    }

    // ---- speculative decode ----

    /// Schedules a draft of tokens, of which some may be accepted, and gets blocks for
    /// all. Drafts longer than what may still be generated are cut.
    ///
    /// # Errors
    ///
    /// As [`schedule_decode`](Self::schedule_decode).
    pub fn schedule_speculative(
        &mut self,
        num_draft_tokens: usize,
        manager: &BlockManager<T>,
    ) -> Result<(), ScheduleError> {
        self.require_generating()?;
        let num_tokens = num_draft_tokens.min(self.remaining_tokens());
        let needed = (self.total_tokens() + num_tokens).div_ceil(self.block_size());
        let blocks_allocated =
            self.allocate(needed.saturating_sub(self.inner.held_blocks()), manager)?;
        self.state = SequenceState::SpeculativeScheduled {
            num_tokens,
            blocks_allocated,
        };
        self.tell(SequenceEvent::SpeculativeScheduled {
            num_tokens,
            blocks_allocated,
        });
        Ok(())
    }

    /// Commits the accepted tokens of the draft, registers what is complete, and drops
    /// the blocks that are too many, the last first.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) or
    /// [`AcceptedExceedsScheduled`](ApplyError::AcceptedExceedsScheduled).
    ///
    /// # Panics
    ///
    /// If the blocks are another manager's.
    pub fn apply_speculative(
        &mut self,
        accepted: &[Token],
        manager: &BlockManager<T>,
    ) -> Result<DecodeOutcome, ApplyError> {
        let SequenceState::SpeculativeScheduled { num_tokens, .. } = self.state else {
            return Err(self.wrong_state("SpeculativeScheduled"));
        };
        if accepted.len() > num_tokens {
            return Err(ApplyError::AcceptedExceedsScheduled {
                accepted: accepted.len(),
                scheduled: num_tokens,
            });
        }
        let before = self.num_blocks();
        for &token in accepted {
            self.inner.append_token(token);
        }
        let block_completed = self.num_blocks() > before;
        self.inner.complete_and_register_pending(manager);
        self.kv_position += accepted.len();
        // One block for the next token, if there is to be one.
        let keep = usize::from(!self.is_complete());
        let blocks_released = self.inner.drop_excess_unassigned(keep);
        self.state = SequenceState::Idle;
        self.tell(SequenceEvent::SpeculativeApplied {
            accepted: accepted.len(),
            scheduled: num_tokens,
            blocks_released,
        });
        Ok(self.outcome(block_completed))
    }

    // ---- other ways to go on ----

    /// Takes the scheduled step back and drops the blocks that were got for it.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState).
    pub fn revert_schedule(&mut self) -> Result<(), ApplyError> {
        let blocks_released = match self.state {
            SequenceState::Idle => return Err(self.wrong_state("any Scheduled state")),
            SequenceState::PrefillScheduled {
                blocks_allocated, ..
            }
            | SequenceState::DecodeScheduled { blocks_allocated }
            | SequenceState::SpeculativeScheduled {
                blocks_allocated, ..
            } => blocks_allocated,
        };
        self.inner.drop_unassigned(blocks_released);
        self.state = SequenceState::Idle;
        self.tell(SequenceEvent::ScheduleReverted { blocks_released });
        Ok(())
    }

    /// Drops up to `count` blocks that are not used yet, the last first. Returns how
    /// many.
    ///
    /// # Panics
    ///
    /// If a step is scheduled.
    pub fn drop_unassigned(&mut self, count: usize) -> usize {
        assert!(
            self.state == SequenceState::Idle,
            "the blocks are for a step: {:?}",
            self.state
        );
        let count = self.inner.drop_unassigned(count);
        if count > 0 {
            self.tell(SequenceEvent::UnassignedDropped { count });
        }
        count
    }

    /// Drops all blocks, to be [got back](Self::reacquire) later or not.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if a step is scheduled.
    pub fn release(&mut self) -> Result<(), ApplyError> {
        self.require_idle_to_apply()?;
        self.inner.release();
        self.tell(SequenceEvent::Released);
        Ok(())
    }

    /// Gets the blocks of all complete token blocks back, see
    /// [`RequestSequence::reacquire`]. Returns whether it could.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if a step is scheduled.
    ///
    /// # Panics
    ///
    /// If the sequence has blocks.
    pub fn reacquire(&mut self, manager: &BlockManager<T>) -> Result<bool, ApplyError> {
        self.require_idle_to_apply()?;
        let success = self.inner.reacquire(manager);
        self.tell(SequenceEvent::Reacquired {
            prefix_matched: self.prefix_matched_blocks(),
            success,
        });
        Ok(success)
    }

    /// Appends generated tokens whose KV is not computed.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if a step is scheduled, or
    /// [`AppendExceedsRemaining`](ApplyError::AppendExceedsRemaining).
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

    // ---- looking ----

    /// The step that is scheduled.
    pub fn state(&self) -> SequenceState {
        self.state
    }

    /// Tokens of the prompt that are done.
    pub fn prefill_position(&self) -> usize {
        self.prefill_position
    }

    /// Whether all tokens of the prompt are done.
    pub fn is_prefill_complete(&self) -> bool {
        self.prefill_position >= self.num_input_tokens()
    }

    /// Tokens whose KV is computed.
    pub fn kv_position(&self) -> usize {
        self.kv_position
    }

    /// Tokens whose KV is not computed.
    pub fn tail_tokens(&self) -> usize {
        self.total_tokens().saturating_sub(self.kv_position)
    }

    /// Who is told of events.
    pub fn delegate(&self) -> &Arc<dyn SequenceDelegate> {
        &self.delegate
    }

    /// The request.
    pub fn inner(&self) -> &RequestSequence<T> {
        &self.inner
    }

    /// Tokens generated.
    pub fn generated_tokens(&self) -> usize {
        self.inner.generated_tokens()
    }

    /// Tokens to be generated at most.
    pub fn max_output_tokens(&self) -> usize {
        self.inner.max_output_tokens()
    }

    /// Tokens of the prompt.
    pub fn num_input_tokens(&self) -> usize {
        self.inner.num_input_tokens()
    }

    /// All tokens.
    pub fn total_tokens(&self) -> usize {
        self.inner.total_tokens()
    }

    /// Tokens that may still be generated.
    pub fn remaining_tokens(&self) -> usize {
        self.inner.remaining_tokens()
    }

    /// Complete token blocks.
    pub fn num_blocks(&self) -> usize {
        self.inner.num_blocks()
    }

    /// Blocks that are registered.
    pub fn assigned_blocks(&self) -> usize {
        self.inner.assigned_blocks()
    }

    /// Blocks that are complete and not registered.
    pub fn staged_blocks(&self) -> usize {
        self.inner.staged_blocks()
    }

    /// Blocks that are allocated and not complete.
    pub fn unassigned_blocks(&self) -> usize {
        self.inner.unassigned_blocks()
    }

    /// Blocks that were cached.
    pub fn prefix_matched_blocks(&self) -> usize {
        self.inner.prefix_matched_blocks()
    }

    /// Tokens a block.
    pub fn block_size(&self) -> usize {
        self.inner.block_size()
    }

    /// Whether all output tokens are generated.
    pub fn is_complete(&self) -> bool {
        self.inner.is_complete()
    }

    // ---- parts of steps ----

    fn tell(&self, event: SequenceEvent) {
        self.delegate.on_event(&event);
    }

    /// Allocates so many blocks, and returns how many.
    fn allocate(
        &mut self,
        needed: usize,
        manager: &BlockManager<T>,
    ) -> Result<usize, ScheduleError> {
        if self.inner.allocate_blocks(needed, manager) {
            Ok(needed)
        } else {
            Err(ScheduleError::AllocationFailed { needed })
        }
    }

    fn outcome(&self, block_completed: bool) -> DecodeOutcome {
        match (block_completed, self.is_complete()) {
            (false, false) => DecodeOutcome::Continue,
            (true, false) => DecodeOutcome::BlockCompleted,
            (false, true) => DecodeOutcome::MaxLength,
            (true, true) => DecodeOutcome::BlockCompletedAndMaxLength,
        }
    }

    fn wrong_state(&self, expected: &'static str) -> ApplyError {
        ApplyError::WrongState {
            expected,
            actual: self.state,
        }
    }

    fn require_idle(&self) -> Result<(), ScheduleError> {
        match self.state {
            SequenceState::Idle => Ok(()),
            state => Err(ScheduleError::NotIdle { state }),
        }
    }

    fn require_idle_to_apply(&self) -> Result<(), ApplyError> {
        match self.state {
            SequenceState::Idle => Ok(()),
            _ => Err(self.wrong_state("Idle")),
        }
    }

    /// Idle, all of the prompt done, tokens to generate, and one of them dangling.
    fn require_generating(&self) -> Result<(), ScheduleError> {
        self.require_idle()?;
        if !self.is_prefill_complete() {
            return Err(ScheduleError::PrefillNotComplete {
                position: self.prefill_position,
                num_input_tokens: self.num_input_tokens(),
            });
        }
        if self.is_complete() {
            return Err(ScheduleError::GenerationComplete {
                generated: self.generated_tokens(),
                max_output: self.max_output_tokens(),
            });
        }
        match self.tail_tokens() {
            1 => Ok(()),
            actual => Err(ScheduleError::WrongDanglingCount {
                expected: 1,
                actual,
            }),
        }
    }
}

impl<T: BlockMetadata> fmt::Debug for SchedulableSequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulableSequence")
            .field("state", &self.state)
            .field("prefill_position", &self.prefill_position)
            .field("kv_position", &self.kv_position)
            .field("inner", &self.inner)
            .finish()
    }
}
