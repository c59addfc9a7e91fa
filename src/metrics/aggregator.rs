//! Exporting metrics to Prometheus.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::BlockPoolMetrics;
use super::families::{COUNTERS, Family, GAUGES, OWN_COUNTERS, OWN_GAUGES};

/// The label that holds the name of the pool.
const POOL: &str = "pool";

/// The label that distinguishes pools with the same name, from the second on.
const POOL_NUMBER: &str = "pool_number";

/// A Prometheus collector for any number of managers.
///
/// Every value is labelled `pool`, with the [type label](BlockPoolMetrics::type_label) of its
/// source, plus the external labels. Clones share sources and labels.
///
/// ```
/// use kvbm_lockfree::metrics::MetricsAggregator;
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// #[derive(Clone)]
/// struct Gpu;
///
/// let prometheus = prometheus::Registry::new();
/// let aggregator = MetricsAggregator::new();
/// aggregator.register_with(&prometheus)?;
///
/// let manager = BlockManager::<Gpu>::builder()
///     .block_count(8)
///     .block_size(16)
///     .registry(BlockRegistry::new())
///     .aggregator(aggregator)
///     .build()?;
/// let blocks = manager.allocate_blocks(3);
///
/// let text = prometheus::TextEncoder::new().encode_to_string(&prometheus.gather())?;
/// assert!(text.contains("kvbm_allocations_total{pool=\"Gpu\"} 3"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is collected?
///
/// All metrics of `kvbm-logical`, under the same names, followed by three that only this
/// crate has: `kvbm_plane_fallbacks_total`, `kvbm_steals_total` and `kvbm_pending_garbage`.
///
/// # What if several managers have the same type label?
///
/// All managers of one metadata type do. Prometheus rejects a scrape that contains a series
/// twice, so all but one of them get an additional label, `pool_number`: the lowest number
/// from 2 that no other source with this type label has when the source is registered. A
/// source keeps its number while it is registered, so its series continue.
///
/// # What happens when a manager is dropped?
///
/// Its source stays, with its last values, until it is [removed](Self::remove_source), or
/// until another source with the same type label is registered while only the aggregator still
/// holds the metrics. The new source then takes its place, and its series start over as after a
/// restart.
///
/// # What does collecting cost?
///
/// A few reads per source and thread, and no writes to anything that managers use. Managers
/// never wait for a collection.
#[derive(Clone)]
pub struct MetricsAggregator {
    shared: Arc<Shared>,
}

struct Shared {
    sources: RwLock<Vec<Arc<Source>>>,
    external_labels: RwLock<Vec<(String, String)>>,
    descs: Vec<Desc>,
}

struct Source {
    /// Never cloned here, so that the reference count tells whether it is held elsewhere.
    metrics: Arc<BlockPoolMetrics>,
    /// Counts from 1; unique among the sources with the same type label.
    number: usize,
}

impl Source {
    /// Returns whether only the aggregator still holds the metrics, so that their values are
    /// final.
    fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.metrics) == 1
    }
}

impl MetricsAggregator {
    /// Creates an aggregator without sources, which collects nothing.
    pub fn new() -> Self {
        let described = COUNTERS.iter().map(Family::described);
        let described = described.chain(GAUGES.iter().map(Family::described));
        let described = described.chain(OWN_COUNTERS.iter().map(Family::described));
        let described = described.chain(OWN_GAUGES.iter().map(Family::described));
        let desc = |(name, help): (&str, &str)| {
            Desc::new(name.into(), help.into(), vec![POOL.into()], HashMap::new())
                .expect("the names of the metrics are valid")
        };
        Self {
            shared: Arc::new(Shared {
                sources: RwLock::default(),
                external_labels: RwLock::default(),
                descs: described.map(desc).collect(),
            }),
        }
    }

