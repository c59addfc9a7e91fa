//! The exported metrics: names, help texts, and where each value is read.

use super::{BlockPoolMetrics, MetricsSnapshot};

/// A metric, and how it is read from a pool's snapshot or from the pool itself.
pub(super) struct Family<S, V> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) read: fn(&S) -> V,
}

impl<S, V> Family<S, V> {
    /// Returns the name and the help text.
    pub(super) fn described(&self) -> (&'static str, &'static str) {
        (self.name, self.help)
    }
}

/// The counters, in the order in which they are collected.
pub(super) const COUNTERS: [Family<MetricsSnapshot, u64>; 15] = [
    Family {
        name: "kvbm_allocations_total",
        help: "Total blocks allocated from pools",
        read: |s| s.allocations,
    },
    Family {
        name: "kvbm_allocations_from_reset_total",
        help: "Total blocks allocated from the reset pool",
        read: |s| s.allocations_from_reset,
    },
    Family {
        name: "kvbm_evictions_total",
        help: "Total blocks evicted from inactive pool",
        read: |s| s.evictions,
    },
    Family {
        name: "kvbm_registrations_total",
        help: "Total blocks registered (CompleteBlock -> ImmutableBlock)",
        read: |s| s.registrations,
    },
    Family {
        name: "kvbm_duplicate_blocks_total",
        help: "Total duplicate blocks created (Allow policy)",
        read: |s| s.duplicate_blocks,
    },
    Family {
        name: "kvbm_registration_dedup_total",
        help: "Total block registrations deduplicated (Reject policy)",
        read: |s| s.registration_dedup,
    },
    Family {
        name: "kvbm_stagings_total",
        help: "Total MutableBlock -> CompleteBlock transitions",
        read: |s| s.stagings,
    },
    Family {
        name: "kvbm_match_hashes_requested_total",
        help: "Total input hash occurrences requested in match_blocks and \
               match_blocks_scattered calls",
        read: |s| s.match_hashes_requested,
    },
    Family {
        name: "kvbm_match_blocks_returned_total",
        help: "Total block hit occurrences returned from match_blocks and \
               match_blocks_scattered calls",
        read: |s| s.match_blocks_returned,
    },
    Family {
        name: "kvbm_scan_hashes_requested_total",
        help: "Total input hash occurrences requested in scan_matches calls",
        read: |s| s.scan_hashes_requested,
    },
    Family {
        name: "kvbm_scan_blocks_returned_total",
        help: "Total distinct matching hashes returned from scan_matches calls",
        read: |s| s.scan_blocks_returned,
    },
    Family {
        name: "kvbm_eager_primary_to_inactive_total",
        help: "Lookup-driven Primary→Inactive transitions \
               (race-window branch — sustained non-zero rate is a hot-contention signal)",
        read: |s| s.eager_primary_to_inactive_total,
    },
    Family {
        name: "kvbm_allocate_atomic_rollback_total",
        help: "Atomic-allocation rollbacks due to inactive backend under-allocation \
               (should be 0 in production; non-zero indicates a backend invariant violation)",
        read: |s| s.allocate_atomic_rollback_total,
    },
    Family {
        name: "kvbm_release_primary_noop_total",
        help: "ImmutableBlockInner drop transitions that no-op'd because a concurrent \
               lookup already eagerly transitioned the slot",
        read: |s| s.release_primary_noop_total,
    },
    Family {
        name: "kvbm_release_duplicate_noop_total",
        help: "Duplicate-block drop transitions that no-op'd due to slot-identity mismatch",
        read: |s| s.release_duplicate_noop_total,
    },
];

/// The gauges, which are collected after the counters.
pub(super) const GAUGES: [Family<MetricsSnapshot, i64>; 4] = [
    Family {
        name: "kvbm_inflight_mutable",
        help: "Current MutableBlocks held outside pool",
        read: |s| s.inflight_mutable,
    },
    Family {
        name: "kvbm_inflight_immutable",
        help: "Current ImmutableBlocks held outside pool",
        read: |s| s.inflight_immutable,
    },
    Family {
        name: "kvbm_reset_pool_size",
        help: "Current reset pool size",
        read: |s| s.reset_pool_size,
    },
    Family {
        name: "kvbm_inactive_pool_size",
        help: "Current inactive pool size",
        read: |s| s.inactive_pool_size,
    },
];

/// Counters that only this crate has.
pub(super) const OWN_COUNTERS: [Family<BlockPoolMetrics, u64>; 2] = [
    Family {
        name: "kvbm_plane_fallbacks_total",
        help: "Searches of all blocks because the eviction policy's lock was held for too long",
        read: BlockPoolMetrics::plane_fallbacks,
    },
    Family {
        name: "kvbm_steals_total",
        help: "Total free blocks taken from another thread's shard",
        read: BlockPoolMetrics::steals,
    },
];

/// Gauges that only this crate has.
pub(super) const OWN_GAUGES: [Family<BlockPoolMetrics, i64>; 1] = [Family {
    name: "kvbm_pending_garbage",
    help: "Registry entries removed but not freed yet; counted per registry and repeated for each of its pools",
    read: |pool| pool.pending_garbage() as i64,
}];
