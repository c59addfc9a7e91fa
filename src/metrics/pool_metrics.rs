//! The metrics of one manager.

use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;

use super::gauges::GaugeBoard;
use super::stripes::Stripes;
use super::{Counter, Counts, GaugeSource, Gauges, MetricsSnapshot};

/// Counters and gauges of one manager, that is, of one tier.
///
/// Made by itself, this is a set of numbers: every method changes one, and a
/// [`snapshot`](Self::snapshot) shows them. The metrics of a manager show
/// what the manager does, and the methods below that change a number change
/// what is shown on top of it; they never change the manager.
///
/// # Cost
///
/// No method takes a lock or allocates, [`new`](Self::new) excepted (8 KiB of
/// counters). A manager raises a counter by a plain addition to a number of the
/// calling thread's own, and by a locked one from the 31st live thread on; the methods
/// below by a locked one. Reading sums over as many such numbers as there are threads, at
/// most 32 for each counter.
///
/// # Order
///
/// Counters are raised by Release writes, which pair with the Acquire reads of
/// [`snapshot`](Self::snapshot): whoever sees a count sees what the counting thread did
/// before. Gauges are changed by Relaxed writes.
pub struct BlockPoolMetrics {
    type_label: String,
    counters: Stripes,
    gauges: GaugeBoard,
}

impl BlockPoolMetrics {
    /// Metrics of a pool called `type_label`, all zero.
    pub fn new(type_label: String) -> Self {
        Self {
            type_label,
            counters: Stripes::new(),
            gauges: GaugeBoard::default(),
        }
    }

    /// What the pool is called.
    #[inline]
    pub fn type_label(&self) -> &str {
        &self.type_label
    }

    /// Reads everything.
    ///
    /// Of a manager that is in use, the numbers need not belong to one
    /// moment, but no gauge is negative on that account, and a part is not above its whole:
    /// no more hashes have been found than asked for. Every block that `registrations`
    /// counts can be matched.
    ///
    /// Reads a few words for each shard and for each thread, however many blocks there are.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let counts = self.counts();
        let gauges = self.gauges.read(&counts);
        MetricsSnapshot {
            allocations: counts.shown(Counter::Allocations),
            allocations_from_reset: counts.shown(Counter::AllocationsFromReset),
            evictions: counts.shown(Counter::Evictions),
            registrations: counts.shown(Counter::Registrations),
            duplicate_blocks: counts.shown(Counter::DuplicateBlocks),
            registration_dedup: counts.shown(Counter::RegistrationDedup),
            stagings: counts.shown(Counter::Stagings),
            match_hashes_requested: counts.shown(Counter::MatchHashesRequested),
            match_blocks_returned: counts.shown(Counter::MatchBlocksReturned),
            scan_hashes_requested: counts.shown(Counter::ScanHashesRequested),
            scan_blocks_returned: counts.shown(Counter::ScanBlocksReturned),
            eager_primary_to_inactive_total: counts.shown(Counter::EagerPrimaryToInactive),
            allocate_atomic_rollback_total: counts.shown(Counter::AllocateAtomicRollback),
            release_primary_noop_total: counts.shown(Counter::ReleasePrimaryNoop),
            release_duplicate_noop_total: counts.shown(Counter::ReleaseDuplicateNoop),
            inflight_mutable: gauges.inflight_mutable,
            inflight_immutable: gauges.inflight_immutable,
            reset_pool_size: gauges.reset_pool_size,
            inactive_pool_size: gauges.inactive_pool_size,
        }
    }

    /// How often an allocation did without the policy plane, because whoever had
    /// it did not come back: then victims are not chosen by the policy.
    pub fn plane_fallbacks(&self) -> u64 {
        self.sum(Counter::PlaneFallbacks)
    }

    /// How many free blocks were taken from another thread's shard.
    pub fn steals(&self) -> u64 {
        self.sum(Counter::Steals)
    }

    /// How many entries of the manager's registry have been removed and not been
    /// freed yet, as [`BlockRegistry::pending_garbage`]; 0 after the manager's end.
    ///
    /// [`BlockRegistry::pending_garbage`]: crate::BlockRegistry::pending_garbage
    pub fn pending_garbage(&self) -> u64 {
        self.gauges.pending_garbage()
    }

    /// The counters, for who counts often.
    pub(crate) fn counters(&self) -> Stripes {
        self.counters.clone()
    }

    /// Adds `n` to a counter.
    #[cfg(all(test, not(kvbm_loom)))]
    pub(crate) fn add(&self, c: Counter, n: u64) {
        self.counters.add(c, n);
    }

    /// Reads all counters.
    pub(crate) fn counts(&self) -> Counts {
        self.counters.counts()
    }

    /// Reads a counter.
    pub(crate) fn sum(&self, c: Counter) -> u64 {
        self.counters.sum(c)
    }

    /// Derives the gauges from `source` from now on; to be called once.
    ///
    /// A reading holds the source while it asks it. It may so be the last to
    /// let go of it.
    pub(crate) fn attach(&self, source: Weak<dyn GaugeSource>) {
        self.gauges.attach(source);
    }

    /// Keeps the last gauges of the source that was attached, for readings
    /// after its end; to be called once.
    pub(crate) fn retire(&self, last: Gauges) {
        self.gauges.retire(last);
    }
}

