//! The tokens and the guards of a request.

use std::fmt;

use dynamo_tokens::Token;

use super::BlockSizeMismatch;

use crate::blocks::BlockMetadata;
use crate::sequence::{BlockSequence, LogicalBlockAssignmentError, LogicalBlockAssignments};
use crate::{BlockManager, ImmutableBlock, KvbmSequenceHashProvider};

/// A request: its tokens, including those generated so far, and the guards of its
/// blocks. The order of the steps is up to the caller; see
/// [`SchedulableSequence`](super::SchedulableSequence) for a type that knows it.
///
/// It is also up to the caller to know which tokens are computed, and to register blocks
/// only then: a block that is registered can be matched by other requests.
/// [`register_computed`](Self::register_computed) takes the number of tokens that are
/// computed. [`complete_and_register_pending`](Self::complete_and_register_pending) is for
/// when all complete blocks are; a token that was just sampled is not, so register before
/// appending it.
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry, RequestSequence};
///
/// let manager = BlockManager::<()>::builder()
///     .block_count(8)
///     .block_size(4)
///     .registry(BlockRegistry::new())
///     .build()?;
///
/// let mut request = RequestSequence::new((0..11).collect(), 10, 4);
/// let cached = request.match_and_add_prefix(&manager)?;
/// assert!(request.allocate_blocks(3 - cached, &manager));
/// // The model computes a chunk of six tokens, and then the rest.
/// assert_eq!(request.register_computed(6, &manager), 1);
/// assert_eq!(request.register_computed(11, &manager), 1);
/// // The token that it samples completes a block, whose KV the next step computes.
/// assert_eq!(request.append_token(100), Some(2));
/// assert_eq!(request.register_computed(11, &manager), 0);
///
/// // Preempted, and back: two blocks are cached, the third is to be computed again.
/// request.release();
/// assert!(request.reacquire(&manager));
/// assert_eq!(request.prefix_matched_blocks(), 2);
/// assert_eq!(request.unassigned_blocks(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RequestSequence<T: BlockMetadata> {
    sequence: BlockSequence,
    assignments: LogicalBlockAssignments<T>,
    generated_tokens: usize,
    max_output_tokens: usize,
    num_input_tokens: usize,
    prefix_matched_blocks: usize,
}

impl<T: BlockMetadata> RequestSequence<T> {
    /// Creates a request that holds no blocks yet. `block_size`, in tokens, is that of the
    /// manager.
    pub fn new(tokens: Vec<Token>, max_output_tokens: usize, block_size: u32) -> Self {
        Self {
            num_input_tokens: tokens.len(),
            sequence: BlockSequence::new(tokens, block_size, None),
            assignments: LogicalBlockAssignments::new(),
            generated_tokens: 0,
            max_output_tokens,
            prefix_matched_blocks: 0,
        }
    }

    /// Checks that the manager's blocks have the size of this request's. The calls that
    /// get blocks from a manager panic if they do not.
    ///
    /// # Errors
    ///
    /// [`BlockSizeMismatch`], with both sizes.
    pub fn check_block_size(&self, manager: &BlockManager<T>) -> Result<(), BlockSizeMismatch> {
        let mismatch = BlockSizeMismatch {
            expected: self.block_size(),
            actual: manager.block_size(),
        };
        if mismatch.expected == mismatch.actual {
            Ok(())
        } else {
            Err(mismatch)
        }
    }

    #[track_caller]
    fn require_block_size(&self, manager: &BlockManager<T>) {
        if let Err(mismatch) = self.check_block_size(manager) {
            panic!("{mismatch}");
        }
    }

    // ---- getting blocks ----

    /// Takes the blocks of the longest prefix that the manager has. Returns how many.
    ///
    /// If they cover all tokens, none is left from which the model could sample the next
    /// one. Its last block, at least, has to be computed again.
    ///
    /// # Errors
    ///
    /// [`SequenceHashMismatch`](LogicalBlockAssignmentError::SequenceHashMismatch) if a
    /// block were not the one that was asked for, which no manager does.
    ///
    /// # Panics
    ///
    /// If the request holds blocks, or the manager's are of
    /// [another size](Self::check_block_size).
    pub fn match_and_add_prefix(
        &mut self,
        manager: &BlockManager<T>,
    ) -> Result<usize, LogicalBlockAssignmentError<T>> {
        self.match_up_to(self.num_blocks(), manager)
    }

