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
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, BlockSequence, LogicalBlockAssignments};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = BlockManager::<()>::builder()
//!     .block_count(8)
//!     .block_size(4)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let prompt = BlockSequence::new((0..12).collect(), 4, None);
//!
//! let mut blocks = LogicalBlockAssignments::new();
//! blocks.extend_blocks(manager.allocate_blocks(3).expect("8 are free"))?;
//! blocks.stage(prompt.blocks())?;
//! assert_eq!(blocks.register(&manager), 3);
//!
//! let (_, last) = blocks.get_assigned(2).expect("three are assigned");
//! assert_eq!(last.sequence_hash(), prompt.all_sequence_hashes()[2]);
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
