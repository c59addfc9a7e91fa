//! Getting blocks and giving them up. Every change of *held* is here, and with it goes
//! *computed*: see [`positions`](super::positions).

use std::mem;

use super::{ApplyError, SchedulableSequence, ScheduleError, SequenceEvent, SequenceState};
use crate::BlockManager;
use crate::blocks::BlockMetadata;

impl<T: BlockMetadata> SchedulableSequence<T> {
    /// Takes the cached blocks of the longest prefix of the known tokens, and counts
    /// their tokens as computed. Returns how many blocks there are.
    ///
    /// While tokens are to be generated, the last known token is left to be computed,
    /// since the next one is sampled from its logits. For a prompt that is cached as a
    /// whole and fills its blocks, this leaves the last block to prefill.
    ///
    /// # Errors
    ///
    /// [`NotIdle`](ScheduleError::NotIdle) if a step is scheduled.
    ///
    /// # Panics
    ///
    /// If the sequence holds blocks, or the manager's are of
    /// [another size](Self::check_block_size).
    pub fn match_and_add_prefix(
        &mut self,
        manager: &BlockManager<T>,
    ) -> Result<usize, ScheduleError> {
        self.require_idle()?;
        let blocks_matched = self
            .inner
            .match_up_to(self.matchable_blocks(), manager)
            .unwrap_or_else(|error| panic!("a manager finds what it was asked for: {error}"));
        self.positions.advance(blocks_matched * self.block_size());
        self.tell(SequenceEvent::PrefixMatched { blocks_matched });
        Ok(blocks_matched)
    }

    /// Releases all blocks. The tokens stay, and none of them counts as computed.
    ///
    /// To go on, get blocks back with [`reacquire`](Self::reacquire) or
    /// [`match_and_add_prefix`](Self::match_and_add_prefix), and compute what is missing.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if a step is scheduled.
    pub fn release(&mut self) -> Result<(), ApplyError> {
        self.require_idle_to_apply()?;
        self.release_all();
        self.tell(SequenceEvent::Released);
        Ok(())
    }

    /// Gets blocks for all complete blocks of known tokens: those that are cached are
    /// matched, as by [`match_and_add_prefix`](Self::match_and_add_prefix), and the others
    /// are allocated, for prefill to fill. Returns `false` if there are too few, in which
    /// case the sequence holds none.
    ///
    /// Afterwards [`kv_position`](Self::kv_position) says what is still there. If
    /// [`tail_tokens`](Self::tail_tokens) is more than a decode computes, go on with
    /// [`schedule_prefill`](Self::schedule_prefill).
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if a step is scheduled.
    ///
    /// # Panics
    ///
    /// If the sequence holds blocks, or the manager's are of
    /// [another size](Self::check_block_size).
    pub fn reacquire(&mut self, manager: &BlockManager<T>) -> Result<bool, ApplyError> {
        self.require_idle_to_apply()?;
        let success = self.inner.reacquire_up_to(self.matchable_blocks(), manager);
        let prefix_matched = self.prefix_matched_blocks();
        if success {
            self.positions.advance(prefix_matched * self.block_size());
        }
        self.tell(SequenceEvent::Reacquired {
            prefix_matched,
            success,
        });
        Ok(success)
    }

    /// Takes the scheduled step back and drops the blocks allocated for it.
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if no step is scheduled.
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
        self.give_up(blocks_released);
        self.state = SequenceState::Idle;
        self.tell(SequenceEvent::ScheduleReverted { blocks_released });
        Ok(())
    }

    /// Drops up to `count` blocks that are not registered, last first. Returns how many.
    ///
    /// Tokens that such a block held, because it was partly computed, no longer count as
    /// computed.
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
        let count = self.give_up(count);
        if count > 0 {
            self.tell(SequenceEvent::UnassignedDropped { count });
        }
        count
    }

    // ---- parts of steps ----

    /// Allocates what is missing to `blocks` blocks. Returns how many that were.
    pub(super) fn hold(
        &mut self,
        blocks: usize,
        manager: &BlockManager<T>,
    ) -> Result<usize, ScheduleError> {
        let needed = blocks.saturating_sub(self.inner.held_blocks());
        if self.inner.allocate_blocks(needed, manager) {
            Ok(needed)
        } else {
            Err(ScheduleError::AllocationFailed { needed })
        }
    }

    /// Drops up to `count` blocks that are not registered, last first. Returns how many.
    pub(super) fn give_up(&mut self, count: usize) -> usize {
        let count = self.inner.drop_unassigned(count);
        self.positions
            .retreat(self.inner.held_blocks() * self.block_size());
        count
    }

    /// Ends the scheduled step: the tokens before `end` are computed, and the blocks that
    /// they fill are registered. Returns how many.
    pub(super) fn commit(&mut self, end: usize, manager: &BlockManager<T>) -> usize {
        self.state = SequenceState::Idle;
        self.positions.advance(end);
        let guard = ReleaseOnUnwind(self);
        let count = guard.0.inner.register_computed(end, manager);
        mem::forget(guard);
        count
    }

    fn release_all(&mut self) {
        self.inner.release();
        self.positions.retreat(0);
    }

    /// Blocks of known tokens that may be matched (P4).
    fn matchable_blocks(&self) -> usize {
        let to_be_computed = usize::from(!self.is_complete());
        self.total_tokens().saturating_sub(to_be_computed) / self.block_size()
    }
}

/// Releases the sequence if registering its blocks panics. A block is lost then, and
/// those after it would be taken for blocks of other tokens.
struct ReleaseOnUnwind<'a, T: BlockMetadata>(&'a mut SchedulableSequence<T>);

impl<T: BlockMetadata> Drop for ReleaseOnUnwind<'_, T> {
    fn drop(&mut self) {
        self.0.release_all();
    }
}
