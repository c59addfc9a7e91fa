//! Rates: how much has happened recently.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{BlockPoolMetrics, MetricsSnapshot};

/// How often a [`StatsCollector`] samples, and how many samples it keeps.
#[derive(Debug, Clone)]
pub struct StatsConfig {
    /// The number of samples that are kept. Default: 60.
    ///
    /// If it is 0, no sample is kept and there is never anything to read. Memory is allocated
    /// as samples arrive, so a large window costs nothing up front.
    pub window_size: usize,
    /// The time between two samples taken by the task of `StatsCollector::spawn`. Default:
    /// one second.
    ///
    /// Anything shorter than a millisecond, the resolution of the runtime's timer, is taken as
    /// a millisecond. If the interval exceeds what the clock can represent, as
    /// [`Duration::MAX`] does, the task takes one sample and no more.
    pub sample_interval: Duration,
}

/// The shortest [`StatsConfig::sample_interval`].
#[cfg(feature = "stats")]
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

impl Default for StatsConfig {
    fn default() -> Self {
        Self {
            window_size: 60,
            sample_interval: Duration::from_secs(1),
        }
    }
}

/// What happened between two consecutive samples, and the gauges at the second.
///
/// In the first sample, which has no predecessor, all rates, ratios and gradients are 0.
#[derive(Debug, Clone, Copy)]
pub struct StatsSnapshot {
    /// Blocks allocated per second.
    pub allocation_rate: f64,
    /// Blocks evicted per second.
    pub eviction_rate: f64,
    /// Blocks returned by matches, divided by the hashes they requested: from 0 to 1, and 0
    /// if none were requested.
    pub match_hit_rate: f64,
    /// Blocks returned by scans, divided by the hashes they requested: from 0 to 1, and 0 if
    /// none were requested.
    pub scan_hit_rate: f64,
    /// The change of the allocation rate, per second.
    pub allocation_gradient: f64,
    /// The change of the eviction rate, per second.
    pub eviction_gradient: f64,
    /// Mutable guards.
    pub inflight_mutable: i64,
    /// Immutable guards.
    pub inflight_immutable: i64,
    /// Free blocks, including cleared ones.
    pub reset_pool_size: i64,
    /// Inactive blocks: registered and not pinned.
    pub inactive_pool_size: i64,
}

/// A sample, with the values it was computed from.
struct Sample {
    taken: Instant,
    raw: MetricsSnapshot,
    stats: StatsSnapshot,
}

impl Sample {
    fn new(taken: Instant, raw: MetricsSnapshot, before: Option<&Sample>) -> Self {
        let mut stats = StatsSnapshot {
            allocation_rate: 0.0,
            eviction_rate: 0.0,
            match_hit_rate: 0.0,
            scan_hit_rate: 0.0,
            allocation_gradient: 0.0,
            eviction_gradient: 0.0,
            inflight_mutable: raw.inflight_mutable,
            inflight_immutable: raw.inflight_immutable,
            reset_pool_size: raw.reset_pool_size,
            inactive_pool_size: raw.inactive_pool_size,
        };
        if let Some(before) = before {
            let seconds = taken.duration_since(before.taken).as_secs_f64();
            // If the clock is too coarse to tell the samples apart, there are no rates.
            if seconds > 0.0 {
                let grown = |read: fn(&MetricsSnapshot) -> u64| {
                    read(&raw).saturating_sub(read(&before.raw)) as f64
                };
                // A call in progress at the previous sample may have been counted in the
                // whole then, but in the part only now.
                let ratio = |part: f64, whole: f64| {
                    if whole > 0.0 {
                        (part / whole).min(1.0)
                    } else {
                        0.0
                    }
                };
                stats.allocation_rate = grown(|raw| raw.allocations) / seconds;
                stats.eviction_rate = grown(|raw| raw.evictions) / seconds;
                stats.match_hit_rate = ratio(
                    grown(|raw| raw.match_blocks_returned),
                    grown(|raw| raw.match_hashes_requested),
                );
                stats.scan_hit_rate = ratio(
                    grown(|raw| raw.scan_blocks_returned),
                    grown(|raw| raw.scan_hashes_requested),
                );
                stats.allocation_gradient =
                    (stats.allocation_rate - before.stats.allocation_rate) / seconds;
                stats.eviction_gradient =
                    (stats.eviction_rate - before.stats.eviction_rate) / seconds;
            }
        }
        Self { taken, raw, stats }
    }
}

