//! Assignments of guards.

use std::fmt;

use dynamo_tokens::TokenBlock;

use super::LogicalBlockAssignmentError;
use super::phases::Phases;
use crate::blocks::{BlockError, BlockMetadata, CompleteBlock, ImmutableBlock, MutableBlock};
use crate::{BlockId, BlockManager};

/// Holds the guards of a sequence's blocks: [`MutableBlock`]s that are unassigned,
/// [`CompleteBlock`]s that are staged, and [`ImmutableBlock`]s that are assigned.
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry, BlockSequence, LogicalBlockAssignments};
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(4)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// let prompt = BlockSequence::new((0..8).collect(), 4, None);
/// let mut blocks = LogicalBlockAssignments::new();
///
/// // Unassigned → staged → assigned.
/// blocks.extend_blocks(manager.allocate_blocks(3).expect("8 blocks are free"))?;
/// assert_eq!(blocks.stage(prompt.blocks())?, 2);
/// assert_eq!(blocks.register(&manager), 2);
/// assert_eq!((blocks.assigned_count(), blocks.unassigned_count()), (2, 1));
///
/// // All three blocks return to the manager; the registered ones stay cached.
/// blocks.clear();
/// assert_eq!(manager.available_blocks(), 8);
/// assert_eq!(manager.match_blocks(&prompt.all_sequence_hashes()).len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Under which id is a block kept?
///
/// Under its own. If the [duplication policy](crate::blocks::BlockDuplicationPolicy) rejects
/// duplicates, [`register`](Self::register) may replace a guard with that of the primary, which
/// has another id. It is then kept under *that* id, which is where the computed content is.
pub struct LogicalBlockAssignments<T: BlockMetadata> {
    phases: Phases<MutableBlock<T>, CompleteBlock<T>, ImmutableBlock<T>>,
}

impl<T: BlockMetadata> LogicalBlockAssignments<T> {
    /// Creates assignments without blocks.
    pub fn new() -> Self {
        Self {
            phases: Phases::new(),
        }
    }

    // ---- counts and blocks ----

    /// Returns the number of assigned blocks.
    pub fn assigned_count(&self) -> usize {
        self.phases.assigned().len()
    }

    /// Returns the number of staged blocks.
    pub fn staged_count(&self) -> usize {
        self.phases.staged().len()
    }

    /// Returns the number of unassigned blocks.
    pub fn unassigned_count(&self) -> usize {
        self.phases.unassigned().len()
    }

    /// Returns whether there are no blocks, in any phase.
    pub fn is_empty(&self) -> bool {
        self.all_block_ids().next().is_none()
    }

    /// Returns whether an id is present, in any phase. O(1).
    pub fn contains(&self, block_id: &BlockId) -> bool {
        self.phases.contains(*block_id)
    }

    /// Returns the assigned block at `index`, in the order in which they were assigned.
    pub fn get_assigned(&self, index: usize) -> Option<(&BlockId, &ImmutableBlock<T>)> {
        self.phases.get_assigned(index)
    }

    /// Returns the staged block at `index`, in the order in which they were staged.
    pub fn get_staged(&self, index: usize) -> Option<(&BlockId, &CompleteBlock<T>)> {
        self.phases.get_staged(index)
    }

    /// Returns the unassigned block at `index`, in the order in which they were added.
    pub fn get_unassigned(&self, index: usize) -> Option<(&BlockId, &MutableBlock<T>)> {
        self.phases.get_unassigned(index)
    }

    /// Returns the assigned blocks in the order in which they were assigned.
    pub fn assigned_iter(&self) -> impl Iterator<Item = (&BlockId, &ImmutableBlock<T>)> {
        self.phases.assigned()
    }

    /// Returns the staged blocks in the order in which they were staged.
    pub fn staged_iter(&self) -> impl Iterator<Item = (&BlockId, &CompleteBlock<T>)> {
        self.phases.staged()
    }

    /// Returns the unassigned blocks in the order in which they were added.
    pub fn unassigned_iter(&self) -> impl Iterator<Item = (&BlockId, &MutableBlock<T>)> {
        self.phases.unassigned()
    }

    /// Returns the ids of all blocks: assigned, then staged, then unassigned.
    pub fn all_block_ids(&self) -> impl Iterator<Item = &BlockId> {
        let assigned = self.phases.assigned().map(|(id, _)| id);
        let staged = self.phases.staged().map(|(id, _)| id);
        let unassigned = self.phases.unassigned().map(|(id, _)| id);
        assigned.chain(staged).chain(unassigned)
    }

    // ---- changes ----

    /// Adds unassigned blocks. Returns how many were added.
    ///
    /// # Errors
    ///
    /// Returns [`DuplicateBlockId`](LogicalBlockAssignmentError::DuplicateBlockId) with all of
    /// `blocks`, having changed nothing, if an id is present already or occurs twice.
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

    /// Adds assigned blocks, such as matched ones. Returns how many were added.
    ///
    /// # Errors
    ///
    /// Returns
    /// [`DuplicateAssignedBlockId`](LogicalBlockAssignmentError::DuplicateAssignedBlockId)
    /// with all of `blocks`, having changed nothing, if an id is present already or occurs
    /// twice.
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

    /// Completes unassigned blocks with `sequence_blocks`, the first with the first, until
    /// either runs out. Returns how many were staged.
    ///
    /// # Errors
    ///
    /// Returns [`BlockError::BlockSizeMismatch`] if the size of a token block differs from
    /// that of the manager's blocks. The error carries the block that should have been
    /// completed, which is no longer part of the assignments; those before it stay staged.
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

    /// Registers all staged blocks in order, which makes them assigned. Returns how many were
    /// registered.
    ///
    /// # Panics
    ///
    /// Panics if a block belongs to another manager; see
    /// [`register_block`](BlockManager::register_block). That block is freed, the blocks
    /// before it are assigned, and those after it stay staged.
    pub fn register(&mut self, manager: &BlockManager<T>) -> usize {
        let count = self.staged_count();
        while self.phases.assign_first(|_id, block| {
            let block = manager.register_block(block);
            (block.block_id(), block)
        }) {}
        count
    }

    /// Removes and returns the unassigned block that was added last.
    pub fn pop_last_unassigned(&mut self) -> Option<(BlockId, MutableBlock<T>)> {
        self.phases.pop_unassigned()
    }

    /// Removes and returns the assigned blocks.
    pub fn take_assigned(&mut self) -> Vec<(BlockId, ImmutableBlock<T>)> {
        self.phases.take_assigned()
    }

    /// Removes and returns the staged blocks.
    pub fn take_staged(&mut self) -> Vec<(BlockId, CompleteBlock<T>)> {
        self.phases.take_staged()
    }

    /// Removes and returns the unassigned blocks.
    pub fn take_unassigned(&mut self) -> Vec<(BlockId, MutableBlock<T>)> {
        self.phases.take_unassigned()
    }

    /// Drops all blocks: the assigned ones first, in order, then the staged ones, then the
    /// unassigned ones.
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
