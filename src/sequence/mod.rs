//! Which blocks a token sequence has, position by position.
//!
//! A [`BlockSequence`] cuts tokens into blocks. Two kinds of *assignments* say which
//! block ids, or which guards, belong to them. In both a block goes through three
//! phases, first in, first out: *unassigned*, there to be filled; *staged*, paired
//! with a token block; and *assigned*, committed.
//!
//! | type | holds | for |
//! |---|---|---|
//! | [`ExternalBlockAssignments`] | ids and hashes | who is told ids by a scheduler |
//! | [`LogicalBlockAssignments`] | the guards themselves | who works with a [`BlockManager`](crate::BlockManager) |
//!
//! A block that is *registered* can be matched by other requests, so its tokens must all
//! be computed first. Which those are only the caller knows: stage a block of tokens, and
//! commit or register it, when the model has computed its last token, not when the token
//! is known. A token that was just sampled is known and not computed; the next forward
//! pass computes it. ([`SchedulableSequence`](crate::SchedulableSequence) keeps this
//! account for you.)
//!
//! The life of a request, from guards and tokens:
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
//! // Decode: each pass computes the token sampled by the one before. The fourth token
//! // completes a block of tokens, but is not computed yet.
//! blocks.extend_blocks(allocate(1)?)?;
//! for sampled in 100..104 {
//!     let computed = tokens.total_tokens();
//!     tokens.append_token(sampled)?;
//!     assert_eq!(commit(computed, &tokens, &mut blocks, &manager)?, 0);
//! }
//! assert_eq!((tokens.blocks().len(), blocks.assigned_count()), (4, 3));
//!
//! // Speculative decode: the pass computes that token and a draft of four, of which two
//! // are accepted. The last of them was sampled, and is for the next pass to compute.
//! blocks.extend_blocks(allocate(1)?)?;
//! tokens.extend_tokens(vec![104, 105])?;
//! assert_eq!(commit(tokens.total_tokens() - 1, &tokens, &mut blocks, &manager)?, 1);
//!
//! // Preemption, and resumption: what is matched is computed. What the partial block held
//! // is lost, so a pass computes the tokens from there on.
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
//! // The whole prompt is cached. Its last token has to be computed for its logits, so the
//! // block that it is in is left out of the match, and computed again.
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
//! Nothing here is shared between threads: all of it is plain data of its owner.

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
