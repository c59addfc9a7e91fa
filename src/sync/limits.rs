//! Limits: the sizes and retry counts that are smaller in models.
//!
//! A model explores every interleaving. In a model, a table is therefore small enough to grow
//! after a few steps, a version wraps around after a few exchanges, and a waiting thread gives
//! up at once. This file contains all such numbers, next to the values that ship.

use crate::sync::serial;

/// Whether loom explores every interleaving of this build.
pub(crate) const IS_MODEL: bool = cfg!(kvbm_loom);

/// Whether a checker, loom or shuttle, decides how threads take turns.
pub(crate) const IS_CHECKED: bool = cfg!(any(kvbm_loom, kvbm_shuttle));

/// Whether runs must be repeatable: hashing is then keyed with constants.
pub(crate) const IS_REPEATABLE: bool = IS_CHECKED || cfg!(fuzzing);

/// Chooses between the value that ships and the value for models, or for all checkers.
macro_rules! shrunk {
    ($ships:expr, in models $model:expr) => {
        if IS_MODEL { $model } else { $ships }
    };
    ($ships:expr, under checkers $checked:expr) => {
        if IS_CHECKED { $checked } else { $ships }
    };
}

// ---- allocation ----

/// The number of attempts to find a reserved block before the thread yields.
///
/// All pauses together take some 20 microseconds, and so do all yields, in the thread's own
/// running time.
pub(crate) const FIND_SPINS: u32 = shrunk!(16, in models 1);
/// The number of attempts to find a reserved block before the thread searches the slots.
pub(crate) const FIND_ATTEMPTS: u32 = shrunk!(FIND_SPINS + 16, in models 2);
/// The number of pauses between two attempts: few enough that a plane that has been released is
/// noticed before its last holder takes it again.
pub(crate) const FIND_PAUSES: u32 = shrunk!(8, in models 1);
/// The number of pauses between two attempts while the plane appears to be held.
pub(crate) const FIND_PAUSES_WHILE_HELD: u32 = shrunk!(32, in models 1);

/// The number of slots among which a leaf-first sweep looks for the deepest blocks.
pub(crate) const SWEEP_STRETCH: usize = shrunk!(1024, in models 2);

// ---- matching ----

/// The number of checks of an inactive block for which there is no credit before the thread
/// yields. The credit may be held by another match of the same block, which is about to pin it,
/// or by the release of the block.
pub(crate) const CREDIT_LOOKS: u32 = shrunk!(64, in models 1);
/// The number of yields before a match concludes that a block without a credit is reserved for
/// an allocation.
pub(crate) const CREDIT_YIELDS: u32 = shrunk!(16, in models 1);

// ---- release logs ----

/// The length from which on a release log is drained by the thread that pushes onto it.
pub(crate) const BACKLOG: u32 = shrunk!(64, in models 2);
/// The maximum number of slots that are pushed onto a release log together.
pub(crate) const RUN: u32 = shrunk!(64, in models 2);
/// The maximum number of updates that a drain applies at once. A log that one thread uses never
/// has more: fewer than [`BACKLOG`] and one run.
pub(crate) const DRAINED: u32 = shrunk!(128, in models 3);
/// The length from which on a thread that finds the plane held waits for it before it lets the
/// log become longer still.
pub(crate) const LONG_BACKLOG: u32 = shrunk!(4 * BACKLOG, in models 4);
/// The number of pauses of such a wait.
pub(crate) const BACKLOG_PAUSES: u32 = shrunk!(128, in models 1);

// ---- the parts of a store ----

/// Stores with fewer blocks than this have one shard. More shards would only be more places to
/// look.
pub(crate) const MIN_BLOCKS_TO_SHARD: usize = shrunk!(128, in models 1);
/// The number of bits used in each word of a freelist, and thus the fan-out of its summary
/// levels. Models have few blocks but still need summaries of summaries.
pub(crate) const FREELIST_FAN_OUT: usize = shrunk!(64, in models 2);
/// The lowest bit of the version in a link of the index. In models, the version has so few bits
/// that it wraps around.
pub(crate) const LINK_VERSION_AT: u32 = shrunk!(32, in models 62);
/// The number of bits of an era that a slot remembers: see `era`.
pub(crate) const ERA_BITS: u32 = shrunk!(16, in models 3);
/// The number of slots in which an allocation looks for cleared blocks, in addition to one for
/// each block that it asks for.
pub(crate) const CLEARED_LOOKS: u32 = shrunk!(256, in models 1);

// ---- leases ----

/// The number of blocks of an expired lease that are released in one piece.
pub(crate) const LEASE_PIECE: usize = shrunk!(64, in models 1);

/// The number of slots whose directives may be announced before a thread that gives another one
/// has them applied.
pub(crate) const ANNOUNCED_SLOTS: u32 = shrunk!(64, in models 2);
/// The maximum number of announced directives that one visit to the policy plane applies. Twice
/// as many as there are while nothing holds the plane up.
pub(crate) const ANNOUNCED_PER_VISIT: u32 = shrunk!(2 * ANNOUNCED_SLOTS, in models 1);
/// The maximum number of steps that one visit to the policy plane takes to find directives that
/// have expired.
pub(crate) const DEADLINE_STEPS: u32 = 128;
/// The maximum number of victims of low priority that one visit to the policy plane finds to have
/// expired although they have not been found yet.
pub(crate) const EXPIRED_VICTIMS: u32 = 64;

// ---- the registry ----

/// The number of buckets in the first segment of the entry table, and the fewest that the
/// table has. At least two: the lowest bit of the size says that the table is shrinking.
pub(crate) const FIRST_BUCKETS: usize = shrunk!(64, under checkers 2);
/// The number of segments in a full directory of buckets: up to 2^32 buckets.
pub(crate) const BUCKET_SEGMENTS: usize = shrunk!(27, under checkers 3);
/// The table shrinks when it has more buckets than this per entry.
pub(crate) const SPARSE_BUCKETS: u64 = shrunk!(8, under checkers 2);
/// The number of entries that are retired before an operation takes a step of the upkeep.
pub(crate) const UPKEEP_EVERY: u64 = shrunk!(16, under checkers 1);
/// The number of entries that are retired before the epochs are made to advance, which
/// otherwise happens only occasionally.
pub(crate) const FLUSH_EVERY: u64 = shrunk!(32, under checkers 1);
/// The maximum number of entries that one step of the upkeep frees. This is more than one per
/// retired entry, so that what has piled up behind a suspended thread is worked off.
pub(crate) const UPKEEP_ENTRIES: usize = shrunk!(64, under checkers 512);
/// The maximum number of ended entries that are kept to be used again: 8 KiB.
pub(crate) const SPARES: u64 = shrunk!(128, under checkers 2);
/// The maximum number of bucket markers that one step of the upkeep visits.
pub(crate) const UPKEEP_MARKERS: usize = shrunk!(128, under checkers usize::MAX);

// ---- events ----

/// The number of events for which the event queue allocates memory at once. Less than 64.
#[cfg(feature = "events")]
pub(crate) const SEGMENT: usize = shrunk!(31, under checkers 2);

// ---- keys ----

/// The bits of a keyed hash that are used: all of them, except in builds that need collisions,
/// which full keyed hashes all but rule out.
pub(crate) const KEYED_BITS: u64 = if IS_REPEATABLE { 0b11 } else { u64::MAX };

/// Returns the number of cores for which a store is sharded.
pub(crate) fn cores() -> usize {
    if IS_MODEL {
        2
    } else {
        serial::cores()
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}
