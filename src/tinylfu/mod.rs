//! TinyLFU: how often has a hash been requested recently?
//!
//! Multi-level LRU asks a [`FrequencyTracker`] which blocks are worth keeping. (W-TinyLFU, as an
//! eviction policy, counts the blocks of its pool itself.)
//!
//! # How are frequencies counted?
//!
//! In the sketch of *TinyLFU: A Highly Efficient Cache Admission Policy* (Einziger,
//! Friedman, Manes; ACM Transactions on Storage, 2017). Every key selects four 4-bit
//! counters of one table. An increment adds one to each of them, and the estimate of a key
//! is the smallest of the four: keys that share a counter can only make an estimate too
//! high. After a certain number of increments, a [`DecayPolicy`] has all counters halved,
//! so old popularity fades.
//!
//! [`TinyLFUSketch`] is that table for a single owner. [`TinyLFUTracker`] shares it between
//! threads, without locks. A halving changes one number, and the counters are shifted as they are
//! needed, a few with each touch.
//!
//! # Accuracy
//!
//! Different bits of a hash choose a word of the table and the counter in it. In
//! `kvbm-logical` they are the same bits, so that at all built-in sizes one in sixteen
//! counters is used. Take a sketch for 65,536 keys that has counted half as many, and ask it for
//! 100,000 keys that were never used: in `kvbm-logical`, 99,898 appear to have been used; here,
//! 2,363. In the replays in `PERF.md`, this raises the hit rate of [multi-level LRU], which
//! relies on these estimates, by up to 11 points. [`reference_layout`] gives the other crate's
//! estimates, for comparisons.
//!
//! [multi-level LRU]: crate::manager::BlockManagerConfigBuilder::with_multi_lru_backend
//! [`reference_layout`]: TinyLFUSettingsBuilder::reference_layout
//!
//! ```
//! use kvbm_lockfree::tinylfu::{FrequencyTracker, TinyLFUTracker};
//!
//! let tracker = TinyLFUTracker::<u64>::new(1024);
//! tracker.touch(7);
//! tracker.touch(7);
//! assert_eq!(tracker.count(7), 2);
//! assert_eq!(tracker.count(8), 0);
//! ```

mod counters;
mod decay;
mod key;
#[cfg(all(test, kvbm_loom))]
mod models;
mod settings;
mod sketch;
mod table;
mod tally;
#[cfg(all(test, not(kvbm_loom)))]
mod tests;
mod tracker;

pub use decay::{DecayPolicy, FixedDecayPolicy};
pub use key::SketchKey;
pub use settings::{TinyLFUSettings, TinyLFUSettingsBuilder};
pub use sketch::TinyLFUSketch;
pub use tracker::{FrequencyTracker, NoOpTracker, TinyLFUTracker};
