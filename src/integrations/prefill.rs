//! Computing tokens that are known: the prompt, and after a resumption whatever else
//! was lost.

use dynamo_tokens::Token;

use super::{ApplyError, SchedulableSequence, ScheduleError, SequenceEvent, SequenceState};
use crate::BlockManager;
use crate::blocks::BlockMetadata;

impl<T: BlockMetadata> SchedulableSequence<T> {
    /// Schedules a chunk: the `num_tokens` tokens from [`kv_position`](Self::kv_position)
    /// on. Allocates the blocks that they need and that the sequence does not hold.
    ///
    /// A chunk may end anywhere, also within a block, but not beyond the last known
    /// token. Known are the prompt and, when a request is resumed, the tokens that were
    /// generated before it was preempted.
    ///
    /// # Errors
    ///
    /// * [`NotIdle`](ScheduleError::NotIdle) if a step is scheduled.
    /// * [`PrefillComplete`](ScheduleError::PrefillComplete) if the prompt is computed
    ///   and at most one token is not, which is for a decode to compute.
    /// * [`PrefillOverrun`](ScheduleError::PrefillOverrun) if there are fewer tokens.
    /// * [`AllocationFailed`](ScheduleError::AllocationFailed) if the manager has too few
    ///   blocks.
    ///
    /// # Panics
    ///
    /// If the manager's blocks are of [another size](Self::check_block_size).
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

    /// Applies the scheduled chunk: its tokens are computed, and the blocks that they
    /// fill are registered.
    ///
    /// A chunk that reaches the last known token yields the next one, which is passed as
    /// `token`. Any other chunk yields none. For a new request, the chunk that completes
    /// the prompt is the one with a token.
    ///
    /// # Errors
    ///
    /// * [`WrongState`](ApplyError::WrongState) if no chunk is scheduled.
    /// * [`TokenOnNonFinalChunk`](ApplyError::TokenOnNonFinalChunk) if there is a token,
    ///   and known ones remain to be computed.
    /// * [`MissingTokenOnFinalChunk`](ApplyError::MissingTokenOnFinalChunk) if there is
    ///   none, although it is to be generated.
    /// * [`AppendExceedsRemaining`](ApplyError::AppendExceedsRemaining) if there is one,
    ///   although all are generated.
    ///
    /// # Panics
    ///
    /// If the blocks are another manager's. The sequence is then
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
