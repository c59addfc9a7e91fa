//! The results of operations and the observable state, as plain data that both crates must produce
//! alike.
//!
//! Block ids are not part of it, because the crates may hand out different ones. What must agree is
//! which guards share a block; see [`TierView::identities`].

use dynamo_tokens::PositionalLineageHash;

/// The result of one operation.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// There was no manager, guard, handle or token block to operate on.
    Skipped,
    Done,
    /// An allocation, or `None` if it was refused.
    Allocated(Option<Allocation>),
    /// Registered blocks, in the order in which they were returned.
    Held(Vec<Held>),
    /// Registered blocks, aligned with the input.
    HeldOrMissed(Vec<Option<Held>>),
    /// A block staged under this hash.
    Staged(PositionalLineageHash),
    /// An error's message, and whether it returned the block that was passed in.
    Refused {
        message: String,
        block_returned: bool,
    },
    /// An error of the registry or the pool.
    Failed(String),
    Handle(Option<HandleView>),
    Handles(Vec<HandleView>),
    Count(u32),
    Attachments(Attachments),
    Several(Vec<Outcome>),
}

impl Outcome {
    pub fn of<E: std::fmt::Display>(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct Allocation {
    pub count: usize,
    /// `None` if the caller did not ask for evicted hashes.
    pub evicted: Option<Vec<PositionalLineageHash>>,
}

/// A registered block, as seen through its guard.
#[derive(Debug, PartialEq)]
pub struct Held {
    pub hash: PositionalLineageHash,
    pub use_count: usize,
}

/// A registration handle, and the tiers that hold its hash.
#[derive(Debug, PartialEq)]
pub struct HandleView {
    pub hash: PositionalLineageHash,
    pub present: [bool; 2],
    pub present_any: bool,
    pub from_registry: bool,
}

/// The attachments of one type, read through each accessor.
#[derive(Debug, PartialEq)]
pub struct Attachments {
    pub unique: Option<String>,
    pub multiple: Vec<String>,
    pub all: (Option<String>, Vec<String>),
}

/// The state that can be observed without changing anything.
#[derive(Debug, PartialEq)]
pub struct Observation {
    pub tiers: Vec<TierView>,
    pub registered_count: usize,
    pub entries: Vec<EntryView>,
    pub handles: Vec<HandleView>,
    /// The touch callbacks that ran since the last observation, with their arguments.
    pub callbacks: Vec<(usize, PositionalLineageHash)>,
    /// The touches that reached the user's tracker since the last observation.
    pub touches: Vec<u128>,
}

#[derive(Debug, PartialEq)]
pub struct TierView {
    /// `None` after the manager has been dropped.
    pub manager: Option<ManagerView>,
    pub metrics: Metrics,
    pub mutable_sizes: Vec<usize>,
    pub complete: Vec<(PositionalLineageHash, usize)>,
    pub immutable: Vec<Held>,
    pub weak: Vec<PositionalLineageHash>,
    pub pins: Vec<Held>,
    /// One label per guard: mutable, complete, immutable, pins, in this order. Two guards have the
    /// same label if and only if they hold the same block.
    pub identities: Vec<usize>,
    /// Whether every pin names the manager that the guards came from.
    pub pins_name_manager: bool,
}

#[derive(Debug, PartialEq)]
pub struct ManagerView {
    pub available: usize,
    pub total: usize,
    pub block_size: usize,
}

/// The registry's view of one hash of the forest.
#[derive(Debug, PartialEq)]
pub struct EntryView {
    pub hash: PositionalLineageHash,
    pub registered: bool,
    pub present: [bool; 2],
    pub present_any: bool,
    pub frequency: u32,
}

/// Every field of the crates' `MetricsSnapshot`.
#[derive(Debug, PartialEq)]
pub struct Metrics {
    pub allocations: u64,
    pub allocations_from_reset: u64,
    pub evictions: u64,
    pub registrations: u64,
    pub duplicate_blocks: u64,
    pub registration_dedup: u64,
    pub stagings: u64,
    pub match_hashes_requested: u64,
    pub match_blocks_returned: u64,
    pub scan_hashes_requested: u64,
    pub scan_blocks_returned: u64,
    pub eager_primary_to_inactive_total: u64,
    pub allocate_atomic_rollback_total: u64,
    pub release_primary_noop_total: u64,
    pub release_duplicate_noop_total: u64,
    pub inflight_mutable: i64,
    pub inflight_immutable: i64,
    pub reset_pool_size: i64,
    pub inactive_pool_size: i64,
}
