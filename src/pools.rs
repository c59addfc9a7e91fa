//! Re-exports for code that imports from the reference's `pools` module.
//!
//! This crate has no pools: whether a block is free, active or inactive is part of its state
//! (see [how it works](crate#how-does-it-work)). The module's public items are in
//! [`blocks`](crate::blocks).
//!
//! ```
//! use kvbm_lockfree::pools::BlockDuplicationPolicy;
//!
//! assert_eq!(
//!     BlockDuplicationPolicy::Allow,
//!     kvbm_lockfree::blocks::BlockDuplicationPolicy::Allow,
//! );
//! ```

pub use crate::blocks::BlockDuplicationPolicy;
