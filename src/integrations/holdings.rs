//! Getting blocks and giving them up. Everything that changes *held* is in this file, so that
//! *computed* changes with it: see [`positions`](super::positions).

use std::mem;

use super::{ApplyError, SchedulableSequence, ScheduleError, SequenceEvent, SequenceState};
use crate::BlockManager;
use crate::blocks::BlockMetadata;

impl<T: BlockMetadata> SchedulableSequence<T> {
    /// Matches the longest cached prefix of the known tokens and counts its tokens as
    /// computed. Returns the number of blocks matched.
    ///
    /// While tokens remain to be generated, the block of the last known token is not
    /// matched: the next token is sampled from that token's logits, so a step must compute
    /// it. Of a fully cached prompt that fills its blocks, the last block is therefore left
    /// to prefill.
    ///
    /// # Errors
    ///
    /// [`NotIdle`](ScheduleError::NotIdle) if a step is scheduled.
    ///
    /// # Panics
    ///
    /// Panics if the sequence holds blocks, or if the manager's blocks have
    /// [another size](Self::check_block_size).
    pub fn match_and_add_prefix(
        &mut self,
        manager: &BlockManager<T>,
    ) -> Result<usize, ScheduleError> {
        self.require_idle()?;
        let blocks_matched = self
            .inner
            .match_up_to(self.matchable_blocks(), manager)
            .unwrap_or_else(|error| {
                panic!("the manager matched another block than requested: {error}")
            });
        self.positions.advance(blocks_matched * self.block_size());
        self.tell(SequenceEvent::PrefixMatched { blocks_matched });
        Ok(blocks_matched)
    }

    /// Releases all blocks. The tokens stay, but none of them counts as computed any more.
    ///
    /// To resume, get blocks with [`reacquire`](Self::reacquire) or
    /// [`match_and_add_prefix`](Self::match_and_add_prefix), then compute what is missing.
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

    /// Gets a block for each complete block of known tokens: matches the cached ones, like
    /// [`match_and_add_prefix`](Self::match_and_add_prefix), and allocates the others for
    /// prefill to fill. Returns `false` if the manager has too few available blocks; the
    /// sequence then holds none.
    ///
    /// Afterwards, [`kv_position`](Self::kv_position) is the end of the cached blocks. If
    /// [`schedule_decode`](Self::schedule_decode) refuses to continue from there, compute the
    /// tail with [`schedule_prefill`](Self::schedule_prefill).
    ///
    /// # Errors
    ///
    /// [`WrongState`](ApplyError::WrongState) if a step is scheduled.
    ///
    /// # Panics
    ///
    /// Panics if the sequence holds blocks, or if the manager's blocks have
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

    /// Cancels the scheduled step and drops the blocks allocated for it.
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

    /// Drops up to `count` unregistered blocks, last first. Returns how many were dropped.
    ///
    /// If a dropped block was partly computed, its tokens no longer count as computed.
    ///
    /// # Panics
    ///
    /// Panics if a step is scheduled.
    pub fn drop_unassigned(&mut self, count: usize) -> usize {
        assert!(
            self.state == SequenceState::Idle,
            "cannot drop blocks while a step is scheduled: {:?}",
            self.state
        );
        let count = self.give_up(count);
        if count > 0 {
            self.tell(SequenceEvent::UnassignedDropped { count });
        }
        count
    }

    // ---- parts of steps ----

    /// Allocates blocks until the sequence holds `blocks` of them. Returns how many it
    /// allocated.
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

    /// Drops up to `count` unregistered blocks, last first. Returns how many were dropped.
    pub(super) fn give_up(&mut self, count: usize) -> usize {
        let count = self.inner.drop_unassigned(count);
        self.positions
            .retreat(self.inner.held_blocks() * self.block_size());
        count
    }

    /// Ends the scheduled step: marks the tokens before `end` as computed and registers the
    /// blocks that they fill. Returns how many were registered.
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

    /// Returns how many leading blocks of known tokens may be matched (P4).
    fn matchable_blocks(&self) -> usize {
        let to_be_computed = usize::from(!self.is_complete());
        self.total_tokens().saturating_sub(to_be_computed) / self.block_size()
    }
}

/// Releases the sequence if registering its blocks panics. One block is lost in that case,
/// and those after it would be paired with the wrong tokens.
struct ReleaseOnUnwind<'a, T: BlockMetadata>(&'a mut SchedulableSequence<T>);

impl<T: BlockMetadata> Drop for ReleaseOnUnwind<'_, T> {
    fn drop(&mut self) {
        self.0.release_all();
    }
}