/// Counters.
impl BlockPoolMetrics {
    /// Counts `n` blocks handed out.
    #[inline]
    pub fn inc_allocations(&self, n: u64) {
        self.counters.add_by_hand(Counter::Allocations, n);
    }

    /// Counts `n` blocks handed out that were free.
    #[inline]
    pub fn inc_allocations_from_reset(&self, n: u64) {
        self.counters.add_by_hand(Counter::AllocationsFromReset, n);
    }

    /// Counts `n` inactive blocks evicted.
    #[inline]
    pub fn inc_evictions(&self, n: u64) {
        self.counters.add_by_hand(Counter::Evictions, n);
    }

    /// Counts a registered block; see
    /// [`inc_registrations_by`](Self::inc_registrations_by).
    #[inline]
    pub fn inc_registrations(&self) {
        self.inc_registrations_by(1);
    }

    /// Counts `n` registered blocks, to be called once they can be matched.
    ///
    /// Callers take the count for a watermark: who reads it in a
    /// [`snapshot`](Self::snapshot) also sees what the counting thread did
    /// before.
    #[inline]
    pub fn inc_registrations_by(&self, n: u64) {
        self.counters.add_by_hand(Counter::Registrations, n);
    }

    /// Counts a block registered beside a primary of its hash.
    #[inline]
    pub fn inc_duplicate_blocks(&self) {
        self.counters.add_by_hand(Counter::DuplicateBlocks, 1);
    }

    /// Counts a registration answered with the primary that was there.
    #[inline]
    pub fn inc_registration_dedup(&self) {
        self.counters.add_by_hand(Counter::RegistrationDedup, 1);
    }

    /// Counts a mutable block staged.
    #[inline]
    pub fn inc_stagings(&self) {
        self.counters.add_by_hand(Counter::Stagings, 1);
    }

    /// Counts `n` hashes asked for in a match.
    #[inline]
    pub fn inc_match_hashes_requested(&self, n: u64) {
        self.counters.add_by_hand(Counter::MatchHashesRequested, n);
    }

    /// Counts `n` blocks that a match returned.
    #[inline]
    pub fn inc_match_blocks_returned(&self, n: u64) {
        self.counters.add_by_hand(Counter::MatchBlocksReturned, n);
    }

    /// Counts `n` hashes asked for in a scan.
    #[inline]
    pub fn inc_scan_hashes_requested(&self, n: u64) {
        self.counters.add_by_hand(Counter::ScanHashesRequested, n);
    }

    /// Counts `n` blocks that a scan returned.
    #[inline]
    pub fn inc_scan_blocks_returned(&self, n: u64) {
        self.counters.add_by_hand(Counter::ScanBlocksReturned, n);
    }

    /// Counts a look-up that found a primary between its last use and its
    /// becoming inactive.
    #[inline]
    pub fn inc_eager_primary_to_inactive(&self) {
        self.counters
            .add_by_hand(Counter::EagerPrimaryToInactive, 1);
    }

    /// Counts an allocation undone because fewer blocks could be evicted than
    /// were announced.
    #[inline]
    pub fn inc_allocate_atomic_rollback(&self) {
        self.counters
            .add_by_hand(Counter::AllocateAtomicRollback, 1);
    }

