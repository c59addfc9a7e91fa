//! The engine: the lock-free data plane of a block manager, and the policy plane beside it.
//!
//! A block's entire state fits in one atomic word, in a flat array of slots. The operations
//! of the hot path are a handful of exchanges on that word and on words of the calling
//! thread's shard. Eviction order is kept by sequential code that the hot path never calls:
//! it only queues updates, which are applied in batches by whichever thread next needs a
//! victim.
//!
//! # Which file holds what?
//!
//! | `parts/` | idea |
//! |---|---|
//! | `word` | a block's state in 64 bits: the layout, the transitions, and which threads may make them |
//! | `slot` | the word and the fields of its tenancy, in one cache line |
//! | `index` | hash → slot: fixed buckets, chains through the slots, nothing to reclaim |
//! | `freelist` | the reset pool: sharded hierarchical bitmaps |
//! | `credits` | all-or-nothing allocation by sharded credits, and the end of a store |
//! | `credits/watermark` | detects that the credits have dropped below a level |
//! | `slot_stack` | a stack of slot numbers, linked through words that its user supplies |
//! | `release_log` | queued updates for the policy plane: one such stack per shard |
//! | `plane` | the policy planes: eviction orders under try-locks |
//! | `sweep` | victims without the plane |
//! | `directives` | the retention directive of each block |
//! | `deadlines` | when the directives of listed blocks expire |
//! | `era` | which inactive blocks a clearing has given up |
//! | `prefetch` | fetches a cache line before it is needed |
//!
//! | here and in `ops/` | idea |
//! |---|---|
//! | `store` | the parts put together, and how long they live |
//! | `hold` | owned blocks and pins, of which guards are made; the edge of `unsafe` |
//! | `buffer` | a vector of guards as a buffer of holds |
//! | `ops/allocate`, `evict`, `victims`, `matching`, `register`, `release`, `release_batch`, `retain`, `clear`, `reset` | what a store does |
//! | `ops/drain` | queuing updates for the plane, and keeping the release logs short |
//! | `ops/watermark` | the low watermark as the manager sees it |
//! | `ops/gauges` | how many blocks are in which state |
//! | `ops/audit` | the numbered invariants, and their check |
//!
//! # Which operations are lock-free?
//!
//! Matching, cloning, dropping, upgrading, staging, registering and allocating: a thread
//! suspended anywhere never blocks another. Only the policy planes are
//! held by one thread at a time, under a lock that offers only `try_lock`. A thread that finds
//! the plane held leaves its update queued, or evicts by a sweep.
//!
//! # What can a suspended thread delay?
//!
//! Only what is listed here. The `suspension` tests check this list, at every step that is
//! named in the code by `step!`:
//!
//! * What it has asked for. Its credits are reserved, so an allocation or a match of an
//!   inactive block that needs them is refused, and a reset of the inactive blocks resets none
//!   if it finds no credit.
//! * Its own registration. The block cannot be matched before the registration completes,
//!   unless another thread that registers the same hash completes it.
//! * Its own directive for a block that is already inactive, and later directives for that
//!   block, until the block is released again.
//! * The policy's order. While it holds a plane, others may have to evict
//!   by a search of the slots, which follows no policy (but prefers leaves if the policy does).
//! * The registry's memory. Ended entries are not freed while the thread is inside an epoch
//!   guard.
//! * The audit, which is meant for a store at rest and reports that the store is busy.

pub(crate) mod buffer;
mod hold;
#[cfg(all(test, kvbm_loom))]
mod models;
mod ops;
mod parts;
mod store;

pub(crate) use hold::{Complete, Exclusive, Mutable, Pinned};
pub use ops::{AuditError, AuditReport};
pub(crate) use ops::{Registered, Reserved};
pub(crate) use parts::plane::PolicySource;
pub(crate) use store::{Config, MAX_BLOCKS, Store, StoreRef};
