//! Limits: the sizes and patience that model checkers shrink.
//!
//! A model explores every interleaving, so in a model a table is small enough to grow in a few
//! steps, a version wraps after a few exchanges, and a thread that waits gives up at once. All
//! such numbers stand here, beside the values that ship.

/// Whether loom explores every interleaving.
pub(crate) const IS_MODEL: bool = cfg!(kvbm_loom);

/// Whether a checker, loom or shuttle, decides how threads take turns.
pub(crate) const IS_CHECKED: bool = cfg!(any(kvbm_loom, kvbm_shuttle));

/// Whether runs must repeat: hashing is then keyed with constants.
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

/// Attempts to find a reserved block before the thread yields.
pub(crate) const FIND_SPINS: u32 = shrunk!(64, in models 1);
/// Attempts to find a reserved block before the thread searches everywhere.
pub(crate) const FIND_ATTEMPTS: u32 = shrunk!(FIND_SPINS + 256, in models 2);
/// Pauses between two attempts: few enough that a plane that is let go of is noticed before its
/// last holder is back.
pub(crate) const FIND_PAUSES: u32 = shrunk!(8, in models 1);
/// Pauses between two attempts while the plane is seen to be held.
pub(crate) const FIND_PAUSES_WHILE_HELD: u32 = shrunk!(64, in models 1);

// ---- matching ----

/// Looks at a block that is inactive, while there is no credit for it, before the thread
/// yields: the credit may be with another match of that very block, which is about to pin it,
/// or with the release of it.
pub(crate) const CREDIT_LOOKS: u32 = shrunk!(64, in models 1);
/// Yields before a match takes a block for one that has been promised to an allocation.
pub(crate) const CREDIT_YIELDS: u32 = shrunk!(16, in models 1);

// ---- the parts of a store ----

/// Stores with fewer blocks than this have one shard: more would only mean more places to look.
pub(crate) const MIN_BLOCKS_TO_SHARD: usize = shrunk!(128, in models 1);
/// Bits used in each word of a freelist, and thereby the fan-out of its summary levels. Models
/// have few blocks, and need summaries of summaries all the same.
pub(crate) const FREELIST_FAN_OUT: usize = shrunk!(64, in models 2);
/// The lowest bit of the version in a link of the index: models have so few versions that they
/// wrap.
pub(crate) const LINK_VERSION_AT: u32 = shrunk!(32, in models 62);
/// Clearings between two that visit all slots: a quarter of the eras that a slot can tell apart,
/// so that several visits pass before one era could be mistaken for another.
pub(crate) const CLEARINGS_PER_VISIT: u32 = shrunk!(1 << 14, in models 2);

// ---- the registry ----

/// Buckets of the first segment of the table of entries, and the fewest it has. At least two:
/// the lowest bit of the size says that the table is shrinking.
pub(crate) const FIRST_BUCKETS: usize = shrunk!(64, under checkers 2);
/// Segments of a full directory of buckets: up to 2^32 buckets.
pub(crate) const BUCKET_SEGMENTS: usize = shrunk!(27, under checkers 3);
/// The table shrinks when it has more buckets than this per entry.
pub(crate) const SPARSE_BUCKETS: u64 = shrunk!(8, under checkers 2);
/// Entries retired before an operation takes a step of the upkeep.
pub(crate) const UPKEEP_EVERY: u64 = shrunk!(8, under checkers 1);
/// Entries retired before the epochs are made to advance, which otherwise happens now and then.
pub(crate) const FLUSH_EVERY: u64 = shrunk!(32, under checkers 1);
/// Entries that one step of the upkeep frees, at most. More than one for each entry that is
/// retired, so that what has piled up behind a suspended thread goes down again.
pub(crate) const UPKEEP_ENTRIES: usize = shrunk!(32, under checkers 512);
/// Bucket markers that one step of the upkeep visits, at most.
pub(crate) const UPKEEP_MARKERS: usize = shrunk!(128, under checkers usize::MAX);

// ---- keys ----

/// The bits of a keyed hash that are used: all of them, except where hashes must meet by chance
/// that keyed hashing keeps apart.
pub(crate) const KEYED_BITS: u64 = if IS_REPEATABLE { 0b11 } else { u64::MAX };

/// Cores a store is sharded for.
pub(crate) fn cores() -> usize {
    if IS_MODEL {
        2
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
