//! Assignments of guards.

use std::fmt;

use dynamo_tokens::TokenBlock;

use super::LogicalBlockAssignmentError;
use super::phases::Phases;
use crate::blocks::{BlockError, BlockMetadata, CompleteBlock, ImmutableBlock, MutableBlock};
use crate::{BlockId, BlockManager};

/// The guards of a sequence's blocks: mutable ones that are unassigned, complete ones
/// that are staged, immutable ones that are assigned.
///
/// A block is kept under its id. Where the duplication policy is to reject,
/// [`register`](Self::register) may put the guard of another block in its place, which
/// is then kept under *its* id, so that what was computed can be found there.
pub struct LogicalBlockAssignments<T: BlockMetadata> {
    phases: Phases<MutableBlock<T>, CompleteBlock<T>, ImmutableBlock<T>>,
}

impl<T: BlockMetadata> LogicalBlockAssignments<T> {
    /// None yet.
    pub fn new() -> Self {
        Self {
            phases: Phases::new(),
        }
    }

    // ---- looking ----

    /// Assigned blocks.
    pub fn assigned_count(&self) -> usize {
        self.phases.assigned().len()
    }

    /// Staged blocks.
    pub fn staged_count(&self) -> usize {
        self.phases.staged().len()
    }

    /// Unassigned blocks.
    pub fn unassigned_count(&self) -> usize {
        self.phases.unassigned().len()
    }

    /// Whether there is no block, in any phase.
    pub fn is_empty(&self) -> bool {
        self.all_block_ids().next().is_none()
    }

    /// Whether an id is there, in any phase.
    pub fn contains(&self, block_id: &BlockId) -> bool {
        self.phases.contains(*block_id)
    }

    /// The assigned block `index`, in the order they were assigned.
    pub fn get_assigned(&self, index: usize) -> Option<(&BlockId, &ImmutableBlock<T>)> {
        self.phases.get_assigned(index)
    }

    /// The staged block `index`, in the order they were staged.
    pub fn get_staged(&self, index: usize) -> Option<(&BlockId, &CompleteBlock<T>)> {
        self.phases.get_staged(index)
    }

    /// The unassigned block `index`, in the order they came.
    pub fn get_unassigned(&self, index: usize) -> Option<(&BlockId, &MutableBlock<T>)> {
        self.phases.get_unassigned(index)
    }

    /// The assigned blocks, in the order they were assigned.
    pub fn assigned_iter(&self) -> impl Iterator<Item = (&BlockId, &ImmutableBlock<T>)> {
        self.phases.assigned()
    }

    /// The staged blocks, in the order they were staged.
    pub fn staged_iter(&self) -> impl Iterator<Item = (&BlockId, &CompleteBlock<T>)> {
        self.phases.staged()
    }

    /// The unassigned blocks, in the order they came.
    pub fn unassigned_iter(&self) -> impl Iterator<Item = (&BlockId, &MutableBlock<T>)> {
        self.phases.unassigned()
    }

    /// The ids of all blocks: assigned, then staged, then unassigned.
    pub fn all_block_ids(&self) -> impl Iterator<Item = &BlockId> {
        let assigned = self.phases.assigned().map(|(id, _)| id);
        let staged = self.phases.staged().map(|(id, _)| id);
        let unassigned = self.phases.unassigned().map(|(id, _)| id);
        assigned.chain(staged).chain(unassigned)
    }

    // ---- changes ----

    /// Adds unassigned blocks. Returns how many.
    ///
    /// # Errors
    ///
    /// [`DuplicateBlockId`](LogicalBlockAssignmentError::DuplicateBlockId), with all of
    /// `blocks`, if an id is there already or comes twice. Nothing has changed then.
    pub fn extend_blocks(
        &mut self,
        blocks: impl IntoIterator<Item = MutableBlock<T>>,
    ) -> Result<usize, LogicalBlockAssignmentError<T>> {
        let blocks: Vec<_> = blocks.into_iter().collect();
        if let Some(block_id) = self.phases.duplicate(blocks.iter().map(|b| b.block_id())) {
            return Err(LogicalBlockAssignmentError::DuplicateBlockId { block_id, blocks });
        }
        let count = blocks.len();
        for block in blocks {
            self.phases.add_unassigned(block.block_id(), block);
        }
        Ok(count)
    }

    /// Adds assigned blocks, such as matched ones. Returns how many.
    ///
    /// # Errors
    ///
    /// [`DuplicateAssignedBlockId`](LogicalBlockAssignmentError::DuplicateAssignedBlockId),
    /// with all of `blocks`, if an id is there already or comes twice. Nothing has
    /// changed then.
    pub fn extend_assigned(
        &mut self,
        blocks: impl IntoIterator<Item = ImmutableBlock<T>>,
    ) -> Result<usize, LogicalBlockAssignmentError<T>> {
        let blocks: Vec<_> = blocks.into_iter().collect();
        if let Some(block_id) = self.phases.duplicate(blocks.iter().map(|b| b.block_id())) {
            return Err(LogicalBlockAssignmentError::DuplicateAssignedBlockId { block_id, blocks });
        }
        let count = blocks.len();
        for block in blocks {
            self.phases.add_assigned(block.block_id(), block);
        }
        Ok(count)
    }

    /// Completes unassigned blocks with `sequence_blocks`, the first with the first, as
    /// many as there are of both. Returns how many.
    ///
    /// # Errors
    ///
    /// If a token block is of another size than the manager's blocks, with the block
    /// that was to get it. Those before it stay staged.
    pub fn stage(
        &mut self,
        sequence_blocks: &[TokenBlock],
    ) -> Result<usize, BlockError<MutableBlock<T>>> {
        let mut count = 0;
        for tokens in sequence_blocks {
            match self.phases.stage_first(|block| block.complete(tokens)) {
                Some(staged) => staged?,
                None => break,
            }
            count += 1;
        }
        Ok(count)
    }

    /// Registers all staged blocks, in their order, which makes them assigned. Returns
    /// how many.
    ///
    /// # Panics
    ///
    /// If a block is another manager's, as
    /// [`register_block`](BlockManager::register_block): the blocks before it are
    /// assigned.
    pub fn register(&mut self, manager: &BlockManager<T>) -> usize {
        let count = self.staged_count();
        while self.phases.assign_first(|_id, block| {
            let block = manager.register_block(block);
            (block.block_id(), block)
        }) {}
        count
    }

    /// Takes out the unassigned block that came last.
    pub fn pop_last_unassigned(&mut self) -> Option<(BlockId, MutableBlock<T>)> {
        self.phases.pop_unassigned()
    }

    /// Takes the assigned blocks out.
    pub fn take_assigned(&mut self) -> Vec<(BlockId, ImmutableBlock<T>)> {
        self.phases.take_assigned()
    }

    /// Takes the staged blocks out.
    pub fn take_staged(&mut self) -> Vec<(BlockId, CompleteBlock<T>)> {
        self.phases.take_staged()
    }

    /// Takes the unassigned blocks out.
    pub fn take_unassigned(&mut self) -> Vec<(BlockId, MutableBlock<T>)> {
        self.phases.take_unassigned()
    }

    /// Drops all blocks: the assigned ones first, in their order.
    pub fn clear(&mut self) {
        self.phases.clear();
    }
}

impl<T: BlockMetadata> Default for LogicalBlockAssignments<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: BlockMetadata> fmt::Debug for LogicalBlockAssignments<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogicalBlockAssignments")
            .field("assigned_count", &self.assigned_count())
            .field("staged_count", &self.staged_count())
            .field("unassigned_count", &self.unassigned_count())
            .finish()
    }
}
