//! All metrics of a pool, read once.

/// The counters and gauges of one manager at about one moment.
///
/// The fields are read one after the other: while other threads work they
/// need not add up. Every counter only ever grows between two snapshots that
/// one thread takes.
#[derive(Debug, Clone, Copy)]
pub struct MetricsSnapshot {
    /// Blocks handed out.
    pub allocations: u64,
    /// Blocks handed out that were free, so that nothing was evicted.
    pub allocations_from_reset: u64,
    /// Inactive blocks evicted to be handed out.
    pub evictions: u64,
    /// Blocks registered. A block is counted once it can be matched: whoever
    /// reads a count sees every block that it counts.
    pub registrations: u64,
    /// Blocks registered beside a primary of the same hash.
    pub duplicate_blocks: u64,
    /// Registrations answered with the primary that was there.
    pub registration_dedup: u64,
    /// Mutable blocks staged.
    pub stagings: u64,
    /// Hashes asked for in matches.
    pub match_hashes_requested: u64,
    /// Blocks that matches returned.
    pub match_blocks_returned: u64,
    /// Hashes asked for in scans.
    pub scan_hashes_requested: u64,
    /// Blocks that scans returned.
    pub scan_blocks_returned: u64,
    /// Look-ups that found a primary between its last use and its becoming
    /// inactive. There is no such moment, so that this is 0 unless a caller has counted one.
    pub eager_primary_to_inactive_total: u64,
    /// Allocations undone because fewer blocks could be evicted than were
    /// announced: a reservation never comes to nothing, so that this is 0 unless a
    /// caller has counted one.
    pub allocate_atomic_rollback_total: u64,
    /// Releases of a primary that found it in use again or gone. None does, so that this is 0
    /// unless a caller has counted one.
    pub release_primary_noop_total: u64,
    /// Releases of a duplicate that found another in its place. None does, so that this is 0
    /// unless a caller has counted one.
    pub release_duplicate_noop_total: u64,
    /// Blocks held by mutable and complete guards.
    pub inflight_mutable: i64,
    /// Blocks held by immutable guards.
    pub inflight_immutable: i64,
    /// Free blocks.
    pub reset_pool_size: i64,
    /// Registered blocks that nobody holds. Where other threads were at work during a clearing,
    /// a few of them may count as free ones, or free ones as these, until the cleared blocks
    /// have been used again; the sum with `reset_pool_size` is exact.
    pub inactive_pool_size: i64,
}
