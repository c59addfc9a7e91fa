//! Metrics: what a manager has done, and how its blocks are distributed.
//!
//! | item | what it is for |
//! |---|---|
//! | [`BlockPoolMetrics`] | the counters and gauges of one manager |
//! | [`MetricsSnapshot`] | their values, as returned by [`BlockPoolMetrics::snapshot`] |
//! | [`StatsCollector`] | rates, sampled at an interval |
//! | `MetricsAggregator` (feature `metrics`) | a Prometheus collector for any number of managers |
//!
//! ```
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
//!
//! let manager = BlockManager::<()>::builder()
//!     .block_count(8)
//!     .block_size(16)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let block = manager.allocate_one().expect("eight blocks are free");
//! let block = block.stage(SequenceHash::root(7), 16).expect("the block size is 16");
//! drop(manager.register_block(block));
//! assert_eq!(manager.match_blocks(&[SequenceHash::root(7)]).len(), 1);
//!
//! let snapshot = manager.metrics().snapshot();
//! assert_eq!(snapshot.registrations, 1);
//! assert_eq!(snapshot.match_blocks_returned, 1);
//! assert_eq!((snapshot.reset_pool_size, snapshot.inactive_pool_size), (7, 1));
//! # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
//! ```
//!
//! # What does it cost the hot path?
//!
//! One load and one store per counter, to a cache line that only the counting thread
//! writes. With more than 30 live threads, those beyond share a line and pay for an atomic
//! addition. The gauges cost nothing: they are derived from the counters when read.

#[cfg(feature = "metrics")]
mod aggregator;
#[cfg(feature = "metrics")]
mod families;
mod gauges;
mod pool_metrics;
mod snapshot;
mod stats;
mod stripes;
mod type_name;

#[cfg(feature = "metrics")]
pub use aggregator::MetricsAggregator;
pub(crate) use gauges::{GaugeSource, Gauges};
pub use pool_metrics::BlockPoolMetrics;
pub use snapshot::MetricsSnapshot;
pub use stats::{StatsCollector, StatsConfig, StatsSnapshot};
pub(crate) use stripes::{Counter, Counts, OwnRow, Stripes};
pub use type_name::short_type_name;
