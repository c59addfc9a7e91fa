//! Pairs the blocks of a token sequence with the blocks of a manager, position by position.
//!
//! A [`BlockSequence`] cuts tokens into blocks of equal size. *Assignments* record which
//! block id, or which guard, belongs to each of them.
//!
//! # Which kind of assignments do I need?
//!
//! | type | holds | use it if |
//! |---|---|---|
//! | [`ExternalBlockAssignments`] | ids and hashes | a scheduler elsewhere gives you ids |
//! | [`LogicalBlockAssignments`] | the guards themselves | you call a [`BlockManager`](crate::BlockManager) yourself |
//!
//! [`SchedulableSequence`](crate::SchedulableSequence) combines all of this into a request,
//! and keeps track of what is computed.
//!
//! # What phases does a block go through?
//!
//! In both kinds of assignments, blocks pass through three phases, first in, first out:
//!
//! 1. *unassigned*: allocated, to be filled;
//! 2. *staged*: paired with a block of tokens;
//! 3. *assigned*: committed, or registered with the manager.
//!
//! # When may a block be registered?
//!
//! When all of its tokens are computed, because other requests can match it from then on.
//! Only you know which tokens are computed. So commit or register a block once the model
//! has computed its last token, not as soon as that token is known: a token that was just
//! sampled is known, but the next forward pass computes it.
//!
//! # How does a request use these types?
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, BlockSequence, LogicalBlockAssignments};
//!
//! type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
//!
//! /// Registers the blocks that the first `computed` tokens fill. Returns how many are new.
//! fn commit(
//!     computed: usize,
//!     tokens: &BlockSequence,
//!     blocks: &mut LogicalBlockAssignments<()>,
//!     manager: &BlockManager<()>,
//! ) -> Result<usize> {
//!     let filled = blocks.assigned_count()..computed / tokens.block_size();
//!     blocks.stage(&tokens.blocks()[filled])?;
//!     Ok(blocks.register(manager))
//! }
//!
//! # fn main() -> Result<()> {
//! let manager = BlockManager::<()>::builder()
//!     .block_count(8)
//!     .block_size(4)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let allocate = |count| manager.allocate_blocks(count).ok_or("too few blocks");
//!
//! // Chunked prefill: six tokens, then the other six.
//! let mut tokens = BlockSequence::new((0..12).collect(), 4, None);
//! let mut blocks = LogicalBlockAssignments::new();
//! blocks.extend_blocks(allocate(3)?)?;
//! assert_eq!(commit(6, &tokens, &mut blocks, &manager)?, 1);
//! assert_eq!(commit(12, &tokens, &mut blocks, &manager)?, 2);
//!
//! // Decode: each pass computes the token that the previous one sampled. The fourth token
//! // completes a block of tokens, but is not computed yet.
//! blocks.extend_blocks(allocate(1)?)?;
//! for sampled in 100..104 {
//!     let computed = tokens.total_tokens();
//!     tokens.append_token(sampled)?;
//!     assert_eq!(commit(computed, &tokens, &mut blocks, &manager)?, 0);
//! }
//! assert_eq!((tokens.blocks().len(), blocks.assigned_count()), (4, 3));
//!
//! // Speculative decode: the pass computes that token and a draft of four, and the model
//! // accepts two. The last of these was only sampled: the next pass computes it.
//! blocks.extend_blocks(allocate(1)?)?;
//! tokens.extend_tokens(vec![104, 105])?;
//! assert_eq!(commit(tokens.total_tokens() - 1, &tokens, &mut blocks, &manager)?, 1);
//!
//! // Preemption and resumption: what is matched is computed. The content of the partial
//! // block is lost, so the next pass computes the tokens from there on.
//! blocks.clear();
//! let last = tokens.total_tokens() - 1;
//! let cached = manager.match_blocks(&tokens.all_sequence_hashes()[..last / 4]);
//! let mut computed = blocks.extend_assigned(cached)? * 4;
//! assert_eq!((computed, tokens.total_tokens()), (16, 18));
//! blocks.extend_blocks(allocate(1)?)?;
//! computed = tokens.total_tokens();
//! tokens.append_token(106)?;
//! assert_eq!(commit(computed, &tokens, &mut blocks, &manager)?, 0);
//!
//! // Another request with the same prompt: all of it is cached. The last token must be
//! // computed for its logits, so its block is left out of the match and computed again.
//! let prompt = BlockSequence::new((0..12).collect(), 4, None);
//! let last = prompt.total_tokens() - 1;
//! let cached = manager.match_blocks(&prompt.all_sequence_hashes()[..last / 4]);
//! let mut others = LogicalBlockAssignments::new();
//! assert_eq!(others.extend_assigned(cached)?, 2);
//! others.extend_blocks(allocate(1)?)?;
//! assert_eq!(commit(12, &prompt, &mut others, &manager)?, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What does it cost?
//!
//! All of this is plain, single-threaded data. Moving a block to its next phase is O(1), and
//! so is looking up an id. Registering costs what the manager's registration costs.

mod block_sequence;
mod error;
mod external;
mod logical;
mod phases;
mod zip;

pub use block_sequence::BlockSequence;
pub use error::{BlockSequenceError, LogicalBlockAssignmentError};
pub use external::ExternalBlockAssignments;
pub use logical::LogicalBlockAssignments;
pub use zip::{zip_assigned, zip_assigned_pending};
