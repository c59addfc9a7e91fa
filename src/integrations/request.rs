//! A request's tokens and guards.

use std::fmt;

use dynamo_tokens::Token;

use super::BlockSizeMismatch;

use crate::blocks::BlockMetadata;
use crate::sequence::{BlockSequence, LogicalBlockAssignmentError, LogicalBlockAssignments};
use crate::{BlockManager, ImmutableBlock, KvbmSequenceHashProvider};

/// A request's tokens, including those generated so far, and the guards of its blocks.
///
/// The order of operations is up to you;
/// [`SchedulableSequence`](super::SchedulableSequence) is a type that enforces it.
///
/// # When may a block be registered?
///
/// When all of its tokens are computed, because other requests can match it from then on.
/// Keeping track of that is up to you as well.
/// [`register_computed`](Self::register_computed) takes the number of computed tokens and is
/// the easiest to use correctly.
/// [`complete_and_register_pending`](Self::complete_and_register_pending) requires every
/// complete block to be computed. A token that was just sampled is not, so register before
/// you append it.
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
/// // The token that it samples completes a block, but the next step computes its KV.
/// assert_eq!(request.append_token(100), Some(2));
/// assert_eq!(request.register_computed(11, &manager), 0);
///
/// // Preempted and resumed: two blocks are cached, the third must be computed again.
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
    /// Creates a request that holds no blocks yet. `block_size` is the number of tokens per
    /// block, which must match the manager's.
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

    /// Checks that the manager's blocks have the same size as this request's. Methods that
    /// get blocks from a manager panic if they do not.
    ///
    /// # Errors
    ///
    /// Returns [`BlockSizeMismatch`] if the sizes differ.
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

    /// Matches the longest cached prefix and takes its blocks. Returns how many there are.
    ///
    /// If they cover all tokens, no token is left whose logits the model could sample from.
    /// At least the last block must then be computed again.
    ///
    /// # Errors
    ///
    /// Returns [`SequenceHashMismatch`](LogicalBlockAssignmentError::SequenceHashMismatch) if
    /// a block has another hash than requested. No manager returns such a block.
    ///
    /// # Panics
    ///
    /// Panics if the request holds blocks, or if the manager's blocks have
    /// [another size](Self::check_block_size).
    pub fn match_and_add_prefix(
        &mut self,
        manager: &BlockManager<T>,
    ) -> Result<usize, LogicalBlockAssignmentError<T>> {
        self.match_up_to(self.num_blocks(), manager)
    }

    /// Like [`match_and_add_prefix`](Self::match_and_add_prefix), but matches at most the
    /// first `limit` blocks.
    pub(super) fn match_up_to(
        &mut self,
        limit: usize,
        manager: &BlockManager<T>,
    ) -> Result<usize, LogicalBlockAssignmentError<T>> {
        assert!(
            self.assignments.is_empty(),
            "cannot match a prefix: the request already holds blocks"
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

    /// Matches the longest cached prefix of the first `limit` blocks.
    fn find_prefix(&self, limit: usize, manager: &BlockManager<T>) -> Vec<ImmutableBlock<T>> {
        self.require_block_size(manager);
        manager.match_blocks(&self.sequence.all_sequence_hashes()[..limit])
    }

    /// Allocates `count` blocks for the model to fill. Returns `false`, and changes nothing,
    /// if the manager has too few available blocks.
    ///
    /// # Panics
    ///
    /// Panics if the manager's blocks have [another size](Self::check_block_size).
    #[must_use = "returns `false` if no blocks were allocated"]
    pub fn allocate_blocks(&mut self, count: usize, manager: &BlockManager<T>) -> bool {
        self.require_block_size(manager);
        count == 0
            || manager
                .allocate_blocks(count)
                .is_some_and(|blocks| self.assignments.extend_blocks(blocks).is_ok())
    }

    /// Gets a block for each complete block of tokens: matches the cached ones and allocates
    /// the others. Returns `false` if the manager has too few available blocks; the request
    /// then holds none, as before.
    ///
    /// Registers nothing: the tokens of the allocated blocks must be computed first.
    ///
    /// # Panics
    ///
    /// Panics if the request holds blocks, or if the manager's blocks have
    /// [another size](Self::check_block_size).
    #[must_use = "returns `false` if the request holds no blocks"]
    pub fn reacquire(&mut self, manager: &BlockManager<T>) -> bool {
        self.reacquire_up_to(self.num_blocks(), manager)
    }

    /// Like [`reacquire`](Self::reacquire), but matches only among the first `limit` blocks.
    pub(super) fn reacquire_up_to(&mut self, limit: usize, manager: &BlockManager<T>) -> bool {
        assert!(
            self.assignments.is_empty(),
            "cannot reacquire blocks: the request already holds some"
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

    // ---- registering blocks ----

    /// Registers the held blocks whose tokens are all among the first `computed` tokens and
    /// that are not registered yet. Returns how many were registered.
    ///
    /// # Panics
    ///
    /// Panics if the blocks belong to another manager.
    pub fn register_computed(&mut self, computed: usize, manager: &BlockManager<T>) -> usize {
        self.stage_up_to(computed / self.block_size());
        self.register_staged(manager)
    }

    /// Stages allocated blocks: pairs them, in order, with the complete blocks of tokens that
    /// have no block yet.
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

    /// Registers the staged blocks, whose tokens must be computed. Returns how many were
    /// registered.
    ///
    /// # Panics
    ///
    /// Panics if the blocks belong to another manager.
    pub fn register_staged(&mut self, manager: &BlockManager<T>) -> usize {
        self.assignments.register(manager)
    }

    /// Registers all held blocks that complete blocks of tokens can be paired with. Their
    /// tokens must be computed. The same as [`stage_pending`](Self::stage_pending) followed
    /// by [`register_staged`](Self::register_staged).
    ///
    /// # Panics
    ///
    /// Panics if the blocks belong to another manager.
    pub fn complete_and_register_pending(&mut self, manager: &BlockManager<T>) {
        self.stage_pending();
        self.register_staged(manager);
    }

    // ---- giving blocks up ----

    /// Drops allocated blocks that are not staged, last first, until `keep` of them are left.
    /// Returns how many were dropped.
    pub fn drop_excess_unassigned(&mut self, keep: usize) -> usize {
        self.drop_unassigned(self.unassigned_blocks().saturating_sub(keep))
    }

    /// Drops up to `count` allocated blocks that are not staged, last first. Returns how many
    /// were dropped.
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

    /// Appends a generated token. Returns the index of the block of tokens that it completes,
    /// if any.
    ///
    /// # Panics
    ///
    /// Panics if all output tokens have been generated.
    pub fn append_token(&mut self, token: Token) -> Option<usize> {
        assert!(
            !self.is_complete(),
            "cannot append a token: all {} output tokens have been generated",
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

    /// Returns the number of known tokens: the prompt and everything appended to it.
    pub fn total_tokens(&self) -> usize {
        self.sequence.total_tokens()
    }

    /// Returns how many of the known tokens were not in cached blocks when blocks were last
    /// matched or reacquired.
    pub fn new_tokens_for_prefill(&self) -> usize {
        self.total_tokens()
            .saturating_sub(self.prefix_matched_blocks * self.block_size())
    }

    // ---- counts ----

    /// Returns how many blocks the tokens fill.
    pub fn num_blocks(&self) -> usize {
        self.sequence.blocks().len()
    }

    /// Returns the same as [`num_blocks`](Self::num_blocks).
    pub fn complete_sequence_blocks(&self) -> usize {
        self.num_blocks()
    }

    /// Returns how many of the held blocks are registered.
    pub fn assigned_blocks(&self) -> usize {
        self.assignments.assigned_count()
    }

    /// Returns how many of the held blocks are paired with tokens but not registered.
    pub fn staged_blocks(&self) -> usize {
        self.assignments.staged_count()
    }

    /// Returns how many of the held blocks are not paired with tokens.
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

    /// Returns the ids of the held blocks, by position in the sequence: the block table of
    /// a paged-attention kernel. Allocates the vector.
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

    /// Returns the guards of the held blocks.
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
