//! Counters and gauges, their export, and rates.

use std::sync::Arc;
use std::time::Duration;

use super::kvbm;
use kvbm::metrics::{
    BlockPoolMetrics, MetricsAggregator, MetricsSnapshot, StatsCollector, StatsConfig,
    StatsSnapshot, short_type_name,
};
use prometheus::core::Collector;

struct Tier;

fn counted(metrics: &BlockPoolMetrics) {
    metrics.inc_allocations(1);
    metrics.inc_allocations_from_reset(2);
    metrics.inc_evictions(3);
    metrics.inc_registrations();
    metrics.inc_registrations_by(4);
    metrics.inc_duplicate_blocks();
    metrics.inc_registration_dedup();
    metrics.inc_stagings();
    metrics.inc_match_hashes_requested(8);
    metrics.inc_match_blocks_returned(6);
    metrics.inc_scan_hashes_requested(4);
    metrics.inc_scan_blocks_returned(1);
    metrics.inc_eager_primary_to_inactive();
    metrics.inc_allocate_atomic_rollback();
    metrics.inc_release_primary_noop();
    metrics.inc_release_duplicate_noop();
    metrics.inc_inflight_mutable();
    metrics.inc_inflight_mutable_by(5);
    metrics.dec_inflight_mutable();
    metrics.dec_inflight_mutable_by(2);
    metrics.inc_inflight_immutable();
    metrics.inc_inflight_immutable_by(5);
    metrics.dec_inflight_immutable();
    metrics.dec_inflight_immutable_by(2);
    metrics.set_reset_pool_size(9);
    metrics.inc_reset_pool_size();
    metrics.inc_reset_pool_size_by(5);
    metrics.dec_reset_pool_size();
    metrics.dec_reset_pool_size_by(2);
    metrics.set_inactive_pool_size(9);
    metrics.inc_inactive_pool_size();
    metrics.inc_inactive_pool_size_by(5);
    metrics.dec_inactive_pool_size();
    metrics.dec_inactive_pool_size_by(2);
}

/// Reads every field by name.
fn read(snapshot: &MetricsSnapshot) -> ([u64; 15], [i64; 4]) {
    let MetricsSnapshot {
        allocations,
        allocations_from_reset,
        evictions,
        registrations,
        duplicate_blocks,
        registration_dedup,
        stagings,
        match_hashes_requested,
        match_blocks_returned,
        scan_hashes_requested,
        scan_blocks_returned,
        eager_primary_to_inactive_total,
        allocate_atomic_rollback_total,
        release_primary_noop_total,
        release_duplicate_noop_total,
        inflight_mutable,
        inflight_immutable,
        reset_pool_size,
        inactive_pool_size,
    } = *snapshot;
    (
        [
            allocations,
            allocations_from_reset,
            evictions,
            registrations,
            duplicate_blocks,
            registration_dedup,
            stagings,
            match_hashes_requested,
            match_blocks_returned,
            scan_hashes_requested,
            scan_blocks_returned,
            eager_primary_to_inactive_total,
            allocate_atomic_rollback_total,
            release_primary_noop_total,
            release_duplicate_noop_total,
        ],
        [
            inflight_mutable,
            inflight_immutable,
            reset_pool_size,
            inactive_pool_size,
        ],
    )
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    let metrics = Arc::new(BlockPoolMetrics::new("G1".to_owned()));
    counted(&metrics);
    say!(said, read(&metrics.snapshot()));
    say!(said, metrics.type_label());
    say!(said, short_type_name::<Tier>());

    let aggregator = MetricsAggregator::default();
    aggregator.register_source(Arc::clone(&metrics));
    aggregator.set_external_labels(vec![("worker".to_owned(), "w".to_owned())]);
    let families = aggregator.collect();
    // The crate's additional families come after these.
    say!(
        said,
        families[..19]
            .iter()
            .map(|family| family.name())
            .collect::<Vec<_>>()
    );
    say!(
        said,
        aggregator.desc()[..19]
            .iter()
            .map(|desc| &desc.help)
            .collect::<Vec<_>>()
    );
    let registry = prometheus::Registry::new();
    say!(
        said,
        MetricsAggregator::new().register_with(&registry).is_ok()
    );

    let config = StatsConfig::default();
    say!(said, (config.window_size, config.sample_interval));
    let config = StatsConfig {
        window_size: 2,
        sample_interval: Duration::from_millis(1),
    };
    let stats = Arc::new(StatsCollector::new(Arc::clone(&metrics), config));
    say!(said, stats.is_enabled());
    stats.set_enabled(true);
    stats.sample();
    say!(said, stats.latest());
    counted(&metrics);
    std::thread::sleep(Duration::from_millis(2));
    stats.sample();
    let StatsSnapshot {
        allocation_rate,
        eviction_rate,
        match_hit_rate,
        scan_hit_rate,
        allocation_gradient,
        eviction_gradient,
        inflight_mutable,
        inflight_immutable,
        reset_pool_size,
        inactive_pool_size,
    } = stats.window(1)[0];
    say!(said, (match_hit_rate, scan_hit_rate));
    say!(
        said,
        [
            allocation_rate,
            eviction_rate,
            allocation_gradient,
            eviction_gradient
        ]
        .map(|rate| rate > 0.0)
    );
    say!(
        said,
        [
            inflight_mutable,
            inflight_immutable,
            reset_pool_size,
            inactive_pool_size
        ]
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let task = stats.spawn();
        tokio::time::sleep(Duration::from_millis(10)).await;
        task.abort();
        say!(said, task.await.unwrap_err().is_cancelled());
    });
    say!(said, stats.window(9).len());
    said
}
