//! The tokens and the guards of a request.

use std::fmt;

use dynamo_tokens::Token;

use crate::blocks::BlockMetadata;
use crate::sequence::{BlockSequence, LogicalBlockAssignmentError, LogicalBlockAssignments};
use crate::{BlockManager, ImmutableBlock, KvbmSequenceHashProvider};

/// A request: its tokens, those generated so far among them, and the guards of their
/// blocks. The steps are the caller's to order; see
/// [`SchedulableSequence`](super::SchedulableSequence) for one that does.
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
/// let mut request = RequestSequence::new((0..8).collect(), 10, 4);
/// let cached = request.match_and_add_prefix(&manager)?;
/// assert!(request.allocate_blocks(request.num_blocks() - cached, &manager));
/// request.complete_and_register_pending(&manager);
/// assert_eq!(request.assigned_blocks(), 2);
///
/// // Preempted, and back: both blocks are still there.
/// request.release();
/// assert!(request.reacquire(&manager));
/// assert_eq!(request.prefix_matched_blocks(), 2);
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
    /// A request that has no blocks yet. `block_size` is that of the manager, in
    /// tokens.
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

    // ---- blocks ----

    /// Takes the blocks of the longest prefix that the manager has. Returns how many.
    ///
    /// # Errors
    ///
    /// None that a manager's answer can cause; with the blocks if it did.
    ///
    /// # Panics
    ///
    /// If the request has blocks.
    pub fn match_and_add_prefix(
        &mut self,
        manager: &BlockManager<T>,
    ) -> Result<usize, LogicalBlockAssignmentError<T>> {
        assert!(
            self.assignments.is_empty(),
            "a prefix is matched for a request without blocks"
        );
        let blocks = self.match_prefix(manager);
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
        self.prefix_matched_blocks += count;
        Ok(count)
    }

    fn match_prefix(&self, manager: &BlockManager<T>) -> Vec<ImmutableBlock<T>> {
        manager.match_blocks(&self.sequence.all_sequence_hashes())
    }

    /// Allocates blocks, to be staged later. Returns whether it could: not if there
    /// are too few, nor if the manager's are of another size.
    pub fn allocate_blocks(&mut self, count: usize, manager: &BlockManager<T>) -> bool {
        if count == 0 {
            return true;
        }
        manager.block_size() == self.block_size()
            && manager
                .allocate_blocks(count)
                .is_some_and(|blocks| self.assignments.extend_blocks(blocks).is_ok())
    }

    /// Pairs allocated blocks with the complete token blocks that have none.
    pub fn stage_pending(&mut self) {
        let start = self.assigned_blocks() + self.staged_blocks();
        let blocks = self.sequence.blocks().get(start..).unwrap_or_default();
        self.assignments
            .stage(blocks)
            .expect("only blocks of this size were allocated");
    }

    /// Registers the staged blocks. Returns how many.
    ///
    /// # Panics
    ///
    /// If they are another manager's.
    pub fn register_staged(&mut self, manager: &BlockManager<T>) -> usize {
        self.assignments.register(manager)
    }

    /// [`stage_pending`](Self::stage_pending), then
    /// [`register_staged`](Self::register_staged).
    ///
    /// # Panics
    ///
    /// As [`register_staged`](Self::register_staged).
    pub fn complete_and_register_pending(&mut self, manager: &BlockManager<T>) {
        self.stage_pending();
        self.register_staged(manager);
    }

    /// Drops the allocated blocks that came last, until `keep` are left. Returns how
    /// many.
    pub fn drop_excess_unassigned(&mut self, keep: usize) -> usize {
        self.drop_unassigned(self.unassigned_blocks().saturating_sub(keep))
    }

    /// Drops up to `count` allocated blocks, the last first. Returns how many.
    pub(super) fn drop_unassigned(&mut self, count: usize) -> usize {
        (0..count)
            .map_while(|_| self.assignments.pop_last_unassigned())
            .count()
    }

    /// Drops all blocks. The tokens stay.
    pub fn release(&mut self) {
        self.assignments.clear();
    }

    /// Gets the blocks of all complete token blocks: those that are cached are
    /// matched, the others allocated and registered. Returns whether it could; if
    /// not, the request has no blocks, as before.
    ///
    /// # Panics
    ///
    /// If the request has blocks.
    pub fn reacquire(&mut self, manager: &BlockManager<T>) -> bool {
        assert!(
            self.assignments.is_empty(),
            "blocks are reacquired by a request without blocks"
        );
        let matched = self.match_prefix(manager);
        let count = matched.len();
        let is_done = self.assignments.extend_assigned(matched).is_ok()
            && self.allocate_blocks(self.num_blocks() - count, manager);
        if is_done {
            self.complete_and_register_pending(manager);
            self.prefix_matched_blocks = count;
        } else {
            self.assignments.clear();
        }
        is_done
    }

    // ---- tokens ----

    /// Appends a generated token. Returns the block it completed, if it did.
    ///
    /// # Panics
    ///
    /// If all output tokens are generated.
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

    /// Whether all output tokens are generated.
    pub fn is_complete(&self) -> bool {
        self.remaining_tokens() == 0
    }

    /// Tokens generated.
    pub fn generated_tokens(&self) -> usize {
        self.generated_tokens
    }

    /// Tokens to be generated at most.
    pub fn max_output_tokens(&self) -> usize {
        self.max_output_tokens
    }

    /// Tokens that may still be generated.
    pub fn remaining_tokens(&self) -> usize {
        self.max_output_tokens.saturating_sub(self.generated_tokens)
    }

    /// Tokens of the prompt.
    pub fn num_input_tokens(&self) -> usize {
        self.num_input_tokens
    }

    /// All tokens.
    pub fn total_tokens(&self) -> usize {
        self.sequence.total_tokens()
    }

    /// Tokens that no cached block holds.
    pub fn new_tokens_for_prefill(&self) -> usize {
        self.total_tokens()
            .saturating_sub(self.prefix_matched_blocks * self.block_size())
    }

    // ---- counts ----

    /// Complete token blocks.
    pub fn num_blocks(&self) -> usize {
        self.sequence.blocks().len()
    }

    /// As [`num_blocks`](Self::num_blocks).
    pub fn complete_sequence_blocks(&self) -> usize {
        self.num_blocks()
    }

    /// Blocks that are registered.
    pub fn assigned_blocks(&self) -> usize {
        self.assignments.assigned_count()
    }

    /// Blocks that are complete and not registered.
    pub fn staged_blocks(&self) -> usize {
        self.assignments.staged_count()
    }

    /// Blocks that are allocated and not complete.
    pub fn unassigned_blocks(&self) -> usize {
        self.assignments.unassigned_count()
    }

    /// All blocks.
    pub(super) fn held_blocks(&self) -> usize {
        self.assigned_blocks() + self.staged_blocks() + self.unassigned_blocks()
    }

    /// Blocks that were cached.
    pub fn prefix_matched_blocks(&self) -> usize {
        self.prefix_matched_blocks
    }

    /// Tokens a block.
    pub fn block_size(&self) -> usize {
        self.sequence.block_size()
    }

    /// The ids of all blocks, by position.
    pub fn page_indices(&self) -> Vec<u32> {
        self.assignments
            .all_block_ids()
            .map(|&id| id as u32)
            .collect()
    }

    /// The tokens.
    pub fn sequence(&self) -> &BlockSequence {
        &self.sequence
    }

    /// The guards.
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