    /// Like [`match_and_add_prefix`](Self::match_and_add_prefix), for the first `limit`
    /// blocks.
    pub(super) fn match_up_to(
        &mut self,
        limit: usize,
        manager: &BlockManager<T>,
    ) -> Result<usize, LogicalBlockAssignmentError<T>> {
        assert!(
            self.assignments.is_empty(),
            "a prefix is matched for a request without blocks"
        );
        let blocks = self.find_prefix(limit, manager);
        let of_sequence = self.sequence.blocks().iter().zip(&blocks).enumerate();
        for (position, (tokens, block)) in of_sequence {
            let (expected, actual) = (tokens.kvbm_sequence_hash(), block.sequence_hash());
            if expected != actual {
                return Err(LogicalBlockAssignmentError::SequenceHashMismatch {
                    position,
                    expected,
                    actual,
                    blocks,
                });
            }
        }
        let count = self.assignments.extend_assigned(blocks)?;
        self.prefix_matched_blocks = count;
        Ok(count)
    }

    /// Finds the cached blocks among the first `limit`.
    fn find_prefix(&self, limit: usize, manager: &BlockManager<T>) -> Vec<ImmutableBlock<T>> {
        self.require_block_size(manager);
        manager.match_blocks(&self.sequence.all_sequence_hashes()[..limit])
    }

    /// Allocates blocks, to be filled. Returns `false` if there are too few, in which case
    /// nothing has changed.
    ///
    /// # Panics
    ///
    /// If the manager's blocks are of [another size](Self::check_block_size).
    pub fn allocate_blocks(&mut self, count: usize, manager: &BlockManager<T>) -> bool {
        self.require_block_size(manager);
        count == 0
            || manager
                .allocate_blocks(count)
                .is_some_and(|blocks| self.assignments.extend_blocks(blocks).is_ok())
    }

    /// Gets blocks for all complete blocks of tokens: those that are cached are matched,
    /// the others allocated. Returns `false` if there are too few, in which case nothing
    /// has changed.
    ///
    /// Nothing is registered: the tokens of the allocated blocks are to be computed first.
    ///
    /// # Panics
    ///
    /// If the request holds blocks, or the manager's are of
    /// [another size](Self::check_block_size).
    pub fn reacquire(&mut self, manager: &BlockManager<T>) -> bool {
        self.reacquire_up_to(self.num_blocks(), manager)
    }

    /// Like [`reacquire`](Self::reacquire), but matches only among the first `limit` blocks.
    pub(super) fn reacquire_up_to(&mut self, limit: usize, manager: &BlockManager<T>) -> bool {
        assert!(
            self.assignments.is_empty(),
            "blocks are reacquired by a request without blocks"
        );
        let matched = self.find_prefix(limit, manager);
        let count = matched.len();
        let is_done = self.allocate_blocks(self.num_blocks() - count, manager)
            && self.assignments.extend_assigned(matched).is_ok();
        if is_done {
            self.prefix_matched_blocks = count;
        } else {
            self.assignments.clear();
        }
        is_done
    }

    // ---- registering them ----

    /// Registers the blocks all of whose tokens are among the first `computed`, and that
    /// are not registered yet. Returns how many.
    ///
    /// # Panics
    ///
    /// If the blocks are another manager's.
    pub fn register_computed(&mut self, computed: usize, manager: &BlockManager<T>) -> usize {
        self.stage_up_to(computed / self.block_size());
        self.register_staged(manager)
    }

    /// Pairs allocated blocks with the complete blocks of tokens that have none.
    pub fn stage_pending(&mut self) {
        self.stage_up_to(self.num_blocks());
    }

    fn stage_up_to(&mut self, end: usize) {
        let start = self.assigned_blocks() + self.staged_blocks();
        let end = end.min(self.num_blocks());
        let blocks = self.sequence.blocks().get(start..end).unwrap_or_default();
        self.assignments
            .stage(blocks)
            .expect("only blocks of this size were allocated");
    }

    /// Registers the staged blocks. Their tokens must be computed. Returns how many.
    ///
    /// # Panics
    ///
    /// If they are another manager's.
    pub fn register_staged(&mut self, manager: &BlockManager<T>) -> usize {
        self.assignments.register(manager)
    }

    /// Registers all complete blocks that are held. Their tokens must be computed. The
    /// same as [`stage_pending`](Self::stage_pending) and
    /// [`register_staged`](Self::register_staged).
    ///
    /// # Panics
    ///
    /// If the blocks are another manager's.
    pub fn complete_and_register_pending(&mut self, manager: &BlockManager<T>) {
        self.stage_pending();
        self.register_staged(manager);
    }

    // ---- giving them up ----

