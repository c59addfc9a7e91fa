//! The metrics of one manager.

use std::fmt;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;

use super::gauges::GaugeBoard;
use super::stripes::Stripes;
use super::{Counter, Counts, GaugeSource, Gauges, MetricsSnapshot};

/// The counters and gauges of one manager, that is, of one tier.
///
/// [`BlockManager::metrics`](crate::BlockManager::metrics) returns those of a manager. They
/// show what the manager does. The methods below that change a number only change what is
/// shown, never the manager. Metrics created with [`new`](Self::new) belong to no manager and
/// show only what these methods have counted.
///
/// ```
/// use kvbm_lockfree::{BlockManager, BlockRegistry};
///
/// let manager = BlockManager::<()>::builder()
///     .block_count(8)
///     .block_size(16)
///     .registry(BlockRegistry::new())
///     .build()?;
/// let blocks = manager.allocate_blocks(3);
///
/// let snapshot = manager.metrics().snapshot();
/// assert_eq!(snapshot.allocations, 3);
/// assert_eq!((snapshot.inflight_mutable, snapshot.reset_pool_size), (3, 5));
/// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
/// ```
///
/// # What does it cost?
///
/// No method takes a lock. None allocates except [`new`](Self::new), which allocates 8 KiB of
/// counters. A manager increments a counter with a load and a store in the calling thread's
/// own row, or with an atomic addition if 30 other live threads already have a row. The methods
/// below always use an atomic addition. Reading a counter sums over the rows of all threads so
/// far, at most 32.
///
/// # Which ordering do counts have?
///
/// Counters are written with release ordering, and [`snapshot`](Self::snapshot) reads them
/// with acquire ordering. A thread that sees a count therefore also sees everything that the
/// counting thread did before. Gauges are changed with relaxed ordering.
pub struct BlockPoolMetrics {
    type_label: String,
    counters: Stripes,
    gauges: GaugeBoard,
}

impl BlockPoolMetrics {
    /// Creates metrics for a pool named `type_label`, all zero.
    pub fn new(type_label: String) -> Self {
        Self {
            type_label,
            counters: Stripes::new(),
            gauges: GaugeBoard::default(),
        }
    }

    /// Returns the name of the pool: the value of the `pool` label in exports.
    #[inline]
    pub fn type_label(&self) -> &str {
        &self.type_label
    }

