//! Prefill: computing known tokens. These are the prompt and, in a resumed request,
//! whatever else was lost.

use dynamo_tokens::Token;

use super::{ApplyError, SchedulableSequence, ScheduleError, SequenceEvent, SequenceState};
use crate::BlockManager;
use crate::blocks::BlockMetadata;

impl<T: BlockMetadata> SchedulableSequence<T> {
    /// Schedules a chunk of the `num_tokens` tokens from
    /// [`kv_position`](Self::kv_position) on, and allocates the blocks it needs that the
    /// sequence does not hold yet.
    ///
    /// A chunk may end anywhere up to the last known token, even within a block. The known
    /// tokens are the prompt and, in a resumed request, the tokens that were generated
    /// before it was preempted.
    ///
    /// # Errors
    ///
    /// * [`NotIdle`](ScheduleError::NotIdle) if a step is scheduled.
    /// * [`PrefillComplete`](ScheduleError::PrefillComplete) if the prompt is computed and
    ///   at most one token is left, which a decode computes.
    /// * [`PrefillOverrun`](ScheduleError::PrefillOverrun) if fewer than `num_tokens` known
    ///   tokens are left.
    /// * [`AllocationFailed`](ScheduleError::AllocationFailed) if the manager has too few
    ///   available blocks.
    ///
    /// # Panics
    ///
    /// Panics if the manager's blocks have [another size](Self::check_block_size).
    pub fn schedule_prefill(
        &mut self,
        num_tokens: usize,
        manager: &BlockManager<T>,
    ) -> Result<(), ScheduleError> {
        self.require_idle()?;
        if self.is_prefill_complete() && self.tail_tokens() <= 1 {
            return Err(ScheduleError::PrefillComplete);
        }
        let position = self.kv_position();
        let known = self.total_tokens();
        let end = match position.checked_add(num_tokens) {
            Some(end) if end <= known => end,
            _ => {
                return Err(ScheduleError::PrefillOverrun {
                    position,
                    num_tokens,
                    num_input_tokens: known,
                });
            }
        };
        let blocks_allocated = self.hold(end.div_ceil(self.block_size()), manager)?;
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

    /// Applies the scheduled chunk: marks its tokens as computed and registers the blocks
    /// that they fill.
    ///
    /// A chunk that reaches the last known token samples the next one; pass it as `token`.
    /// In a new request, that is the chunk that completes the prompt. Pass `None` for any
    /// other chunk, and if all output tokens have been generated.
    ///
    /// # Errors
    ///
    /// * [`WrongState`](ApplyError::WrongState) if no chunk is scheduled.
    /// * [`TokenOnNonFinalChunk`](ApplyError::TokenOnNonFinalChunk) if `token` is `Some`
    ///   but known tokens remain to be computed.
    /// * [`MissingTokenOnFinalChunk`](ApplyError::MissingTokenOnFinalChunk) if `token` is
    ///   `None` but the chunk samples one.
    /// * [`AppendExceedsRemaining`](ApplyError::AppendExceedsRemaining) if `token` is `Some`
    ///   but all output tokens have been generated.
    ///
    /// # Panics
    ///
    /// Panics if the sequence holds blocks of another manager. The sequence is then
    /// [released](Self::release).
    pub fn apply_prefill(
        &mut self,
        token: Option<Token>,
        manager: &BlockManager<T>,
    ) -> Result<(), ApplyError> {
        let SequenceState::PrefillScheduled { num_tokens, .. } = self.state else {
            return Err(self.wrong_state("PrefillScheduled"));
        };
        let end = self.kv_position() + num_tokens;
        let is_final = end == self.total_tokens();
        match token {
            Some(_) if !is_final => return Err(ApplyError::TokenOnNonFinalChunk),
            Some(_) if self.is_complete() => {
                return Err(ApplyError::AppendExceedsRemaining {
                    requested: 1,
                    remaining: 0,
                });
            }
            None if is_final && !self.is_complete() => {
                return Err(ApplyError::MissingTokenOnFinalChunk);
            }
            _ => {}
        }
        let blocks_registered = self.commit(end, manager);
        if let Some(token) = token {
            self.inner.append_token(token);
        }
        self.tell(SequenceEvent::PrefillApplied {
            num_tokens,
            blocks_registered,
            token_emitted: token.is_some(),
        });
        Ok(())
    }
}
