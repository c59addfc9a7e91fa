//! TinyLFU: how often has a hash been requested recently?
//!
//! Frequency-based eviction policies, multi-level LRU and W-TinyLFU, ask a
//! [`FrequencyTracker`] which of their blocks are worth keeping.
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
//! threads, none of which ever waits for a lock: touches are buffered per thread and applied
//! to the table in batches, as in the striped read buffers of the Caffeine cache.
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
mod settings;
mod sketch;
mod stripe;
#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests;
mod tracker;

pub use decay::{DecayPolicy, FixedDecayPolicy};
pub use key::SketchKey;
pub use settings::{TinyLFUSettings, TinyLFUSettingsBuilder};
pub use sketch::TinyLFUSketch;
pub use tracker::{FrequencyTracker, NoOpTracker, TinyLFUTracker};