    /// Reads all counters and gauges.
    ///
    /// While other threads use the manager, the values need not describe one moment. Even
    /// so, concurrent work makes no gauge negative and no part larger than its whole: there
    /// are never more hits than requested hashes, for example. Every block included in
    /// `registrations` can be matched.
    ///
    /// Takes a few reads per shard and per thread, regardless of the number of blocks.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let mut counts = self.counters.counts();
        let gauges = self.gauges.read(&counts);
        if self.counters.has_counts_by_hand() {
            self.counters.include_by_hand(&mut counts);
        }
        let of = |c| counts.of(c);
        MetricsSnapshot {
            allocations: of(Counter::Allocations),
            allocations_from_reset: of(Counter::AllocationsFromReset),
            evictions: of(Counter::Evictions),
            registrations: of(Counter::Registrations),
            duplicate_blocks: of(Counter::DuplicateBlocks),
            registration_dedup: of(Counter::RegistrationDedup),
            stagings: of(Counter::Stagings),
            match_hashes_requested: of(Counter::MatchHashesRequested),
            match_blocks_returned: of(Counter::MatchBlocksReturned),
            scan_hashes_requested: of(Counter::ScanHashesRequested),
            scan_blocks_returned: of(Counter::ScanBlocksReturned),
            eager_primary_to_inactive_total: of(Counter::EagerPrimaryToInactive),
            allocate_atomic_rollback_total: of(Counter::AllocateAtomicRollback),
            release_primary_noop_total: of(Counter::ReleasePrimaryNoop),
            release_duplicate_noop_total: of(Counter::ReleaseDuplicateNoop),
            inflight_mutable: gauges.inflight_mutable,
            inflight_immutable: gauges.inflight_immutable,
            reset_pool_size: gauges.reset_pool_size,
            inactive_pool_size: gauges.inactive_pool_size,
        }
    }

    /// Returns how many times an allocation searched all blocks because the policy plane was
    /// held for too long. Such a search does not evict in the policy's order.
    pub fn plane_fallbacks(&self) -> u64 {
        self.sum(Counter::PlaneFallbacks)
    }

    /// Returns how many free blocks were taken from another thread's shard.
    pub fn steals(&self) -> u64 {
        self.sum(Counter::Steals)
    }

    /// Returns how many removed entries of the manager's registry have not been freed yet, as
    /// [`BlockRegistry::pending_garbage`] does; 0 after the manager has been dropped.
    ///
    /// [`BlockRegistry::pending_garbage`]: crate::BlockRegistry::pending_garbage
    pub fn pending_garbage(&self) -> u64 {
        self.gauges.pending_garbage()
    }

    /// Returns a handle to the counters, for code that counts often.
    pub(crate) fn counters(&self) -> Stripes {
        self.counters.clone()
    }

    /// Adds `n` to a counter, as the engine does.
    #[cfg(all(test, not(kvbm_loom)))]
    pub(crate) fn add(&self, c: Counter, n: u64) {
        self.counters.add(c, n);
    }

    /// Reads what the engine has counted.
    #[inline]
    pub(crate) fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Reads a counter.
    pub(crate) fn sum(&self, c: Counter) -> u64 {
        self.counters.sum(c)
    }

    /// Derives the gauges from `source` from now on. Must be called at most once.
    ///
    /// Reading the gauges keeps the source alive for the duration of the read, so a reader
    /// may be the one that drops it.
    pub(crate) fn attach(&self, source: Weak<dyn GaugeSource>) {
        self.gauges.attach(source);
    }

    /// Keeps the last gauges of the attached source for later readers. Must be called at most
    /// once.
    pub(crate) fn retire(&self, last: Gauges) {
        self.gauges.retire(last);
    }
}

/// Methods that count.
impl BlockPoolMetrics {
    /// Counts `n` allocated blocks.
    #[inline]
    pub fn inc_allocations(&self, n: u64) {
        self.counters.add_by_hand(Counter::Allocations, n);
    }

    /// Counts `n` allocated blocks that were free.
    #[inline]
    pub fn inc_allocations_from_reset(&self, n: u64) {
        self.counters.add_by_hand(Counter::AllocationsFromReset, n);
    }

    /// Counts `n` evicted blocks.
    #[inline]
    pub fn inc_evictions(&self, n: u64) {
        self.counters.add_by_hand(Counter::Evictions, n);
    }

    /// Counts one registered block; see [`inc_registrations_by`](Self::inc_registrations_by).
    #[inline]
    pub fn inc_registrations(&self) {
        self.inc_registrations_by(1);
    }

    /// Counts `n` registered blocks. Call this once they can be matched.
    ///
    /// Readers use the count as a watermark: a thread that reads it in a
    /// [`snapshot`](Self::snapshot) also sees what the counting thread did before.
    #[inline]
    pub fn inc_registrations_by(&self, n: u64) {
        self.counters.add_by_hand(Counter::Registrations, n);
    }

    /// Counts one block registered as a duplicate of a primary with the same hash.
    #[inline]
    pub fn inc_duplicate_blocks(&self) {
        self.counters.add_by_hand(Counter::DuplicateBlocks, 1);
    }

    /// Counts one registration that returned the existing primary.
    #[inline]
    pub fn inc_registration_dedup(&self) {
        self.counters.add_by_hand(Counter::RegistrationDedup, 1);
    }

    /// Counts one staged block.
    #[inline]
    pub fn inc_stagings(&self) {
        self.counters.add_by_hand(Counter::Stagings, 1);
    }

    /// Counts `n` hashes requested in a match.
    #[inline]
    pub fn inc_match_hashes_requested(&self, n: u64) {
        self.counters.add_by_hand(Counter::MatchHashesRequested, n);
    }

    /// Counts `n` blocks returned by a match.
    #[inline]
    pub fn inc_match_blocks_returned(&self, n: u64) {
        self.counters.add_by_hand(Counter::MatchBlocksReturned, n);
    }