    /// Adds `source` to what is collected. Does nothing if it is a source already.
    ///
    /// Managers built [with this aggregator](crate::manager::BlockManagerConfigBuilder::aggregator)
    /// register themselves. For sources with the same type label, see [the type's
    /// documentation](Self#what-if-several-managers-have-the-same-type-label).
    pub fn register_source(&self, source: Arc<BlockPoolMetrics>) {
        let mut sources = self.sources_mut();
        if position(&sources, &source).is_some() {
            return;
        }
        let label = source.type_label();
        sources.retain(|other| !(other.metrics.type_label() == label && other.is_abandoned()));
        let namesakes = sources
            .iter()
            .filter(|other| other.metrics.type_label() == label);
        let taken: Vec<usize> = namesakes.map(|other| other.number).collect();
        // Among this many numbers, at least one is unused.
        let number = (1..=taken.len())
            .find(|number| !taken.contains(number))
            .unwrap_or(taken.len() + 1);
        sources.push(Arc::new(Source {
            metrics: source,
            number,
        }));
    }

    /// Stops collecting from `source`, and returns whether it was a source.
    ///
    /// To remove a manager's source after the manager has been dropped, keep a clone of its
    /// [`metrics`](crate::BlockManager::metrics).
    pub fn remove_source(&self, source: &Arc<BlockPoolMetrics>) -> bool {
        let mut sources = self.sources_mut();
        let position = position(&sources, source);
        position.map(|at| sources.remove(at)).is_some()
    }

    /// Replaces the external labels, which are added to every value: for example the
    /// instance or the worker.
    ///
    /// Do not name a label `pool` or `pool_number`: Prometheus rejects a series that has a
    /// label twice.
    pub fn set_external_labels(&self, labels: Vec<(String, String)>) {
        *self
            .shared
            .external_labels
            .write()
            .unwrap_or_else(PoisonError::into_inner) = labels;
    }