    /// Drops the allocated blocks that came last, until `keep` are left. Returns how many
    /// were dropped.
    pub fn drop_excess_unassigned(&mut self, keep: usize) -> usize {
        self.drop_unassigned(self.unassigned_blocks().saturating_sub(keep))
    }

    /// Drops up to `count` allocated blocks, last first. Returns how many.
    pub(super) fn drop_unassigned(&mut self, count: usize) -> usize {
        (0..count)
            .map_while(|_| self.assignments.pop_last_unassigned())
            .count()
    }

    /// Releases all blocks. The tokens stay.
    pub fn release(&mut self) {
        self.assignments.clear();
    }

    // ---- tokens ----

    /// Appends a generated token. Returns the index of the block that it completes, if any.
    ///
    /// # Panics
    ///
    /// If all output tokens have been generated.
    pub fn append_token(&mut self, token: Token) -> Option<usize> {
        assert!(
            !self.is_complete(),
            "all {} output tokens are generated",
            self.max_output_tokens
        );
        let completed = self
            .sequence
            .append_token(token)
            .expect("a token can be appended");
        self.generated_tokens += 1;
        completed
    }

    /// Returns whether all output tokens have been generated.
    pub fn is_complete(&self) -> bool {
        self.remaining_tokens() == 0
    }

    /// Returns how many tokens have been generated.
    pub fn generated_tokens(&self) -> usize {
        self.generated_tokens
    }

    /// Returns the maximum number of tokens to generate.
    pub fn max_output_tokens(&self) -> usize {
        self.max_output_tokens
    }

    /// Returns how many tokens may still be generated.
    pub fn remaining_tokens(&self) -> usize {
        self.max_output_tokens.saturating_sub(self.generated_tokens)
    }

    /// Returns how many tokens the prompt has.
    pub fn num_input_tokens(&self) -> usize {
        self.num_input_tokens
    }

    /// Returns how many tokens there are: the prompt and all that came after it.
    pub fn total_tokens(&self) -> usize {
        self.sequence.total_tokens()
    }

    /// Returns how many tokens were not cached when blocks were last matched or reacquired.
    pub fn new_tokens_for_prefill(&self) -> usize {
        self.total_tokens()
            .saturating_sub(self.prefix_matched_blocks * self.block_size())
    }

    // ---- counts ----

    /// Returns how many complete blocks the tokens make.
    pub fn num_blocks(&self) -> usize {
        self.sequence.blocks().len()
    }

    /// Returns the same as [`num_blocks`](Self::num_blocks).
    pub fn complete_sequence_blocks(&self) -> usize {
        self.num_blocks()
    }

    /// Returns how many of the blocks held are registered.
    pub fn assigned_blocks(&self) -> usize {
        self.assignments.assigned_count()
    }

    /// Returns how many of the blocks held are paired with tokens and not registered.
    pub fn staged_blocks(&self) -> usize {
        self.assignments.staged_count()
    }

    /// Returns how many of the blocks held are not paired with tokens.
    pub fn unassigned_blocks(&self) -> usize {
        self.assignments.unassigned_count()
    }

    /// Returns how many blocks are held.
    pub(super) fn held_blocks(&self) -> usize {
        self.assigned_blocks() + self.staged_blocks() + self.unassigned_blocks()
    }

    /// Returns how many blocks were cached when blocks were last matched or reacquired.
    pub fn prefix_matched_blocks(&self) -> usize {
        self.prefix_matched_blocks
    }

    /// Returns the number of tokens per block.
    pub fn block_size(&self) -> usize {
        self.sequence.block_size()
    }

    /// Returns the ids of the blocks held, by position.
    pub fn page_indices(&self) -> Vec<u32> {
        self.assignments
            .all_block_ids()
            .map(|&id| id as u32)
            .collect()
    }

    /// Returns the tokens.
    pub fn sequence(&self) -> &BlockSequence {
        &self.sequence
    }

    /// Returns the guards.
    pub fn assignments(&self) -> &LogicalBlockAssignments<T> {
        &self.assignments
    }
}

impl<T: BlockMetadata> fmt::Debug for RequestSequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestSequence")
            .field("total_tokens", &self.total_tokens())
            .field("num_blocks", &self.num_blocks())
            .field("generated_tokens", &self.generated_tokens)
            .field("max_output_tokens", &self.max_output_tokens)
            .field("num_input_tokens", &self.num_input_tokens)
            .field("prefix_matched_blocks", &self.prefix_matched_blocks)
            .field("assigned", &self.assigned_blocks())
            .field("staged", &self.staged_blocks())
            .field("unassigned", &self.unassigned_blocks())
            .finish()
    }
}
