//! Assignments of ids.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::ops::Range;

use dynamo_tokens::TokenBlock;

use super::BlockSequenceError;
use super::phases::Phases;
use crate::{BlockId, KvbmSequenceHashProvider, SequenceHash};

/// Which block id holds which position of a sequence, from an offset on.
///
/// For who is told ids and does not hold guards. Several of these, at different
/// offsets, can go with one sequence: one for each tier, for example.
///
/// ```
/// use kvbm_lockfree::{BlockSequence, ExternalBlockAssignments};
///
/// let prompt = BlockSequence::new((0..8).collect(), 4, None);
/// let mut ids = ExternalBlockAssignments::new(0);
/// ids.extend_block_ids([7, 9])?;
/// assert_eq!(ids.assign_pending(prompt.blocks())?, 0..2);
/// assert_eq!(ids.get_at_position(1), Some((9, prompt.all_sequence_hashes()[1])));
/// # Ok::<(), kvbm_lockfree::sequence::BlockSequenceError>(())
/// ```
pub struct ExternalBlockAssignments {
    phases: Phases<(), SequenceHash, SequenceHash>,
    offset: usize,
}

impl ExternalBlockAssignments {
    /// None yet. The first block will be at position `offset`.
    pub fn new(offset: usize) -> Self {
        Self {
            phases: Phases::new(),
            offset,
        }
    }

    /// The position of the first block.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Whether an id is there, in any phase.
    pub fn contains(&self, block_id: &BlockId) -> bool {
        self.phases.contains(*block_id)
    }

    // ---- how many, and where ----

    /// Assigned blocks.
    pub fn assigned_count(&self) -> usize {
        self.phases.assigned().len()
    }

    /// Staged blocks.
    pub fn staged_count(&self) -> usize {
        self.phases.staged().len()
    }

    /// Unassigned ids, also called pending.
    pub fn unassigned_count(&self) -> usize {
        self.phases.unassigned().len()
    }

    /// The position of the block that is staged next.
    pub fn next_position(&self) -> usize {
        self.staged_positions().end
    }

    /// The positions of the assigned blocks.
    pub fn assigned_positions(&self) -> Range<usize> {
        self.offset..self.offset + self.assigned_count()
    }

    /// The positions of the staged blocks.
    pub fn staged_positions(&self) -> Range<usize> {
        let start = self.assigned_positions().end;
        start..start + self.staged_count()
    }

    /// The positions that the unassigned ids will have.
    pub fn pending_positions(&self) -> Range<usize> {
        let start = self.next_position();
        start..start + self.unassigned_count()
    }

    // ---- which ----

    /// The assigned block `index`, counted from the offset.
    pub fn get_assigned(&self, index: usize) -> Option<(BlockId, SequenceHash)> {
        self.phases.get_assigned(index).map(copied)
    }

    /// The staged block `index`, counted from the first staged one.
    pub fn get_staged(&self, index: usize) -> Option<(BlockId, SequenceHash)> {
        self.phases.get_staged(index).map(copied)
    }

    /// The assigned block at a position of the sequence.
    pub fn get_at_position(&self, abs_pos: usize) -> Option<(BlockId, SequenceHash)> {
        self.get_assigned(abs_pos.checked_sub(self.offset)?)
    }

    /// The unassigned id that will be at a position of the sequence.
    pub fn get_pending_at_position(&self, abs_pos: usize) -> Option<BlockId> {
        let index = abs_pos.checked_sub(self.next_position())?;
        self.phases.get_unassigned(index).map(|(&id, ())| id)
    }

    /// The assigned blocks, by position.
    pub fn assigned_iter(&self) -> impl Iterator<Item = (BlockId, SequenceHash)> + '_ {
        self.phases.assigned().map(copied)
    }

    /// The staged blocks, by position.
    pub fn staged_iter(&self) -> impl Iterator<Item = (BlockId, SequenceHash)> + '_ {
        self.phases.staged().map(copied)
    }

    /// The unassigned ids, in their order.
    pub fn unassigned_iter(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.phases.unassigned().map(|(&id, ())| id)
    }

    // ---- changes ----

    /// Adds the ids that are new to the unassigned ones. `block_ids` is the whole list
    /// as a scheduler keeps it: ids that are there already come first, and are passed
    /// over.
    ///
    /// # Errors
    ///
    /// [`OrderingViolation`](BlockSequenceError::OrderingViolation) if a known id comes
    /// after a new one, [`DuplicateBlockId`](BlockSequenceError::DuplicateBlockId) if a
    /// new one comes twice. Nothing has changed then.
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

    /// Adds blocks whose hashes are known, as assigned; cached ones, for example.
    /// Returns how many.
    ///
    /// # Errors
    ///
    /// [`DuplicateBlockId`](BlockSequenceError::DuplicateBlockId) if an id is there
    /// already or comes twice. Nothing has changed then.
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

    /// Pairs unassigned ids with the token blocks from
    /// [`next_position`](Self::next_position) on, as many as there are of both.
    /// Returns which staged blocks are new, counted from the first staged one.
    ///
    /// # Errors
    ///
    /// [`PositionMismatch`](BlockSequenceError::PositionMismatch) if the hash of a token
    /// block is for another position. Nothing has changed then.
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

    /// Makes all staged blocks assigned. Returns which assigned blocks are new, counted
    /// from the offset.
    pub fn commit_staged(&mut self) -> Range<usize> {
        let before = self.assigned_count();
        while self.phases.assign_first(|id, hash| (id, hash)) {}
        before..self.assigned_count()
    }

    /// [`stage_pending`](Self::stage_pending), then
    /// [`commit_staged`](Self::commit_staged).
    ///
    /// # Errors
    ///
    /// As [`stage_pending`](Self::stage_pending).
    pub fn assign_pending(
        &mut self,
        sequence_blocks: &[TokenBlock],
    ) -> Result<Range<usize>, BlockSequenceError> {
        self.stage_pending(sequence_blocks)?;
        Ok(self.commit_staged())
    }

    /// Takes the staged blocks out.
    pub fn take_staged(&mut self) -> Vec<(BlockId, SequenceHash)> {
        self.phases.take_staged()
    }

    /// Forgets all blocks. The offset stays.
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