    /// Registers a clone of this aggregator with `registry`.
    ///
    /// # Errors
    ///
    /// Returns an error if `registry` already contains an aggregator, or another collector
    /// with a metric of the same name.
    pub fn register_with(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.clone()))
    }

    /// Returns the labels of `source`: `pool`, then `pool_number` if needed, then the
    /// external labels.
    fn labels(&self, source: &Source) -> Vec<proto::LabelPair> {
        let external = self
            .shared
            .external_labels
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let external = external.iter().map(|(name, value)| label(name, value));
        let number = (source.number > 1).then(|| label(POOL_NUMBER, &source.number.to_string()));
        std::iter::once(label(POOL, source.metrics.type_label()))
            .chain(number)
            .chain(external)
            .collect()
    }

    fn sources(&self) -> Vec<Arc<Source>> {
        self.shared
            .sources
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn sources_mut(&self) -> RwLockWriteGuard<'_, Vec<Arc<Source>>> {
        self.shared
            .sources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the position of `metrics` among the sources.
fn position(sources: &[Arc<Source>], metrics: &Arc<BlockPoolMetrics>) -> Option<usize> {
    sources
        .iter()
        .position(|source| Arc::ptr_eq(&source.metrics, metrics))
}

impl Default for MetricsAggregator {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MetricsAggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources();
        let names = sources.iter().map(|source| source.metrics.type_label());
        f.debug_struct("MetricsAggregator")
            .field("sources", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Collector for MetricsAggregator {
    fn desc(&self) -> Vec<&Desc> {
        self.shared.descs.iter().collect()
    }

    /// Returns one family per metric, with one value per source, or nothing if there are no
    /// sources.
    fn collect(&self) -> Vec<proto::MetricFamily> {
        let sources = self.sources();
        if sources.is_empty() {
            return Vec::new();
        }
        let labels: Vec<_> = sources.iter().map(|source| self.labels(source)).collect();
        let snapshots: Vec<_> = sources
            .iter()
            .map(|source| source.metrics.snapshot())
            .collect();
        let snapshots: Vec<_> = labels.iter().zip(&snapshots).collect();
        let pools: Vec<_> = labels
            .iter()
            .zip(sources.iter().map(|source| &*source.metrics))
            .collect();

        let families = COUNTERS.iter().map(|family| counters(family, &snapshots));
        let families = families.chain(GAUGES.iter().map(|family| gauges(family, &snapshots)));
        let families = families.chain(OWN_COUNTERS.iter().map(|family| counters(family, &pools)));
        let families = families.chain(OWN_GAUGES.iter().map(|family| gauges(family, &pools)));
        families.collect()
    }
}

type Labels = Vec<proto::LabelPair>;

/// Collects a counter from each of `pools`.
fn counters<S>(family: &Family<S, u64>, pools: &[(&Labels, &S)]) -> proto::MetricFamily {
    let kind = proto::MetricType::COUNTER;
    collect(family, kind, pools, |metric, value| {
        let mut counter = proto::Counter::default();
        counter.set_value(value as f64);
        metric.set_counter(counter);
    })
}

/// Collects a gauge from each of `pools`.
fn gauges<S>(family: &Family<S, i64>, pools: &[(&Labels, &S)]) -> proto::MetricFamily {
    let kind = proto::MetricType::GAUGE;
    collect(family, kind, pools, |metric, value| {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value as f64);
        metric.set_gauge(gauge);
    })
}

fn collect<S, V>(
    family: &Family<S, V>,
    kind: proto::MetricType,
    pools: &[(&Labels, &S)],
    set_value: impl Fn(&mut proto::Metric, V),
) -> proto::MetricFamily {
    let metrics = pools.iter().map(|&(labels, pool)| {
        let mut metric = proto::Metric::from_label(labels.clone());
        set_value(&mut metric, (family.read)(pool));
        metric
    });
    let mut collected = proto::MetricFamily::default();
    collected.set_name(family.name.into());
    collected.set_help(family.help.into());
    collected.set_field_type(kind);
    collected.set_metric(metrics.collect());
    collected
}

fn label(name: &str, value: &str) -> proto::LabelPair {
    let mut label = proto::LabelPair::default();
    label.set_name(name.into());
    label.set_value(value.into());
    label
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use crate::metrics::Counter;
    use kvbm_logical::metrics as reference;
    use prometheus::{Registry, TextEncoder};

    /// Returns whether the reference has a family with this name, too.
    fn is_shared(name: &str) -> bool {
        let own = OWN_COUNTERS.iter().map(|family| family.name);
        let mut own = own.chain(OWN_GAUGES.iter().map(|family| family.name));
        own.all(|own| own != name)
    }

    /// Encodes what `registry` gathers of the families that both crates have.
    fn text(registry: &Registry) -> String {
        let mut families = registry.gather();
        families.retain(|family| is_shared(family.name()));
        TextEncoder::new().encode_to_string(&families).unwrap()
    }

    /// Sets every counter and gauge of a pool to a different value.
    macro_rules! drive {
        ($metrics:expr, $n:expr) => {{
            let (metrics, n) = (&$metrics, $n);
            metrics.inc_allocations(n + 1);
            metrics.inc_allocations_from_reset(n + 2);
            metrics.inc_evictions(n + 3);
            metrics.inc_registrations_by(n + 4);
            metrics.inc_registrations();
            for _ in 0..n + 6 {
                metrics.inc_duplicate_blocks();
            }
            for _ in 0..n + 7 {
                metrics.inc_registration_dedup();
            }
            for _ in 0..n + 8 {
                metrics.inc_stagings();
            }
            metrics.inc_match_hashes_requested(n + 9);
            metrics.inc_match_blocks_returned(n + 10);
            metrics.inc_scan_hashes_requested(n + 11);
            metrics.inc_scan_blocks_returned(n + 12);
            for _ in 0..n + 13 {
                metrics.inc_eager_primary_to_inactive();
            }
            for _ in 0..n + 14 {
                metrics.inc_allocate_atomic_rollback();
            }
            for _ in 0..n + 15 {
                metrics.inc_release_primary_noop();
            }
            for _ in 0..n + 16 {
                metrics.inc_release_duplicate_noop();
            }
            metrics.inc_inflight_mutable_by(40);
            metrics.dec_inflight_mutable_by(n as i64);
            metrics.inc_inflight_mutable();
            metrics.inc_inflight_immutable_by(50);
            metrics.dec_inflight_immutable_by(n as i64);
            metrics.dec_inflight_immutable();
            metrics.set_reset_pool_size(60);
            metrics.inc_reset_pool_size_by(n as i64);
            metrics.dec_reset_pool_size_by(70);
            metrics.inc_reset_pool_size();
            metrics.inc_inactive_pool_size_by(80);
            metrics.set_inactive_pool_size(90);
            metrics.dec_inactive_pool_size_by(n as i64);
            metrics.dec_inactive_pool_size();
        }};
    }

    #[test]
    fn a_scrape_is_that_of_the_reference() {
        let ours = MetricsAggregator::new();
        let theirs = reference::MetricsAggregator::new();
        let (our_registry, their_registry) = (Registry::new(), Registry::new());
        ours.register_with(&our_registry).unwrap();
        theirs.register_with(&their_registry).unwrap();
        assert_eq!(text(&our_registry), text(&their_registry), "no source");

        for (n, tier) in ["G1", "G2", "Disk \"quoted\""].into_iter().enumerate() {
            let our_pool = Arc::new(BlockPoolMetrics::new(tier.to_owned()));
            let their_pool = Arc::new(reference::BlockPoolMetrics::new(tier.to_owned()));
            ours.register_source(Arc::clone(&our_pool));
            theirs.register_source(Arc::clone(&their_pool));
            assert_eq!(text(&our_registry), text(&their_registry), "{tier}, idle");
            drive!(our_pool, 100 * n as u64);
            drive!(their_pool, 100 * n as u64);
            assert_eq!(text(&our_registry), text(&their_registry), "{tier}, driven");
        }

        let labels: Vec<_> = [("worker_id", "w0"), ("instance_id", "node-1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        ours.clone().set_external_labels(labels.clone());
        theirs.set_external_labels(labels);
        let scraped = text(&our_registry);
        assert_eq!(scraped, text(&their_registry), "external labels");
        assert!(scraped.contains("worker_id=\"w0\""));
    }

    #[test]
    fn what_is_collected_is_that_of_the_reference() {
        let ours = MetricsAggregator::default();
        let theirs = reference::MetricsAggregator::default();
        for tier in ["b", "a"] {
            ours.register_source(Arc::new(BlockPoolMetrics::new(tier.to_owned())));
            theirs.register_source(Arc::new(reference::BlockPoolMetrics::new(tier.to_owned())));
            let mut collected = ours.collect();
            collected.retain(|family| is_shared(family.name()));
            assert_eq!(collected, theirs.collect(), "also in its order");
        }
    }

    #[test]
    fn own_families_show_what_the_pools_count() {
        let aggregator = MetricsAggregator::new();
        let pool = Arc::new(BlockPoolMetrics::new("G1".to_owned()));
        pool.add(Counter::PlaneFallbacks, 2);
        pool.add(Counter::Steals, 3);
        aggregator.register_source(pool);
        let mut own = aggregator.collect();
        own.retain(|family| !is_shared(family.name()));
        let text = TextEncoder::new().encode_to_string(&own).unwrap();
        for line in [
            "kvbm_plane_fallbacks_total{pool=\"G1\"} 2",
            "kvbm_steals_total{pool=\"G1\"} 3",
            "kvbm_pending_garbage{pool=\"G1\"} 0",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    /// Returns the exported lines of the allocation counter, one per source.
    fn allocations(aggregator: &MetricsAggregator) -> Vec<String> {
        let registry = Registry::new();
        aggregator.register_with(&registry).unwrap();
        let text = text(&registry);
        let lines = text.lines();
        let lines = lines.filter(|line| line.starts_with("kvbm_allocations_total"));
        lines.map(str::to_owned).collect()
    }

    fn pool(name: &str, allocations: u64) -> Arc<BlockPoolMetrics> {
        let pool = Arc::new(BlockPoolMetrics::new(name.to_owned()));
        pool.inc_allocations(allocations);
        pool
    }

    #[test]
    fn managers_of_one_type_have_series_of_their_own() {
        #[derive(Clone)]
        struct G1;
        let aggregator = MetricsAggregator::new();
        let build = || {
            crate::BlockManager::<G1>::builder()
                .block_count(8)
                .registry(crate::BlockRegistry::new())
                .aggregator(aggregator.clone())
                .build()
                .unwrap()
        };
        let (one, two) = (build(), build());
        let held = (one.allocate_blocks(1), two.allocate_blocks(2));
        let first = "kvbm_allocations_total{pool=\"G1\"} 1";
        let second = "kvbm_allocations_total{pool=\"G1\",pool_number=\"2\"} 2";
        assert_eq!(allocations(&aggregator), [first, second]);

        let metrics = Arc::clone(one.metrics());
        drop((held, one));
        assert_eq!(
            allocations(&aggregator),
            [first, second],
            "the last values stay"
        );
        assert!(aggregator.remove_source(&metrics));
        assert_eq!(allocations(&aggregator), [second], "and keep their labels");
        assert!(!aggregator.remove_source(&metrics));
        let three = build();
        let held = three.allocate_blocks(3);
        let third = "kvbm_allocations_total{pool=\"G1\"} 3";
        assert_eq!(allocations(&aggregator), [third, second]);

        drop((held, three));
        assert_eq!(allocations(&aggregator), [third, second]);
        let _four = build();
        let fourth = "kvbm_allocations_total{pool=\"G1\"} 0";
        assert_eq!(
            allocations(&aggregator),
            [fourth, second],
            "as after a restart"
        );
    }

    #[test]
    fn no_series_comes_twice() {
        let aggregator = MetricsAggregator::new();
        let pools = [pool("G1", 1), pool("G2", 2), pool("G1", 3), pool("G1", 4)];
        for pool in &pools {
            aggregator.register_source(Arc::clone(pool));
        }
        aggregator.register_source(Arc::clone(&pools[2]));
        for family in aggregator.collect() {
            let mut series: Vec<String> = family
                .get_metric()
                .iter()
                .map(|metric| format!("{:?}", metric.get_label()))
                .collect();
            assert_eq!(series.len(), 4);
            series.sort();
            series.dedup();
            assert_eq!(series.len(), 4, "{}", family.name());
        }
    }

    #[test]
    fn a_source_that_everybody_let_go_of_makes_room_for_its_successor() {
        let aggregator = MetricsAggregator::new();
        aggregator.register_source(pool("G1", 1));
        let alive = pool("G2", 2);
        aggregator.register_source(Arc::clone(&alive));
        let (first, second) = (
            "kvbm_allocations_total{pool=\"G1\"} 1",
            "kvbm_allocations_total{pool=\"G2\"} 2",
        );
        assert_eq!(allocations(&aggregator), [first, second]);
        aggregator.register_source(pool("G1", 5));
        let successor = "kvbm_allocations_total{pool=\"G1\"} 5";
        assert_eq!(allocations(&aggregator), [successor, second]);
    }

    #[test]
    fn every_family_is_described() {
        let aggregator = MetricsAggregator::new();
        aggregator.register_source(Arc::new(BlockPoolMetrics::new("G1".to_owned())));
        let described: Vec<_> = aggregator.desc();
        let described = described.iter().map(|desc| desc.fq_name.as_str());
        let collected = aggregator.collect();
        assert!(described.eq(collected.iter().map(|family| family.name())));
    }

    #[test]
    fn a_registry_takes_one_aggregator() {
        let registry = Registry::new();
        let aggregator = MetricsAggregator::new();
        assert!(aggregator.register_with(&registry).is_ok());
        assert!(aggregator.register_with(&registry).is_err());
    }
}
