//! Leases: pins with an owner and an expiry.
//!
//! A guard holds its block until it is dropped. If a client crashes, or leaks a guard, the
//! block is never available again. A lease solves that: its guards go into a table of the
//! manager ([`BlockManager::lease`]), and the client gets a [`Lease`], or, in another
//! process, only its [`LeaseId`]. A lease that is not renewed expires, and
//! [`BlockManager::holders`] lists who holds which blocks.
//!
//! ```
//! use std::time::Duration;
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
//!
//! #[derive(Clone)]
//! struct Gpu;
//!
//! let manager = BlockManager::<Gpu>::builder()
//!     .block_count(8)
//!     .block_size(16)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let block = manager.allocate_one().expect("8 blocks are free");
//! let block = block.stage(SequenceHash::root(1), 16).expect("16 is the block size");
//! let block = manager.register_block(block);
//!
//! let lease = manager.lease(vec![block], "decode-3", Some(Duration::from_secs(30)))?;
//! assert_eq!(manager.holders()[0].owner.as_ref(), "decode-3");
//!
//! // Hold guards while you read or write blocks.
//! let guards = lease.to_guards()?;
//! assert_eq!(guards[0].sequence_hash(), SequenceHash::root(1));
//! drop(guards);
//!
//! // Hand the lease over to another process, by its id.
//! let id = lease.detach();
//! manager.renew_lease(id, Some(Duration::from_secs(60)))?;
//! manager.release_lease(id)?;
//! assert_eq!(manager.available_blocks(), 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When does a lease end?
//!
//! When it is released, when it expires, or when its manager is dropped. Releasing means
//! [`Lease::release`], dropping the [`Lease`], or [`BlockManager::release_lease`].
//!
//! A lease expires as soon as its duration is over: from then on it cannot be renewed and
//! yields no guards, and its blocks count as available. There is no thread and no timer. The
//! guards in the table are dropped by the calls that need the blocks:
//!
//! * an allocation that would otherwise be refused drops as many as it is short of, in pieces of
//!   up to 64, and tries again after each (unless it asks for more blocks than the manager has);
//! * [`available_blocks`] and [`is_low`] drop up to 64, and count the others;
//! * [`holders`], [`unleased_blocks`], [`clear_inactive_pool`], [`reset_inactive_pool`] and
//!   [`expire_leases`] drop all.
//!
//! Guards returned by [`Lease::to_guards`] belong to the caller and do not expire.
//!
//! Time is measured with [`Instant`](std::time::Instant), so setting the system clock does
//! not move any expiry. A lease of zero duration has expired as soon as it is made; one of
//! more than 584 years never expires.
//!
//! # What is counted as available?
//!
//! Every block that an expired lease still holds, and that has not been released by the call that
//! counts. If such a block is also held by a guard, a lifecycle pin or another lease, it is counted
//! as available (or counted twice) until its turn to be released comes. So
//! [`available_blocks`] may be too high while expired leases with shared blocks hold more than
//! 64 blocks, and becomes exact in one call per 64. It is never above the number of all blocks.
//! To have the exact number at once, call [`expire_leases`] first.
//!
//! # What does it cost?
//!
//! Nothing on the hot path: matching, dropping, registering and allocating are unaware of
//! leases. An allocation that would be refused, `available_blocks` and `is_low` read a few
//! atomics to learn whether any lease has an expiry, and read the clock only if so.
//!
//! | call | blocks released |
//! |---|---|
//! | an allocation that would be refused | as many as it is short of, rounded up to the end of a piece (64, or the end of a lease); beside those, blocks that others hold as well, each once |
//! | `available_blocks`, `is_low`, an operation that finds the blocks below the low watermark | up to 64 |
//! | release and drop of a lease | its own |
//! | `expire_leases` and the others that drop all | all that expired leases hold |
//!
//! The table is behind a mutex. It is held for O(log leases) per lease that is made, renewed
//! or ended, for a piece of up to 64 blocks that is taken out, by listings for 64 leases at a
//! time, and never while a guard is dropped or user code runs. Operations on leases wait for the
//! mutex. `available_blocks` and `is_low` do not: if another thread holds it, they proceed as if
//! no lease had expired. Nor do allocations: one that would be refused takes pieces of expired
//! leases itself, one after another, until it has enough blocks or none is left. While other
//! threads are releasing pieces, it yields to them, up to 4,096 times, though not to user code
//! that they run. Each of them has one piece in hand: if it is suspended for longer than that, the
//! allocation is refused.
//!
//! # What if an attachment panics?
//!
//! Dropping the last reference to a hash drops its attachments, which are user code. If one
//! panics while a lease ends, the panic is logged and goes no further, and all other blocks of
//! the lease are released as well: a thread that merely wants to allocate should not have to
//! deal with another user's attachment.
//!
//! [`BlockManager::lease`]: crate::BlockManager::lease
//! [`BlockManager::release_lease`]: crate::BlockManager::release_lease
//! [`BlockManager::holders`]: crate::BlockManager::holders
//! [`available_blocks`]: crate::BlockManager::available_blocks
//! [`unleased_blocks`]: crate::BlockManager::unleased_blocks
//! [`is_low`]: crate::BlockManager::is_low
//! [`holders`]: crate::BlockManager::holders
//! [`clear_inactive_pool`]: crate::BlockManager::clear_inactive_pool
//! [`reset_inactive_pool`]: crate::BlockManager::reset_inactive_pool
//! [`expire_leases`]: crate::BlockManager::expire_leases

mod error;
mod holder;
mod id;
mod lease;
mod table;

pub use error::{ForeignBlock, LeaseError};
pub use holder::Holder;
pub use id::LeaseId;
pub use lease::Lease;
pub(crate) use table::{ExpiryStep, LeaseTable};
