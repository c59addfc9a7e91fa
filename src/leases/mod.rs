//! Leases: pins with an owner and an expiry.
//!
//! A guard holds its block until it is dropped, so a client that has crashed, or has
//! forgotten a guard, holds it for ever. A lease does not: the guards go into a table
//! of the manager's ([`BlockManager::lease`](crate::BlockManager::lease)), and the
//! client has a [`Lease`], or, in another process, only the [`LeaseId`]. What is not
//! renewed expires, and [`holders`](crate::BlockManager::holders) says who keeps what.
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
//! let block = manager.allocate_one().expect("8 are free");
//! let block = block.stage(SequenceHash::root(1), 16).expect("of this size");
//! let block = manager.register_block(block);
//!
//! let lease = manager.lease(vec![block], "decode-3", Some(Duration::from_secs(30)))?;
//! assert_eq!(manager.holders()[0].owner.as_ref(), "decode-3");
//!
//! // While blocks are read or written, guards are at hand.
//! let guards = lease.to_guards()?;
//! assert_eq!(guards[0].sequence_hash(), SequenceHash::root(1));
//! drop(guards);
//!
//! // To another process by its id: no handle is left here.
//! let id = lease.detach();
//! manager.renew_lease(id, Some(Duration::from_secs(60)))?;
//! manager.release_lease(id)?;
//! assert_eq!(manager.available_blocks(), 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Expiry
//!
//! A lease expires when its time is up, whoever looks: from then on it cannot be
//! renewed and gives no guards. Its own guards are dropped by whoever needs the blocks
//! first: an allocation that would be refused, which then tries again,
//! [`available_blocks`](crate::BlockManager::available_blocks),
//! [`is_low`](crate::BlockManager::is_low),
//! [`holders`](crate::BlockManager::holders), or
//! [`expire_leases`](crate::BlockManager::expire_leases). There is no thread and no
//! timer. Guards that [`Lease::to_guards`] has returned are their caller's, and do not
//! expire.
//!
//! Time is [`Instant`](std::time::Instant)'s, so that setting the clock of the machine
//! moves no expiry. A lease of no duration has expired as soon as it is made; one of
//! more than 500 years never does.
//!
//! All leases of a manager end with it, at the latest: its blocks are nobody's to
//! allocate any more.
//!
//! # Cost
//!
//! Nothing, for who has no lease: matching, dropping, registering and allocating do
//! not know of them. Where an allocation would be refused, and in `available_blocks`,
//! one relaxed load says whether any lease may expire at all, and only then is the
//! clock read. The table is behind a mutex, which is held for a few steps logarithmic
//! in the leases (by `holders`, linear), never while a guard is dropped or a user's
//! code runs. Operations on leases wait for it. Allocations and
//! `available_blocks` do not: while it is taken they go on as if no lease had expired.
//!
//! # Panics
//!
//! With the last reference to a hash its attachments are dropped, which are the user's
//! and may panic. Where that happens as a lease ends, the panic is logged and goes no
//! further, and all other blocks of the lease are let go of as well: who comes to
//! allocate is not to pay for what another has attached.

mod error;
mod holder;
mod id;
mod lease;
mod table;

pub use error::{ForeignBlock, LeaseError};
pub use holder::Holder;
pub use id::LeaseId;
pub use lease::Lease;
pub(crate) use table::LeaseTable;
