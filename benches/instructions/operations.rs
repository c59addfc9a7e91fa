//! The operations and what each of them takes: the one place to change if an operation has become
//! faster, or slower for a reason.
//!
//! The numbers are those that `cargo bench --bench instructions -- --table` prints. A run fails if it
//! takes more than [`HEADROOM`] times as many instructions. Most counts are the same in every run.
//! Those of matches differ by up to 14 %, since the keys of the hash tables are random: a request with a
//! block that is not the first of its chain takes a longer path. After a change, print the table and
//! copy its numbers.

/// The limit of a run, as a multiple of the number given here: more than the keys of the hash tables
/// can account for, but less than a change worth knowing about.
const HEADROOM: f64 = 1.16;

/// A measured operation.
pub struct Operation {
    /// The benchmark's function and case.
    pub name: &'static str,
    /// The description in the table.
    pub what: &'static str,
    /// The number of blocks that one run handles (or calls or hashes, if `what` says so).
    pub blocks: u64,
    /// Instructions per block with the methods that the reference has, too.
    pub drop_in: Option<f64>,
    /// Instructions per block with the methods that only this crate has; see `own`.
    pub own: Option<f64>,
}

const fn operation(
    name: &'static str,
    what: &'static str,
    blocks: u64,
    drop_in: Option<f64>,
    own: Option<f64>,
) -> Operation {
    Operation {
        name,
        what,
        blocks,
        drop_in,
        own,
    }
}

