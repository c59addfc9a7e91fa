//! The values of all metrics of a manager.

/// The counters and gauges of one manager, as read by
/// [`BlockPoolMetrics::snapshot`](super::BlockPoolMetrics::snapshot).
///
/// The fields are read one after the other, so while other threads work they need not
/// describe one moment. Between two snapshots taken by one thread, no counter decreases.
///
/// ```
/// use kvbm_lockfree::metrics::BlockPoolMetrics;
///
/// let metrics = BlockPoolMetrics::new("G1".to_owned());
/// let before = metrics.snapshot();
/// metrics.inc_allocations(3);
/// let after = metrics.snapshot();
/// assert_eq!(after.allocations - before.allocations, 3);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MetricsSnapshot {
    /// Blocks allocated.
    pub allocations: u64,
    /// Blocks allocated without evicting anything: they were free, or had been cleared.
    pub allocations_from_reset: u64,
    /// Inactive blocks evicted by allocations.
    pub evictions: u64,
    /// Blocks registered. A block is counted once it can be matched, so a thread that reads
    /// this count can match every block it includes.
    pub registrations: u64,
    /// Blocks registered as duplicates of a primary with the same hash.
    pub duplicate_blocks: u64,
    /// Registrations that returned the existing primary and freed the new block.
    pub registration_dedup: u64,
    /// Mutable blocks staged.
    pub stagings: u64,
    /// Hashes requested in matches.
    pub match_hashes_requested: u64,
    /// Blocks returned by matches.
    pub match_blocks_returned: u64,
    /// Hashes requested in scans.
    pub scan_hashes_requested: u64,
    /// Blocks returned by scans.
    pub scan_blocks_returned: u64,
    /// Lookups that found a primary between its last use and its becoming inactive. This
    /// crate's managers have no such state and never count one.
    pub eager_primary_to_inactive_total: u64,
    /// Allocations rolled back because fewer blocks could be evicted than expected. This
    /// crate's managers reserve blocks before they take them, and never count one.
    pub allocate_atomic_rollback_total: u64,
    /// Releases of a primary that had been reused or removed in the meantime. Never counted
    /// by this crate's managers.
    pub release_primary_noop_total: u64,
    /// Releases of a duplicate whose slot had been given to another block. Never counted by
    /// this crate's managers.
    pub release_duplicate_noop_total: u64,
    /// Mutable guards.
    pub inflight_mutable: i64,
    /// Immutable guards.
    pub inflight_immutable: i64,
    /// Free blocks, including cleared ones.
    pub reset_pool_size: i64,
    /// Inactive blocks: registered and not pinned. If other threads were working while
    /// the pool was cleared, a few inactive blocks may be counted as free or vice versa,
    /// until the cleared blocks have been reused; the sum with `reset_pool_size` is exact.
    pub inactive_pool_size: i64,
}
