//! Assignments of block ids.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::ops::Range;

use dynamo_tokens::TokenBlock;

use super::BlockSequenceError;
use super::phases::Phases;
use crate::{BlockId, KvbmSequenceHashProvider, SequenceHash};

/// Records which block id holds which position of a sequence, from an offset on.
///
/// Use it where ids come from a scheduler elsewhere and there are no guards to hold. One
/// sequence can have several assignments at different offsets, for example one per tier.
///
/// ```
/// use kvbm_lockfree::{BlockSequence, ExternalBlockAssignments};
///
/// let prompt = BlockSequence::new((0..8).collect(), 4, None);
/// let mut ids = ExternalBlockAssignments::new(0);
/// // The scheduler sends its whole list each time; known ids come first.
/// ids.extend_block_ids([7])?;
/// ids.extend_block_ids([7, 9])?;
/// assert_eq!(ids.unassigned_count(), 2);
/// assert_eq!(ids.assign_pending(prompt.blocks())?, 0..2);
/// assert_eq!(ids.get_at_position(1), Some((9, prompt.all_sequence_hashes()[1])));
/// # Ok::<(), kvbm_lockfree::sequence::BlockSequenceError>(())
/// ```
pub struct ExternalBlockAssignments {
    phases: Phases<(), SequenceHash, SequenceHash>,
    offset: usize,
}

impl ExternalBlockAssignments {
    /// Creates assignments without blocks. The first block will be at position `offset`.
    pub fn new(offset: usize) -> Self {
        Self {
            phases: Phases::new(),
            offset,
        }
    }

    /// Returns the position of the first block.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns whether an id is present, in any phase. O(1).
    pub fn contains(&self, block_id: &BlockId) -> bool {
        self.phases.contains(*block_id)
    }

    // ---- counts and positions ----

    /// Returns the number of assigned blocks.
    pub fn assigned_count(&self) -> usize {
        self.phases.assigned().len()
    }

    /// Returns the number of staged blocks.
    pub fn staged_count(&self) -> usize {
        self.phases.staged().len()
    }

    /// Returns the number of unassigned ids, which are also called *pending*.
    pub fn unassigned_count(&self) -> usize {
        self.phases.unassigned().len()
    }

    /// Returns the position of the next block to be staged.
    pub fn next_position(&self) -> usize {
        self.staged_positions().end
    }

    /// Returns the positions of the assigned blocks.
    pub fn assigned_positions(&self) -> Range<usize> {
        self.offset..self.offset + self.assigned_count()
    }

    /// Returns the positions of the staged blocks.
    pub fn staged_positions(&self) -> Range<usize> {
        let start = self.assigned_positions().end;
        start..start + self.staged_count()
    }

    /// Returns the positions that the unassigned ids will get.
    pub fn pending_positions(&self) -> Range<usize> {
        let start = self.next_position();
        start..start + self.unassigned_count()
    }

    // ---- blocks ----

    /// Returns the assigned block at `index`, counted from the offset.
    pub fn get_assigned(&self, index: usize) -> Option<(BlockId, SequenceHash)> {
        self.phases.get_assigned(index).map(copied)
    }

    /// Returns the staged block at `index`, counted from the first staged one.
    pub fn get_staged(&self, index: usize) -> Option<(BlockId, SequenceHash)> {
        self.phases.get_staged(index).map(copied)
    }

    /// Returns the assigned block at a position of the sequence.
    pub fn get_at_position(&self, abs_pos: usize) -> Option<(BlockId, SequenceHash)> {
        self.get_assigned(abs_pos.checked_sub(self.offset)?)
    }

    /// Returns the unassigned id that will get a position of the sequence.
    pub fn get_pending_at_position(&self, abs_pos: usize) -> Option<BlockId> {
        let index = abs_pos.checked_sub(self.next_position())?;
        self.phases.get_unassigned(index).map(|(&id, ())| id)
    }

