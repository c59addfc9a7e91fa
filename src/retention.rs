//! Retention: which cached content is worth more than its place in the order says.
//!
//! A serving system knows things that no policy can see: that a system prompt will be
//! asked for again in an hour, or that what a request has just decoded never will be.
//! A [`Retention`] directive says so for a block, through a guard
//! ([`ImmutableBlock::set_retention`](crate::ImmutableBlock::set_retention)), or for a
//! range of a sequence's tokens
//! ([`BlockManager::set_retention`](crate::BlockManager::set_retention)): a priority,
//! and for how long. The directives are those of TensorRT-LLM's
//! `KvCacheRetentionConfig`, with its range of priorities and its default.
//!
//! ```
//! use std::time::Duration;
//! use kvbm_lockfree::retention::{Priority, Retention};
//! use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
//!
//! #[derive(Clone)]
//! struct Gpu;
//!
//! let manager = BlockManager::<Gpu>::builder()
//!     .block_count(4)
//!     .block_size(16)
//!     .registry(BlockRegistry::new())
//!     .build()?;
//! let hashes: Vec<_> = (0..4).map(SequenceHash::root).collect();
//! for &hash in &hashes {
//!     let block = manager.allocate_one().expect("4 blocks are there");
//!     let block = block.stage(hash, 16).expect("of this size");
//!     drop(manager.register_block(block));
//! }
//!
//! // The first has a prompt that comes back within the hour.
//! let hour = Duration::from_secs(3_600);
//! let prompt = Retention::new(Priority::new(80)?).for_duration(hour);
//! assert_eq!(manager.set_retention(&hashes[..1], .., prompt), 1);
//! // The last is not needed any more.
//! let block = manager.match_one(hashes[3]).expect("it is cached");
//! block.set_retention(Retention::new(Priority::LOWEST));
//! drop(block);
//!
//! let (_blocks, evicted) = manager.allocate_blocks_with_evictions(3).expect("4 are available");
//! assert_eq!(evicted, [hashes[3], hashes[1], hashes[2]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a priority does
//!
//! Free blocks come first, as always. Of inactive blocks those with a priority below the
//! default go next, the lowest first; then those with the default, in the order of the
//! policy; then the others, the lowest first. A directive keeps no block from being evicted
//! when nothing else is left, and refuses no allocation.
//!
//! Blocks with the same priority, other than the default, go in the order of their last
//! releases. If the priority of a block changes while it is inactive, the block goes behind
//! those that have that priority by then. A directive with the priority that the block has
//! anyway changes no place.
//!
//! What counts is when the policy learns of these. It does so when it next looks for victims,
//! if not before: first of the releases in their order, each with the priority that the block
//! has by then, and then of the directives in theirs. So a directive that is given between a
//! release and the next look counts as given before the release. And of several that are given
//! to an inactive block between two looks only the last counts, in the place of the first.
//!
//! Policies that evict leaves first go on doing so: no block goes before its inactive
//! children. So a block of high priority keeps its ancestors, and one of
//! low priority stays until its children have gone.
//!
//! A [policy of your own](crate::eviction) is
//! [told](crate::eviction::EvictionPolicy::set_priority) of the priorities and makes of
//! them what it will; by default nothing.
//!
//! The order without the policy, when another thread has it and does not get on, does not
//! know of priorities. Nor do [clearing](crate::BlockManager::clear_inactive_pool) and
//! [resetting](crate::BlockManager::reset_inactive_pool).
//!
//! # How long it holds
//!
//! A directive is the content's: it holds while the block is used, released, and matched
//! again, until it is replaced, its time is up, or the content is evicted or freed. The
//! time begins when the directive is given, and ends to the millisecond; more than thirty
//! years are for ever. Afterwards the block has the default priority, and the place in the
//! order that its last release gave it; with levels, the place within its level.
//! [Lineage by FIFO](crate::manager::LineageEviction::Fifo) is the exception: its order is that
//! in which blocks became leaves, and one whose priority has ended becomes a leaf then, so it
//! goes to the end.
//!
//! There is no thread and no timer: whoever looks for victims looks at the clock first, if
//! there are inactive blocks with a duration.
//!
//! # Cost
//!
//! Next to nothing while there has not been any directive: a branch for each block that is
//! put into the order. The first allocates 12 bytes for every block of the manager; inactive
//! blocks with directives are kept in ordered sets, which take and free memory, and
//! logarithmic time: `PERF.md` has the instructions. To give a directive takes two
//! exchanges, no lock, and where it is by hash a look-up: matching and dropping do not know
//! of it. With LRU each thread takes its victims from the order one allocation at a time,
//! rather than some ahead of need.

use std::fmt;
use std::time::Duration;

/// How much a content is worth keeping: from 0 to 100, the higher the longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// A priority must be from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a priority must be from 0 to 100, got {0}")]
pub struct InvalidPriority(pub u8);

impl Priority {
    /// Evicted before anything else.
    pub const LOWEST: Self = Self(0);
    /// 35: that of content without a directive.
    pub const DEFAULT: Self = Self(35);
    /// Evicted when nothing else is left.
    pub const HIGHEST: Self = Self(100);

    /// The priority of this number.
    ///
    /// # Errors
    ///
    /// If it is above 100.
    pub const fn new(priority: u8) -> Result<Self, InvalidPriority> {
        if priority > Self::HIGHEST.0 {
            return Err(InvalidPriority(priority));
        }
        Ok(Self(priority))
    }

    /// From 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// [`Priority::DEFAULT`].
impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u8> for Priority {
    type Error = InvalidPriority;

    fn try_from(priority: u8) -> Result<Self, InvalidPriority> {
        Self::new(priority)
    }
}

impl From<Priority> for u8 {
    fn from(priority: Priority) -> Self {
        priority.get()
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A directive: a priority, and for how long. By default that of content without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// How much the content is worth keeping.
    pub priority: Priority,
    /// For how long from now; for good if there is none. Then the priority is the default.
    pub duration: Option<Duration>,
}

impl Retention {
    /// A priority for good.
    pub const fn new(priority: Priority) -> Self {
        Self {
            priority,
            duration: None,
        }
    }

    /// The same for a while.
    pub const fn for_duration(self, duration: Duration) -> Self {
        Self {
            duration: Some(duration),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_end_at_100() {
        assert_eq!(Priority::new(100), Ok(Priority::HIGHEST));
        assert_eq!(Priority::try_from(101), Err(InvalidPriority(101)));
        assert_eq!(
            InvalidPriority(101).to_string(),
            "a priority must be from 0 to 100, got 101"
        );
        assert_eq!(Priority::default().to_string(), "35");
        assert!(Priority::LOWEST < Priority::DEFAULT && Priority::DEFAULT < Priority::HIGHEST);
    }
}
