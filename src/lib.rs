//! A lock-free logical block manager for the KV cache of LLM servers.
//!
//! LLM servers keep attention state in fixed-size blocks. A *logical* block manager owns no
//! bytes: it decides which block id holds which content, finds the blocks that hold a given
//! prefix, keeps blocks in use from being evicted, and chooses what to evict. Schedulers call
//! it for every request in every step.
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
//!
//! #[derive(Clone)]
//! struct Gpu;
//!
//! let manager = BlockManager::<Gpu>::builder()
//!     .block_count(512)
//!     .block_size(16)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//!
//! // The content of a prompt's first four blocks, each a continuation of the one before.
//! let first = SequenceHash::root(1000);
//! let prompt: Vec<SequenceHash> =
//!     std::iter::successors(Some(first), |parent| Some(parent.extend(1001))).take(4).collect();
//!
//! // Match what is cached, and allocate what is missing.
//! let mut blocks = Vec::new();
//! let cached = manager.match_into(&prompt, &mut blocks);
//! for &hash in &prompt[cached..] {
//!     let block = manager.allocate_one().expect("512 blocks are enough");
//!     let block = block.stage(hash, 16).expect("16 is the block size");
//!     blocks.push(manager.register_block(block));
//! }
//! drop(blocks);
//!
//! // The blocks are inactive now: available, but still cached.
//! assert_eq!(manager.available_blocks(), 512);
//! assert_eq!(manager.match_blocks(&prompt).len(), 4);
//! # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
//! ```
//!
//! # Where do I start?
//!
//! | to | see |
//! |---|---|
//! | allocate, register and find blocks | [`manager`], and [`blocks`] for the guards |
//! | serve requests without handling blocks yourself | [`integrations`], [`sequence`] |
//! | choose an eviction order, or write one | [`BlockManagerConfigBuilder`](manager::BlockManagerConfigBuilder), [`eviction`] |
//! | pin blocks for a client that may crash | [`leases`] |
//! | protect content from eviction | [`retention`] |
//! | share hashes between tiers, or attach data to them | [`registry`] |
//! | publish what is cached, for a router | `events`, `pubsub` |
//! | monitor a manager | [`metrics`] |
//! | migrate from `kvbm-logical` | [`migration`] |
//! | understand the code | [`architecture`], [`glossary`] |
//!
//! # What does it replace?
//!
//! [`kvbm-logical`](https://crates.io/crates/kvbm-logical), whose API this crate has. Where that
//! crate guards every transition of every block with one mutex, this one has no lock on its hot
//! path.
//!
//! Single-threaded, the two do the same: they find the same blocks and, except under multi-level
//! LRU, evict the same content in the same order. Here, multi-level LRU has a hit rate up to 11
//! points higher, because its [frequency sketch](tinylfu#accuracy) uses all of its counters.
//! [`migration`] lists every difference.
//!
//! # How does it work?
//!
//! A block's entire state fits in one atomic word: its pins, its state, and a generation that
//! changes with its content. *Inactive is not a place* but a registered block without pins. So a
//! match is one compare-and-swap of that word whether the block is in use or not, a clone an
//! addition, and a drop one exchange, or three if it is the last.
//!
//! Reserving sharded credits alone decides whether an allocation succeeds; free blocks are then
//! taken from sharded bitmaps. Eviction order is kept by plain sequential code that the hot path
//! never calls: the hot path queues updates, and whichever thread next needs a victim applies
//! them. If that code is held up, other threads wait for a bounded time and then find victims
//! without it. [`architecture`] has the map.
//!
//! # What does it guarantee?
//!
//! * An allocation is refused only if, at some instant during the call, held blocks plus
//!   concurrent requests left too few.
//! * Single-threaded, eviction follows the policy's order exactly.
//! * Hot operations are lock-free: a suspended thread never blocks another.
//! * Guards return their block exactly once, on any thread, even after the manager is dropped,
//!   or during unwinding.
//! * [`BlockManager::audit`] checks the invariants.
//!
//! # What does it add?
//!
//! * Eviction orders: [LRFU](manager::BlockManagerConfigBuilder::with_lrfu_backend),
//!   [W-TinyLFU](manager::BlockManagerConfigBuilder::with_tinylfu_backend), and
//!   [your own](eviction).
//! * [Clearing](BlockManager::clear_inactive_pool) the cache in constant time.
//! * [Retention](retention): priorities for content, with an optional duration.
//! * [Leases](leases): owned, expiring pins, and a listing of who holds what.
//! * A [low watermark](manager::BlockManagerConfigBuilder::with_low_watermark): a callback when
//!   blocks are running out.
//! * Methods that allocate nothing on the heap, such as [`BlockManager::match_into`].
//!
//! # Features
//!
//! * `events` (default): registration events, and their publishing.
//! * `metrics` (default): export of the metrics to Prometheus.
//! * `stats` (default): the sampling task of [`metrics::StatsCollector`].
//! * `nats`: publishing of events to a NATS server. Enables `events`.
//! * `testing`: managers, tokens and trackers for tests.
//! * `replay`: the program `kvbm-replay`.

#![warn(missing_debug_implementations)]

#[doc = include_str!("architecture.md")]
pub mod architecture {}
pub mod blocks;
mod duplication;
mod engine;
#[cfg(feature = "events")]
pub mod events;
pub mod eviction;
#[doc = include_str!("glossary.md")]
pub mod glossary {}
mod ids;
pub mod integrations;
mod key;
pub mod leases;
pub mod manager;
pub mod metrics;
#[doc = include_str!("migration.md")]
pub mod migration {}
#[cfg(all(test, kvbm_loom))]
mod models;
mod policy;
pub mod pools;
#[cfg(feature = "events")]
pub mod pubsub;
pub mod registry;
pub mod retention;
pub mod sequence;
#[cfg(all(test, not(kvbm_loom)))]
mod suspension;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tinylfu;
mod user_code;

pub use blocks::{
    BlockError, CompleteBlock, ImmutableBlock, LifecyclePin, LifecyclePinRef, MutableBlock,
    WeakBlock,
};
pub use engine::{AuditError, AuditReport};
pub use ids::{
    BlockId, BlockMetadata, KvbmSequenceHashProvider, LogicalLayoutHandle, ManagerId, SequenceHash,
};
pub use integrations::{
    ApplyError, BlockSizeMismatch, DecodeOutcome, NoopDelegate, RequestSequence,
    SchedulableSequence, SchedulableSequenceBuilder, ScheduleError, SequenceDelegate,
    SequenceEvent, SequenceState,
};
pub use manager::BlockManager;
pub use registry::BlockRegistry;
pub use sequence::{
    BlockSequence, BlockSequenceError, ExternalBlockAssignments, LogicalBlockAssignmentError,
    LogicalBlockAssignments, zip_assigned, zip_assigned_pending,
};

/// Compiles and runs the README's example as a doc test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
