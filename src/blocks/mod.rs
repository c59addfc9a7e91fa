//! Guards: who holds a block, and in which state.
//!
//! ```text
//!            stage / complete            register
//! MutableBlock ───────────► CompleteBlock ───────► ImmutableBlock ⇄ WeakBlock
//!      ▲                        │                        │
//!      └──────── reset ─────────┘                        │ last drop
//!                                                        ▼
//!   free ◄──────────────── eviction ─────────────── inactive
//! ```
//!
//! Every guard returns its block exactly once, on whatever thread it is dropped,
//! also while a panic unwinds and after its manager is gone: a mutable or complete
//! block becomes free, a registered one inactive when its last holder drops it.
//!
//! A guard that holds a block is one pointer and allocates nothing. Cloning an
//! [`ImmutableBlock`] is one atomic add, dropping it one atomic subtraction; the
//! last drop is three exchanges, and may apply waiting notes to the eviction
//! order. A [`WeakBlock`] holds a handle to its hash, the first of which allocates.

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

pub use crate::registry::{BlockRegistrationHandle, BlockRegistry};
pub use crate::{BlockId, BlockMetadata, SequenceHash};

/// A block was refused a transition. It is handed back as it was.
#[derive(Debug, thiserror::Error)]
pub enum BlockError<B> {
    /// The content has another number of tokens than the block.
    #[error("Block size mismatch: expected {expected} tokens, got {actual}")]
    BlockSizeMismatch {
        /// The manager's block size, in tokens.
        expected: usize,
        /// The size that was given, in tokens.
        actual: usize,
        /// The block.
        block: B,
    },
}

/// What a manager does when a block is registered under a hash that another of
/// its blocks holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockDuplicationPolicy {
    /// Keeps both. The second is a *duplicate*: it keeps the first, the
    /// *primary*, from becoming inactive, is not found by matches, and is freed
    /// when its last holder drops it.
    Allow,
    /// Keeps the first: the registration returns the primary, and the new block
    /// is freed.
    Reject,
}
