//! The engine: what makes a block manager fast.
//!
//! A lock-free data plane and a batch-amortized policy plane. All of a block's
//! life is one atomic word in a flat array of slots; the operations of the hot
//! path are a handful of exchanges on that word and on words of the calling
//! thread's shard. Eviction order is kept apart, by sequential code that the hot
//! path never calls and only leaves notes for.
//!
//! | file | idea |
//! |---|---|
//! | `word` | a block's life in 64 bits: the layout, the states, who may change what |
//! | `slot` | the word and what belongs to a tenancy, in one cache line |
//! | `index` | hash → slot: fixed buckets, chains through the slots, nothing to reclaim |
//! | `freelist` | the reset pool: sharded hierarchical bitmaps |
//! | `credit` | all-or-nothing allocation: sharded credits, and the end of a store |
//! | `watermark` | noticing that the credits have fallen below a level |
//! | `released` | notes for the policy plane: a stack a shard |
//! | `plane` | the policy plane: one thread at a time, by a try-lock nobody waits for |
//! | `victim_cache` | victims taken from the plane ahead of need |
//! | `directives` | what has been said about the worth of blocks |
//! | `deadlines` | when that ends, for inactive blocks |
//! | `sweep` | victims without the plane |
//! | `store` | the parts together; `allocate`, `acquire`, `register`, `release`, `batch`, `clear`: what it does |
//! | `hold` | what guards are made of: owned blocks and pins, and the edge of `unsafe` |
//! | `gauges` | how many blocks are in which state |
//! | `audit` | the invariants, numbered, and their check |
//! | `prefetch` | asking for a cache line before it is needed |
//!
//! # Progress
//!
//! Matching, cloning, dropping, upgrading, staging, registering and allocating
//! are lock-free: a thread suspended anywhere stops nobody else. The policy
//! plane is the one thing that is taken; who finds it taken leaves a note and
//! goes on, or sweeps.
//!
//! # What a suspended thread can hold up
//!
//! Only this, and `suspension` tests that it is only this, at every step that
//! is named in the code by `step!`:
//!
//! * what it has asked for: its credits are out, so an allocation, or the match
//!   of an inactive block, that would need them is refused, and a reset of the
//!   inactive blocks that finds no credit resets none;
//! * its own registration: the block is not matched before that returns, or
//!   someone else registers the hash;
//! * a directive of its own for a block that is inactive already, and later ones for
//!   it, until the block is released again; and the first directives of all;
//! * the policy's order: with the plane or a victim_cache in its hand, others evict by
//!   a search, O(blocks), in no policy's order but leaves first where that holds;
//! * the registry's memory: what has ended is not freed while the thread is under
//!   an epoch guard;
//! * the audit, which is for a store at rest and says that it is busy.

mod hold;
#[cfg(all(test, kvbm_loom))]
mod models;
mod ops;
mod parts;
mod store;

pub(crate) use hold::{Complete, Exclusive, Mutable, Pinned};
pub use ops::{AuditError, AuditReport};
pub(crate) use ops::{Registered, Reserved};
pub(crate) use store::{Config, MAX_BLOCKS, Store, StoreRef};
