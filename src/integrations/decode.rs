//! Decode: generating tokens, one at a time or several from a draft.

use dynamo_tokens::Token;

use super::{
    ApplyError, DecodeOutcome, SchedulableSequence, ScheduleError, SequenceEvent, SequenceState,
};
use crate::BlockManager;
use crate::blocks::BlockMetadata;

impl<T: BlockMetadata> SchedulableSequence<T> {
    // ---- one token ----

    /// Schedules a step that generates one token. Allocates blocks until the sequence holds one
    /// more than the known tokens fill.
    ///
    /// The step computes the tail: all [`tail_tokens`](Self::tail_tokens) tokens from
    /// [`kv_position`](Self::kv_position) on. Usually that is the token sampled last. In a
    /// resumed request, the tail also includes the tokens before it in the same block, which was
    /// lost because it was not complete when the request was released.
    ///
    /// # Errors
    ///
    /// * [`NotIdle`](ScheduleError::NotIdle) if a step is scheduled.
    /// * [`PrefillNotComplete`](ScheduleError::PrefillNotComplete) if prompt tokens are
    ///   missing: their blocks are not computed, or no longer held.
    /// * [`GenerationComplete`](ScheduleError::GenerationComplete) if all output tokens have
    ///   been generated.
    /// * [`WrongDanglingCount`](ScheduleError::WrongDanglingCount) if the number of tokens
    ///   that have never been computed is not one, or if complete blocks of generated
    ///   tokens are no longer held. `actual` is the length of the tail;
    ///   [`schedule_prefill`](Self::schedule_prefill) computes it.
    /// * [`AllocationFailed`](ScheduleError::AllocationFailed) if the manager has too few
    ///   available blocks.
    ///
    /// # Panics
    ///
    /// Panics if the manager's blocks have [another size](Self::check_block_size).
    pub fn schedule_decode(&mut self, manager: &BlockManager<T>) -> Result<(), ScheduleError> {
        self.require_generating()?;
        let blocks_allocated = self.hold(self.num_blocks() + 1, manager)?;
        self.state = SequenceState::DecodeScheduled { blocks_allocated };
        self.tell(SequenceEvent::DecodeScheduled { blocks_allocated });
        Ok(())
    }

    /// Applies the scheduled step: marks the tail as computed, registers the blocks that it
    /// fills, and appends `token`, which was sampled.
    ///
    /// The next step computes the KV of `token` itself. If `token` completes a block, that
    /// step registers it.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if no decode is scheduled.
    ///
    /// # Panics
    ///
    /// Panics if the sequence holds blocks of another manager. The sequence is then
    /// [released](Self::release), but keeps the token.
    pub fn apply_decode(
        &mut self,
        token: Token,
        manager: &BlockManager<T>,
    ) -> Result<DecodeOutcome, ApplyError> {
        let SequenceState::DecodeScheduled { .. } = self.state else {
            return Err(self.wrong_state("DecodeScheduled"));
        };
        let block_completed = self.commit_sampled(&[token], manager);
        self.tell(SequenceEvent::DecodeApplied {
            token,
            block_completed,
        });
        Ok(self.outcome(block_completed))
    }

    // ---- a draft ----

    /// Schedules a step that verifies a draft of `num_draft_tokens` tokens, and allocates
    /// blocks for all of them. The draft is shortened to the number of tokens that may still
    /// be generated.
    ///
    /// Like a decode, the step computes the tail first.
    ///
    /// # Errors
    ///
    /// Fails as [`schedule_decode`](Self::schedule_decode) does.
    ///
    /// # Panics
    ///
    /// Panics if the manager's blocks have [another size](Self::check_block_size).
    pub fn schedule_speculative(
        &mut self,
        num_draft_tokens: usize,
        manager: &BlockManager<T>,
    ) -> Result<(), ScheduleError> {
        self.require_generating()?;
        let num_tokens = num_draft_tokens.min(self.remaining_tokens());
        // Saturating: such a draft needs more blocks than any manager has.
        let end = self.total_tokens().saturating_add(num_tokens);
        let blocks_allocated = self.hold(end.div_ceil(self.block_size()), manager)?;
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

    /// Applies the scheduled draft: appends the `accepted` tokens, registers the blocks that
    /// are now computed, and drops the blocks that the rejected tokens would have needed,
    /// last first.
    ///
    /// The last accepted token was sampled but never fed to the model; the next step
    /// computes its KV. If no token is accepted, the token that was last before remains the
    /// one to compute.
    ///
    /// # Errors
    ///
    /// * [`WrongState`](ApplyError::WrongState) if no draft is scheduled.
    /// * [`AcceptedExceedsScheduled`](ApplyError::AcceptedExceedsScheduled) if more tokens
    ///   were accepted than scheduled.
    ///
    /// # Panics
    ///
    /// Panics if the sequence holds blocks of another manager. The sequence is then
    /// [released](Self::release), but keeps the tokens.
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
        let block_completed = self.commit_sampled(accepted, manager);
        // One block more for the next token, unless generation is complete.
        let needed = self.num_blocks() + usize::from(!self.is_complete());
        let blocks_released = self.give_up(self.inner.held_blocks().saturating_sub(needed));
        self.tell(SequenceEvent::SpeculativeApplied {
            accepted: accepted.len(),
            scheduled: num_tokens,
            blocks_released,
        });
        Ok(self.outcome(block_completed))
    }

    // ---- parts of steps ----

    /// Appends the tokens that a step sampled, and marks all known tokens except the last as
    /// computed. Returns whether the new tokens completed a block.
    fn commit_sampled(&mut self, tokens: &[Token], manager: &BlockManager<T>) -> bool {
        let before = self.num_blocks();
        for &token in tokens {
            self.inner.append_token(token);
        }
        self.commit(self.total_tokens() - 1, manager);
        self.num_blocks() > before
    }

    fn outcome(&self, block_completed: bool) -> DecodeOutcome {
        match (block_completed, self.is_complete()) {
            (false, false) => DecodeOutcome::Continue,
            (true, false) => DecodeOutcome::BlockCompleted,
            (false, true) => DecodeOutcome::MaxLength,
            (true, true) => DecodeOutcome::BlockCompletedAndMaxLength,
        }
    }

    /// Succeeds if the sequence is idle and a step can sample the next token: tokens remain
    /// to be generated, exactly one token is dangling and it is not part of the prompt, and
    /// the rest of the tail is in that token's block.
    fn require_generating(&self) -> Result<(), ScheduleError> {
        self.require_idle()?;
        let ever_computed = self.positions.ever_computed();
        let last = self.total_tokens().saturating_sub(1);
        let is_ready = ever_computed >= self.num_input_tokens()
            && ever_computed + 1 == self.total_tokens()
            && self.kv_position() >= last - last % self.block_size();
        if !self.is_prefill_complete() && !is_ready {
            return Err(ScheduleError::PrefillNotComplete {
                position: self.prefill_position(),
                num_input_tokens: self.num_input_tokens(),
            });
        }
        if self.is_complete() {
            return Err(ScheduleError::GenerationComplete {
                generated: self.generated_tokens(),
                max_output: self.max_output_tokens(),
            });
        }
        if !is_ready {
            return Err(ScheduleError::WrongDanglingCount {
                expected: 1,
                actual: self.tail_tokens(),
            });
        }
        Ok(())
    }
}