#[rustfmt::skip]
pub const OPERATIONS: &[Operation] = &[
    // name, what, blocks, instructions per block: drop-in methods, own methods
    operation("allocate_1.lru", "allocate 1 + drop", 1_000, Some(363.0), Some(130.0)),
    operation("allocate_32.lru", "allocate 32 + drop", 3_200, Some(66.3), Some(34.4)),
    operation("match_active.lru", "match 32 active + drop", 3_200, Some(80.0), Some(73.3)),
    operation("match_inactive.lru", "match 32 inactive + drop, LRU", 3_200, Some(288.0), Some(210.0)),
    operation("match_inactive.multi_lru", "match 32 inactive + drop, multi-level LRU, frequency tracker", 3_200, Some(639.9), Some(653.0)),
    operation("match_inactive.lineage_tick", "match 32 inactive + drop, lineage by tick", 3_200, Some(395.0), Some(317.0)),
    operation("match_miss.lru", "match 32, a miss at the first; per call", 1_000, Some(222.0), Some(123.0)),
    operation("scan_matches.lru", "scan_matches of 32 inactive + drop", 3_200, Some(752.2), None),
    operation("lifecycle.lru", "full lifecycle of 32 under eviction, LRU", 3_200, Some(728.0), Some(618.0)),
    operation("lifecycle.multi_lru", "full lifecycle of 32 under eviction, multi-level LRU", 3_200, Some(1364.0), Some(1337.0)),
    operation("lifecycle.lineage_tick", "full lifecycle of 32 under eviction, lineage by tick", 3_200, Some(1026.0), Some(916.0)),
    operation("lifecycle.lineage_fifo", "full lifecycle of 32 under eviction, lineage by FIFO", 3_200, Some(1009.0), Some(898.0)),
    operation("mixed.lru", "mixed requests of 32, LRU", 3_200, Some(685.0), Some(582.0)),
    operation("mixed.lineage_tick", "mixed requests of 32, lineage by tick", 3_200, Some(963.0), Some(868.0)),
    operation("register_duplicates.allow", "register 32 duplicates, allowed, + drop", 3_200, Some(478.0), Some(493.0)),
    operation("register_duplicates.reject", "register 32 duplicates, rejected, + drop", 3_200, Some(356.0), Some(351.0)),
    operation("clone_guard.lru", "clone + drop", 1_000, Some(35.0), None),
    operation("upgrade.active", "upgrade a weak guard of an active block + drop", 1_000, Some(63.2), None),
    operation("upgrade.inactive", "upgrade a weak guard of an inactive block + drop", 1_000, Some(932.0), None),
    operation("touch.tracker", "touch", 3_200, Some(155.0), None),
    operation("check_presence.lru", "check_presence of 32; per hash", 3_200, Some(65.5), None),
    operation("register_handle.new", "register a hash without a block + drop the handle", 1_000, Some(536.0), None),
    operation("match_handle.held", "look up a hash that has a handle + drop the new handle", 1_000, Some(271.0), None),
    operation("first_allocation.lru", "first allocation of a pool, of 32", 32, Some(32.6), None),
    operation("evict_pool.lru", "allocate a full pool of 4,096, which evicts all, LRU", 4_096, Some(206.0), Some(206.0)),
    operation("evict_pool.lineage_tick", "allocate a full pool of 4,096, which evicts all, lineage by tick", 4_096, Some(316.0), Some(316.0)),
    operation("reset_pool.lru", "reset_inactive_pool of 4,096 inactive blocks, LRU", 4_096, Some(894.0), None),
    operation("reset_pool.lineage_tick", "reset_inactive_pool of 4,096 inactive blocks, lineage by tick", 4_096, Some(1018.0), None),
    operation("reset_pool.empty", "reset_inactive_pool of 4,096 free blocks (here: a sweep)", 4_096, Some(8.2), None),
    operation("refused.lru", "an allocation refused; per call", 1_000, Some(53.1), None),
    operation("grow_registry.from_empty", "register 32,768 hashes without blocks in an empty registry", 32_768, Some(536.0), None),
    operation("build_manager.lru", "build a manager of 4,096 blocks, LRU", 4_096, Some(45.1), None),
    operation("build_manager.lineage_tick", "build a manager of 4,096 blocks, lineage by tick", 4_096, Some(71.0), None),
    operation("snapshot.lru", "metrics snapshot of a pool of 4,096; per call", 10, Some(435.0), None),
    operation("halve_counters.tracker", "halve the counters of a tracker for 4,096 hashes; per halving", 16, Some(16740.0), None),
    operation("lifecycle.lrfu", "full lifecycle of 32 under eviction, LRFU", 3_200, None, Some(1700.1)),
    operation("lifecycle.tinylfu", "full lifecycle of 32 under eviction, W-TinyLFU", 3_200, None, Some(2718.1)),
    operation("lifecycle.custom", "full lifecycle of 32 under eviction, a user's own policy", 3_200, None, Some(739.0)),
    operation("retained.lru", "full lifecycle of 32 under eviction, LRU, a directive for every other request", 3_200, None, Some(1987.0)),
    operation("match_inactive.lrfu", "match 32 inactive + drop, LRFU", 3_200, None, Some(870.6)),
    operation("match_inactive.tinylfu", "match 32 inactive + drop, W-TinyLFU", 3_200, None, Some(1239.0)),
    operation("clear.lru", "clear_inactive_pool of 4,096 inactive blocks; per call", 100, None, Some(642.9)),
    operation("take_forgotten.lru", "allocate 32 cleared blocks", 3_200, None, Some(315.0)),
    operation("lease.lru", "lease 32 + release the lease", 3_200, None, Some(186.0)),
    operation("set_retention.lru", "set_retention of 32 by hash", 3_200, None, Some(381.1)),
    operation("evict_1.kept_1024", "allocate 1, LRU, after 1,024 directives", 1, None, Some(10000.0)),
    operation("evict_1.kept_3968", "allocate 1, LRU, after 3,968 directives", 1, None, Some(10000.0)),
    operation("evict_1.expired_1024", "allocate 1, LRU, after 1,024 directives that have expired", 1, None, Some(100000.0)),
    operation("evict_1.expired_3968", "allocate 1, LRU, after 3,968 directives that have expired", 1, None, Some(100000.0)),
    operation("first_directive.small", "first directive of a pool of 4,096", 1, None, Some(184239.1)),
    operation("first_directive.large", "first directive of a pool of 131,072", 1, None, Some(20000.0)),
    operation("snapshot.large", "metrics snapshot of a pool of 131,072; per call", 10, None, Some(435.0)),
    operation("registered_count.large", "registered_count with 131,072 cached blocks; per call", 10, None, Some(619.9)),
    operation("audit.lru", "audit of a pool of 4,096, LRU", 4_096, None, Some(1058.0)),
    operation("audit.lineage_tick", "audit of a pool of 4,096, lineage by tick", 4_096, None, Some(1531.0)),
];

impl Operation {
    pub fn named(name: &str) -> &'static Self {
        OPERATIONS
            .iter()
            .find(|operation| operation.name == name)
            .unwrap_or_else(|| panic!("{name} is not among the operations"))
    }

    /// Returns the number of instructions a run may take if `a_block` is the number per block.
    pub fn limit(&self, a_block: Option<f64>) -> u64 {
        let a_block = a_block.unwrap_or_else(|| panic!("{} has no limit", self.name));
        (a_block * self.blocks as f64 * HEADROOM) as u64
    }
}