    /// Counts a release of a primary that found it in use again or gone.
    #[inline]
    pub fn inc_release_primary_noop(&self) {
        self.counters.add_by_hand(Counter::ReleasePrimaryNoop, 1);
    }

    /// Counts a release of a duplicate that found another in its place.
    #[inline]
    pub fn inc_release_duplicate_noop(&self) {
        self.counters.add_by_hand(Counter::ReleaseDuplicateNoop, 1);
    }
}

/// Gauges.
impl BlockPoolMetrics {
    /// Shows one more block held by a mutable or complete guard.
    #[inline]
    pub fn inc_inflight_mutable(&self) {
        self.inc_inflight_mutable_by(1);
    }

    /// Shows `n` more blocks held by mutable or complete guards.
    #[inline]
    pub fn inc_inflight_mutable_by(&self, n: i64) {
        self.gauges.inflight_mutable.fetch_add(n, Relaxed);
    }

    /// Shows one fewer block held by a mutable or complete guard.
    #[inline]
    pub fn dec_inflight_mutable(&self) {
        self.dec_inflight_mutable_by(1);
    }

    /// Shows `n` fewer blocks held by mutable or complete guards.
    #[inline]
    pub fn dec_inflight_mutable_by(&self, n: i64) {
        self.gauges.inflight_mutable.fetch_sub(n, Relaxed);
    }

    /// Shows one more block held by an immutable guard.
    #[inline]
    pub fn inc_inflight_immutable(&self) {
        self.inc_inflight_immutable_by(1);
    }

    /// Shows `n` more blocks held by immutable guards.
    #[inline]
    pub fn inc_inflight_immutable_by(&self, n: i64) {
        self.gauges.inflight_immutable.fetch_add(n, Relaxed);
    }

    /// Shows one fewer block held by an immutable guard.
    #[inline]
    pub fn dec_inflight_immutable(&self) {
        self.dec_inflight_immutable_by(1);
    }

    /// Shows `n` fewer blocks held by immutable guards.
    #[inline]
    pub fn dec_inflight_immutable_by(&self, n: i64) {
        self.gauges.inflight_immutable.fetch_sub(n, Relaxed);
    }

    /// Shows `size` free blocks from here on.
    #[inline]
    pub fn set_reset_pool_size(&self, size: i64) {
        let offset = size.wrapping_sub(self.gauges.derived(&self.counts()).reset_pool_size);
        self.gauges.reset_pool_size.store(offset, Relaxed);
    }

    /// Shows one more free block.
    #[inline]
    pub fn inc_reset_pool_size(&self) {
        self.inc_reset_pool_size_by(1);
    }

    /// Shows `n` more free blocks.
    #[inline]
    pub fn inc_reset_pool_size_by(&self, n: i64) {
        self.gauges.reset_pool_size.fetch_add(n, Relaxed);
    }

    /// Shows one fewer free block.
    #[inline]
    pub fn dec_reset_pool_size(&self) {
        self.dec_reset_pool_size_by(1);
    }

    /// Shows `n` fewer free blocks.
    #[inline]
    pub fn dec_reset_pool_size_by(&self, n: i64) {
        self.gauges.reset_pool_size.fetch_sub(n, Relaxed);
    }

    /// Shows `size` registered blocks that nobody holds from here on.
    #[inline]
    pub fn set_inactive_pool_size(&self, size: i64) {
        let offset = size.wrapping_sub(self.gauges.derived(&self.counts()).inactive_pool_size);
        self.gauges.inactive_pool_size.store(offset, Relaxed);
    }

    /// Shows one more registered block that nobody holds.
    #[inline]
    pub fn inc_inactive_pool_size(&self) {
        self.inc_inactive_pool_size_by(1);
    }

    /// Shows `n` more registered blocks that nobody holds.
    #[inline]
    pub fn inc_inactive_pool_size_by(&self, n: i64) {
        self.gauges.inactive_pool_size.fetch_add(n, Relaxed);
    }

    /// Shows one fewer registered block that nobody holds.
    #[inline]
    pub fn dec_inactive_pool_size(&self) {
        self.dec_inactive_pool_size_by(1);
    }

    /// Shows `n` fewer registered blocks that nobody holds.
    #[inline]
    pub fn dec_inactive_pool_size_by(&self, n: i64) {
        self.gauges.inactive_pool_size.fetch_sub(n, Relaxed);
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
