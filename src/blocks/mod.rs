//! Guards: handles that hold a block and encode its state in their type.
//!
//! A block is a numbered, fixed-size piece of KV-cache memory. The manager knows its id
//! and a hash of its content; the bytes are yours. While you hold a guard of a block, the
//! manager never hands that block out for other content.
//!
//! # What does a block go through?
//!
//! ```text
//!   ┌──► free
//!   │     │ allocate
//!   │     ▼               stage / complete                register
//!   │  MutableBlock ─────────────────────► CompleteBlock ──────────► ImmutableBlock
//!   │     ▲                                     │                      │       ▲
//!   │     └─────────────── reset ───────────────┘            last drop │       │ match
//!   │                                                                  ▼       │
//!   └───────────────────────────────── evict ───────────────────────── inactive
//! ```
//!
//! * **Free.** The block has no content. [`BlockManager::allocate_blocks`] takes free
//!   blocks first and evicts inactive ones when those run out.
//! * **Exclusive.** A [`MutableBlock`] is yours to fill. [`MutableBlock::stage`] names its
//!   content, which makes it a [`CompleteBlock`]; it cannot be matched yet. Dropping either
//!   guard frees the block.
//! * **Active.** [`BlockManager::register_block`] publishes the block under its hash and
//!   returns an [`ImmutableBlock`]. From then on, matches of that hash find the block, and
//!   every match, clone and [`LifecyclePinRef`] pins it.
//! * **Inactive.** When the last pin is dropped, the block stays registered: the next
//!   match makes it active again. It is also available to allocations, which evict inactive
//!   blocks in the order of the eviction policy.
//!
//! A [`WeakBlock`] refers to content without pinning it.
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
//!
//! let manager = BlockManager::<()>::builder()
//!     .block_count(2)
//!     .block_size(16)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let hash = SequenceHash::root(7);
//!
//! // Free → exclusive → active.
//! let block = manager.allocate_one().expect("2 blocks are free");
//! let id = block.block_id();
//! // ... compute 16 tokens of KV into block `id` ...
//! let block = block.stage(hash, 16).expect("16 is the manager's block size");
//! let block = manager.register_block(block);
//! assert_eq!(manager.available_blocks(), 1);
//!
//! // Active → inactive → active.
//! drop(block);
//! assert_eq!(manager.available_blocks(), 2);
//! let block = manager.match_one(hash).expect("it is still cached");
//! assert_eq!(block.block_id(), id);
//!
//! // Inactive → evicted.
//! drop(block);
//! let blocks = manager.allocate_blocks(2).expect("an inactive block is available");
//! assert!(manager.match_one(hash).is_none());
//! # drop(blocks);
//! # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
//! ```
//!
//! # What if the content is registered already?
//!
//! The manager's [`BlockDuplicationPolicy`] decides: the new block is freed and you get a
//! guard of the *primary*, or both are kept and the new one is a *duplicate*.
//!
//! # When is a block returned?
//!
//! Exactly once, when its guard is dropped: on any thread, during unwinding, and even
//! after the manager is dropped. A mutable or complete block becomes free. A registered one
//! becomes inactive when its last pin is dropped, or free if it is a duplicate or
//! [evicted on reset](ImmutableBlock::set_evict_on_reset).
//!
//! # What does a guard cost?
//!
//! A guard that holds a block is a single pointer and allocates nothing. Cloning an
//! [`ImmutableBlock`] is one atomic addition and dropping a clone one atomic exchange.
//! The last drop takes three atomic exchanges and may apply queued releases to the
//! eviction order. A [`WeakBlock`] owns a handle to its hash; the first handle of a hash
//! allocates.
//!
//! [`BlockManager::allocate_blocks`]: crate::BlockManager::allocate_blocks
//! [`BlockManager::register_block`]: crate::BlockManager::register_block

mod complete;
mod immutable;
mod mutable;
mod pin;
mod weak;

pub use complete::CompleteBlock;
pub use immutable::ImmutableBlock;
pub use mutable::MutableBlock;
pub use pin::{LifecyclePin, LifecyclePinRef};
pub use weak::WeakBlock;

pub use crate::duplication::BlockDuplicationPolicy;
pub use crate::ids::{BlockId, BlockMetadata, SequenceHash};
pub use crate::registry::{BlockRegistrationHandle, BlockRegistry};

/// The error of a state transition that was refused. It returns the block, unchanged.
///
/// ```
/// use kvbm_lockfree::{BlockError, BlockManager, BlockRegistry, SequenceHash};
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(16)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// let block = manager.allocate_one().expect("8 blocks are free");
/// let error = block.stage(SequenceHash::root(1), 32).unwrap_err();
/// assert_eq!(error.to_string(), "Block size mismatch: expected 16 tokens, got 32");
/// // The block is not lost:
/// let BlockError::BlockSizeMismatch { expected, block, .. } = error;
/// let block = block.stage(SequenceHash::root(1), expected).expect("its own size");
/// # drop(block);
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError<B> {
    /// The content does not have as many tokens as the manager's blocks.
    #[error("Block size mismatch: expected {expected} tokens, got {actual}")]
    BlockSizeMismatch {
        /// The manager's block size, in tokens.
        expected: usize,
        /// The size of the content, in tokens.
        actual: usize,
        /// The block, in the state it was in.
        block: B,
    },
}