/// Samples the metrics of a manager and keeps the most recent samples.
///
/// A new collector is disabled. Once enabled, it is driven by calls to
/// [`sample`](Self::sample), or with the feature `stats` by a task that `spawn` starts.
/// Sampling never delays threads that count. The samples are guarded by a mutex, which only
/// `sample` and the methods that read samples lock.
///
/// ```
/// use std::sync::Arc;
///
/// use kvbm_lockfree::metrics::{BlockPoolMetrics, StatsCollector, StatsConfig};
///
/// let metrics = Arc::new(BlockPoolMetrics::new("G1".to_owned()));
/// let stats = StatsCollector::new(Arc::clone(&metrics), StatsConfig::default());
/// stats.set_enabled(true);
/// stats.sample();
/// metrics.inc_match_hashes_requested(4);
/// metrics.inc_match_blocks_returned(3);
/// # std::thread::sleep(std::time::Duration::from_millis(1));
/// stats.sample();
/// assert_eq!(stats.latest().unwrap().match_hit_rate, 0.75);
/// ```
pub struct StatsCollector {
    is_enabled: AtomicBool,
    metrics: Arc<BlockPoolMetrics>,
    config: StatsConfig,
    /// Oldest first.
    samples: Mutex<VecDeque<Sample>>,
}

impl StatsCollector {
    /// Creates a disabled collector for one manager's metrics.
    pub fn new(metrics: Arc<BlockPoolMetrics>, config: StatsConfig) -> Self {
        Self {
            is_enabled: AtomicBool::new(false),
            metrics,
            config,
            samples: Mutex::default(),
        }
    }

    /// Enables or disables sampling. Samples already taken are kept.
    pub fn set_enabled(&self, enabled: bool) {
        self.is_enabled.store(enabled, Ordering::Relaxed);
    }

    /// Returns whether sampling is enabled.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Takes a sample if sampling is enabled. Costs about as much as
    /// [`BlockPoolMetrics::snapshot`].
    pub fn sample(&self) {
        if !self.is_enabled() {
            return;
        }
        // Read under the lock, so that samples are ordered by time.
        let mut samples = self.samples();
        let raw = self.metrics.snapshot();
        let sample = Sample::new(Instant::now(), raw, samples.back());
        samples.push_back(sample);
        while samples.len() > self.config.window_size {
            samples.pop_front();
        }
    }

    /// Returns the most recent sample, or `None` if there is none.
    pub fn latest(&self) -> Option<StatsSnapshot> {
        self.samples().back().map(|sample| sample.stats)
    }

    /// Returns the most recent `n` samples, or fewer if there are not as many, oldest first.
    pub fn window(&self, n: usize) -> Vec<StatsSnapshot> {
        let samples = self.samples();
        let skipped = samples.len().saturating_sub(n);
        samples
            .iter()
            .skip(skipped)
            .map(|sample| sample.stats)
            .collect()
    }

