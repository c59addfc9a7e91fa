//! What the pools of a manager did, and what is in them.
//!
//! * [`BlockPoolMetrics`]: counters and gauges of one manager. Counting
//!   writes no cache line that another thread writes.
//! * [`MetricsSnapshot`]: all of them, read once.
//! * [`StatsCollector`]: rates, sampled now and then.
//! * `MetricsAggregator` (feature `metrics`): a Prometheus collector over
//!   any number of managers.

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
pub(crate) use stripes::{Counter, Counts, Stripes};
pub use type_name::short_type_name;