    /// Counts `n` hashes requested in a scan.
    #[inline]
    pub fn inc_scan_hashes_requested(&self, n: u64) {
        self.counters.add_by_hand(Counter::ScanHashesRequested, n);
    }

    /// Counts `n` blocks returned by a scan.
    #[inline]
    pub fn inc_scan_blocks_returned(&self, n: u64) {
        self.counters.add_by_hand(Counter::ScanBlocksReturned, n);
    }

    /// Counts one lookup that found a primary between its last use and its becoming inactive.
    #[inline]
    pub fn inc_eager_primary_to_inactive(&self) {
        self.counters
            .add_by_hand(Counter::EagerPrimaryToInactive, 1);
    }

    /// Counts one allocation rolled back because fewer blocks could be evicted than expected.
    #[inline]
    pub fn inc_allocate_atomic_rollback(&self) {
        self.counters
            .add_by_hand(Counter::AllocateAtomicRollback, 1);
    }

    /// Counts one release of a primary that had been reused or removed in the meantime.
    #[inline]
    pub fn inc_release_primary_noop(&self) {
        self.counters.add_by_hand(Counter::ReleasePrimaryNoop, 1);
    }

    /// Counts one release of a duplicate whose slot had been given to another block.
    #[inline]
    pub fn inc_release_duplicate_noop(&self) {
        self.counters.add_by_hand(Counter::ReleaseDuplicateNoop, 1);
    }
}

/// Methods that change what the gauges show.
impl BlockPoolMetrics {
    /// Raises the number of mutable guards shown by one.
    #[inline]
    pub fn inc_inflight_mutable(&self) {
        self.inc_inflight_mutable_by(1);
    }

    /// Raises the number of mutable guards shown by `n`.
    #[inline]
    pub fn inc_inflight_mutable_by(&self, n: i64) {
        self.gauges.inflight_mutable.fetch_add(n, Relaxed);
    }

    /// Lowers the number of mutable guards shown by one.
    #[inline]
    pub fn dec_inflight_mutable(&self) {
        self.dec_inflight_mutable_by(1);
    }

    /// Lowers the number of mutable guards shown by `n`.
    #[inline]
    pub fn dec_inflight_mutable_by(&self, n: i64) {
        self.gauges.inflight_mutable.fetch_sub(n, Relaxed);
    }

    /// Raises the number of immutable guards shown by one.
    #[inline]
    pub fn inc_inflight_immutable(&self) {
        self.inc_inflight_immutable_by(1);
    }

    /// Raises the number of immutable guards shown by `n`.
    #[inline]
    pub fn inc_inflight_immutable_by(&self, n: i64) {
        self.gauges.inflight_immutable.fetch_add(n, Relaxed);
    }

    /// Lowers the number of immutable guards shown by one.
    #[inline]
    pub fn dec_inflight_immutable(&self) {
        self.dec_inflight_immutable_by(1);
    }

    /// Lowers the number of immutable guards shown by `n`.
    #[inline]
    pub fn dec_inflight_immutable_by(&self, n: i64) {
        self.gauges.inflight_immutable.fetch_sub(n, Relaxed);
    }

    /// Makes the metrics show `size` free blocks now; later changes are added to that.
    #[inline]
    pub fn set_reset_pool_size(&self, size: i64) {
        let offset = size.wrapping_sub(self.gauges.derived(&self.counts()).reset_pool_size);
        self.gauges.reset_pool_size.store(offset, Relaxed);
    }

    /// Raises the number of free blocks shown by one.
    #[inline]
    pub fn inc_reset_pool_size(&self) {
        self.inc_reset_pool_size_by(1);
    }

    /// Raises the number of free blocks shown by `n`.
    #[inline]
    pub fn inc_reset_pool_size_by(&self, n: i64) {
        self.gauges.reset_pool_size.fetch_add(n, Relaxed);
    }

    /// Lowers the number of free blocks shown by one.
    #[inline]
    pub fn dec_reset_pool_size(&self) {
        self.dec_reset_pool_size_by(1);
    }

    /// Lowers the number of free blocks shown by `n`.
    #[inline]
    pub fn dec_reset_pool_size_by(&self, n: i64) {
        self.gauges.reset_pool_size.fetch_sub(n, Relaxed);
    }