    /// Starts a task that takes a sample immediately and then one per interval, until it is
    /// aborted or the runtime shuts down. While sampling is disabled, the task skips samples.
    ///
    /// The task keeps the collector alive.
    ///
    /// # Panics
    ///
    /// Panics if called outside a tokio runtime. The task panics if the runtime's timer is not
    /// enabled.
    #[cfg(feature = "stats")]
    pub fn spawn(self: &Arc<Self>) -> tokio::task::JoinHandle<()> {
        let stats = Arc::clone(self);
        tokio::spawn(async move {
            let period = stats.config.sample_interval.max(SHORTEST_INTERVAL);
            let mut interval = tokio::time::interval(period);
            loop {
                interval.tick().await;
                stats.sample();
            }
        })
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for StatsCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsCollector")
            .field("is_enabled", &self.is_enabled())
            .field("config", &self.config)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;

    fn raw(allocations: u64, evictions: u64, asked: u64, returned: u64) -> MetricsSnapshot {
        MetricsSnapshot {
            allocations,
            evictions,
            match_hashes_requested: asked,
            match_blocks_returned: returned,
            scan_hashes_requested: 2 * asked,
            scan_blocks_returned: returned,
            ..BlockPoolMetrics::new(String::new()).snapshot()
        }
    }

    #[test]
    fn rates_are_by_the_second_and_between_two_samples() {
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let first = Sample::new(begin, raw(100, 50, 10, 10), None);
        assert_eq!(first.stats.allocation_rate, 0.0);
        assert_eq!(first.stats.match_hit_rate, 0.0);
        let second = Sample::new(after(500), raw(110, 50, 18, 12), Some(&first));
        assert_eq!(second.stats.allocation_rate, 20.0);
        assert_eq!(second.stats.eviction_rate, 0.0);
        assert_eq!(second.stats.match_hit_rate, 0.25);
        assert_eq!(second.stats.scan_hit_rate, 0.125);
        assert_eq!(second.stats.allocation_gradient, 40.0);
        let third = Sample::new(after(2500), raw(110, 60, 18, 12), Some(&second));
        assert_eq!(third.stats.allocation_rate, 0.0);
        assert_eq!(third.stats.eviction_rate, 5.0);
        assert_eq!(third.stats.match_hit_rate, 0.0);
        assert_eq!(third.stats.allocation_gradient, -10.0);
        assert_eq!(third.stats.eviction_gradient, 2.5);
        let at_once = Sample::new(after(2500), raw(999, 60, 18, 12), Some(&third));
        assert_eq!(at_once.stats.allocation_rate, 0.0);
    }

    #[test]
    fn samples_are_kept_up_to_the_window() {
        let metrics = Arc::new(BlockPoolMetrics::new("G1".to_owned()));
        let config = StatsConfig {
            window_size: 3,
            ..StatsConfig::default()
        };
        let stats = StatsCollector::new(Arc::clone(&metrics), config);
        stats.sample();
        assert!(stats.latest().is_none(), "switched off at first");
        stats.set_enabled(true);
        for size in 0..5 {
            metrics.set_reset_pool_size(size);
            stats.sample();
        }
        stats.set_enabled(false);
        stats.sample();
        let sizes = |window: Vec<StatsSnapshot>| -> Vec<i64> {
            window.iter().map(|stats| stats.reset_pool_size).collect()
        };
        assert_eq!(sizes(stats.window(2)), [3, 4]);
        assert_eq!(sizes(stats.window(9)), [2, 3, 4]);
        assert!(stats.window(0).is_empty());
        assert_eq!(stats.latest().unwrap().reset_pool_size, 4);
    }

    #[cfg(feature = "stats")]
    #[tokio::test(start_paused = true)]
    async fn a_task_samples_in_every_interval() {
        let metrics = Arc::new(BlockPoolMetrics::new("G1".to_owned()));
        let stats = Arc::new(StatsCollector::new(metrics, StatsConfig::default()));
        stats.set_enabled(true);
        let task = stats.spawn();
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert_eq!(stats.window(100).len(), 4);
        task.abort();
    }

    #[cfg(feature = "stats")]
    #[tokio::test(start_paused = true)]
    async fn a_task_takes_any_interval_and_any_window() {
        let far = [Duration::from_secs(u64::MAX), Duration::MAX];
        let near = [Duration::ZERO, Duration::from_nanos(1)];
        for (sample_interval, expected) in far
            .map(|interval| (interval, 1))
            .into_iter()
            .chain(near.map(|interval| (interval, 11)))
        {
            for window_size in [0, 1, 5, usize::MAX] {
                let metrics = Arc::new(BlockPoolMetrics::new("G1".to_owned()));
                let config = StatsConfig {
                    window_size,
                    sample_interval,
                };
                let stats = Arc::new(StatsCollector::new(metrics, config));
                stats.set_enabled(true);
                let task = stats.spawn();
                tokio::time::sleep(Duration::from_millis(10)).await;
                tokio::task::yield_now().await;
                assert!(!task.is_finished(), "{sample_interval:?}");
                let kept = stats.window(usize::MAX).len();
                assert_eq!(kept, expected.min(window_size), "{sample_interval:?}");
                assert_eq!(stats.latest().is_some(), window_size > 0);
                task.abort();
            }
        }
    }
}