    /// Returns the assigned blocks in order of position.
    pub fn assigned_iter(&self) -> impl Iterator<Item = (BlockId, SequenceHash)> + '_ {
        self.phases.assigned().map(copied)
    }

    /// Returns the staged blocks in order of position.
    pub fn staged_iter(&self) -> impl Iterator<Item = (BlockId, SequenceHash)> + '_ {
        self.phases.staged().map(copied)
    }

    /// Returns the unassigned ids in the order in which they were added.
    pub fn unassigned_iter(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.phases.unassigned().map(|(&id, ())| id)
    }

    // ---- changes ----

    /// Adds new ids as unassigned. `block_ids` is the complete list that a scheduler keeps;
    /// the ids that are already present come first and are skipped.
    ///
    /// # Errors
    ///
    /// Nothing has changed if this returns
    ///
    /// * [`OrderingViolation`](BlockSequenceError::OrderingViolation) because a known id comes
    ///   after a new one, or
    /// * [`DuplicateBlockId`](BlockSequenceError::DuplicateBlockId) because a new id occurs
    ///   twice.
    pub fn extend_block_ids(
        &mut self,
        block_ids: impl IntoIterator<Item = BlockId>,
    ) -> Result<(), BlockSequenceError> {
        let mut ids = block_ids.into_iter().enumerate();
        let Some((first_new_index, new_id)) = ids.find(|&(_, id)| !self.contains(&id)) else {
            return Ok(());
        };
        let (mut new, mut seen) = (vec![new_id], HashSet::from([new_id]));
        for (known_index, id) in ids {
            if self.contains(&id) {
                return Err(BlockSequenceError::OrderingViolation {
                    known_id: id,
                    new_id,
                    known_index,
                    first_new_index,
                });
            }
            if !seen.insert(id) {
                return Err(BlockSequenceError::DuplicateBlockId { block_id: id });
            }
            new.push(id);
        }
        for id in new {
            self.phases.add_unassigned(id, ());
        }
        Ok(())
    }

    /// Adds blocks with known hashes, such as cached ones, as assigned. Returns how many were
    /// added.
    ///
    /// # Errors
    ///
    /// Returns [`DuplicateBlockId`](BlockSequenceError::DuplicateBlockId), having changed
    /// nothing, if an id is present already or occurs twice.
    pub fn extend_assigned(
        &mut self,
        items: impl IntoIterator<Item = (BlockId, SequenceHash)>,
    ) -> Result<usize, BlockSequenceError> {
        let items: Vec<_> = items.into_iter().collect();
        if let Some(block_id) = self.phases.duplicate(items.iter().map(|&(id, _)| id)) {
            return Err(BlockSequenceError::DuplicateBlockId { block_id });
        }
        let count = items.len();
        for (id, hash) in items {
            self.phases.add_assigned(id, hash);
        }
        Ok(count)
    }

    /// Stages unassigned ids: pairs them, in order, with the token blocks from
    /// [`next_position`](Self::next_position) on, until either runs out. Returns the range of
    /// new staged blocks, counted from the first staged one.
    ///
    /// `sequence_blocks` are the token blocks of the whole sequence, from position 0.
    ///
    /// # Errors
    ///
    /// Returns [`PositionMismatch`](BlockSequenceError::PositionMismatch), having changed
    /// nothing, if the hash of a token block is for another position.
    pub fn stage_pending(
        &mut self,
        sequence_blocks: &[TokenBlock],
    ) -> Result<Range<usize>, BlockSequenceError> {
        let next = self.next_position();
        let blocks = sequence_blocks.get(next..).unwrap_or_default();
        let hashes: Vec<_> = blocks[..blocks.len().min(self.unassigned_count())]
            .iter()
            .map(KvbmSequenceHashProvider::kvbm_sequence_hash)
            .collect();
        for ((expected, hash), block_id) in (next..).zip(&hashes).zip(self.unassigned_iter()) {
            let actual = hash.position();
            if actual != expected as u64 {
                return Err(BlockSequenceError::PositionMismatch {
                    expected,
                    actual,
                    block_id,
                });
            }
        }
        let before = self.staged_count();
        for hash in hashes {
            let Some(Ok(())) = self.phases.stage_first(|()| Ok::<_, Infallible>(hash)) else {
                break;
            };
        }
        Ok(before..self.staged_count())
    }

    /// Makes all staged blocks assigned. Returns the range of new assigned blocks, counted
    /// from the offset.
    pub fn commit_staged(&mut self) -> Range<usize> {
        let before = self.assigned_count();
        while self.phases.assign_first(|id, hash| (id, hash)) {}
        before..self.assigned_count()
    }

    /// Stages and commits in one call: [`stage_pending`](Self::stage_pending) followed by
    /// [`commit_staged`](Self::commit_staged), whose range it returns.
    ///
    /// # Errors
    ///
    /// Fails as [`stage_pending`](Self::stage_pending) does.
    pub fn assign_pending(
        &mut self,
        sequence_blocks: &[TokenBlock],
    ) -> Result<Range<usize>, BlockSequenceError> {
        self.stage_pending(sequence_blocks)?;
        Ok(self.commit_staged())
    }

    /// Removes and returns the staged blocks.
    pub fn take_staged(&mut self) -> Vec<(BlockId, SequenceHash)> {
        self.phases.take_staged()
    }

    /// Removes all blocks. The offset stays.
    pub fn clear(&mut self) {
        self.phases.clear();
    }
}

fn copied((&id, &hash): (&BlockId, &SequenceHash)) -> (BlockId, SequenceHash) {
    (id, hash)
}

impl fmt::Debug for ExternalBlockAssignments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalBlockAssignments")
            .field("assigned_count", &self.assigned_count())
            .field("staged_count", &self.staged_count())
            .field("unassigned_count", &self.unassigned_count())
            .field("offset", &self.offset)
            .finish()
    }
}