    /// Makes the metrics show `size` inactive blocks now; later changes are added to that.
    #[inline]
    pub fn set_inactive_pool_size(&self, size: i64) {
        let offset = size.wrapping_sub(self.gauges.derived(&self.counts()).inactive_pool_size);
        self.gauges.inactive_pool_size.store(offset, Relaxed);
    }

    /// Raises the number of inactive blocks shown by one.
    #[inline]
    pub fn inc_inactive_pool_size(&self) {
        self.inc_inactive_pool_size_by(1);
    }

    /// Raises the number of inactive blocks shown by `n`.
    #[inline]
    pub fn inc_inactive_pool_size_by(&self, n: i64) {
        self.gauges.inactive_pool_size.fetch_add(n, Relaxed);
    }

    /// Lowers the number of inactive blocks shown by one.
    #[inline]
    pub fn dec_inactive_pool_size(&self) {
        self.dec_inactive_pool_size_by(1);
    }

    /// Lowers the number of inactive blocks shown by `n`.
    #[inline]
    pub fn dec_inactive_pool_size_by(&self, n: i64) {
        self.gauges.inactive_pool_size.fetch_sub(n, Relaxed);
    }
}

impl fmt::Debug for BlockPoolMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockPoolMetrics")
            .field("type_label", &self.type_label)
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Engine;

    impl GaugeSource for Engine {
        fn gauges(&self, _counts: &Counts) -> Gauges {
            Gauges {
                inflight_mutable: 1,
                inflight_immutable: 2,
                reset_pool_size: 3,
                inactive_pool_size: 4,
            }
        }

        fn pending_garbage(&self) -> u64 {
            5
        }
    }

    #[test]
    fn new_metrics_are_zero() {
        let metrics = BlockPoolMetrics::new("G1".to_owned());
        assert_eq!(metrics.type_label(), "G1");
        let reference = kvbm_logical::metrics::BlockPoolMetrics::new("G1".to_owned());
        assert_eq!(
            format!("{:?}", metrics.snapshot()),
            format!("{:?}", reference.snapshot())
        );
    }

    #[test]
    fn gauge_methods_move_what_the_engine_shows() {
        let metrics = BlockPoolMetrics::new("G1".to_owned());
        let engine: Arc<dyn GaugeSource> = Arc::new(Engine);
        metrics.attach(Arc::downgrade(&engine));
        assert_eq!(metrics.snapshot().reset_pool_size, 3);
        assert_eq!(metrics.pending_garbage(), 5);
        metrics.set_reset_pool_size(80);
        metrics.dec_reset_pool_size();
        metrics.set_inactive_pool_size(0);
        metrics.inc_inflight_mutable();
        metrics.dec_inflight_immutable_by(2);
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.reset_pool_size, 79);
        assert_eq!(snapshot.inactive_pool_size, 0);
        assert_eq!(snapshot.inflight_mutable, 2);
        assert_eq!(snapshot.inflight_immutable, 0);
    }

    #[test]
    fn an_engine_that_retires_leaves_its_gauges() {
        let metrics = BlockPoolMetrics::new("G1".to_owned());
        let engine: Arc<dyn GaugeSource> = Arc::new(Engine);
        metrics.attach(Arc::downgrade(&engine));
        metrics.retire(Gauges {
            reset_pool_size: 7,
            ..Gauges::default()
        });
        assert_eq!(metrics.snapshot().inactive_pool_size, 4, "still alive");
        drop(engine);
        assert_eq!(metrics.snapshot().inactive_pool_size, 0);
        assert_eq!(metrics.snapshot().reset_pool_size, 7);
    }

    #[test]
    fn internal_counters_are_not_shown() {
        let metrics = BlockPoolMetrics::new("G1".to_owned());
        let before = format!("{:?}", metrics.snapshot());
        metrics.add(Counter::MutableReleased, 3);
        metrics.add(Counter::PinsTaken, 4);
        assert_eq!(metrics.sum(Counter::MutableReleased), 3);
        assert_eq!(metrics.sum(Counter::PinsTaken), 4);
        assert_eq!(format!("{:?}", metrics.snapshot()), before);
    }
}
