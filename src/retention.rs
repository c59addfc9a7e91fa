//! Retention: giving cached content a priority over the eviction order.
//!
//! A serving system knows things that no eviction policy can see: that a system prompt will
//! be needed again in an hour, or that the output of a finished request never will. A
//! [`Retention`] directive tells the manager: it has a priority and, optionally, a duration.
//! Give it to a block through a guard ([`ImmutableBlock::set_retention`]) or to a range of a
//! sequence's tokens ([`BlockManager::set_retention`]).
//!
//! The directives, their range of priorities and their default are those of TensorRT-LLM's
//! `KvCacheRetentionConfig`.
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
//!     let block = manager.allocate_one().expect("4 blocks are enough");
//!     let block = block.stage(hash, 16).expect("16 is the block size");
//!     drop(manager.register_block(block));
//! }
//!
//! // The first block holds a prompt that will come back within the hour.
//! let hour = Duration::from_secs(3_600);
//! let prompt = Retention::new(Priority::new(80)?).for_duration(hour);
//! assert_eq!(manager.set_retention(&hashes[..1], .., prompt), 1);
//! // The last block is not needed any more.
//! let block = manager.match_one(hashes[3]).expect("it is cached");
//! block.set_retention(Retention::new(Priority::LOWEST));
//! drop(block);
//!
//! let (_blocks, evicted) = manager.allocate_blocks_with_evictions(3).expect("4 are available");
//! assert_eq!(evicted, [hashes[3], hashes[1], hashes[2]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What does a priority do?
//!
//! Blocks are taken in this order:
//!
//! 1. free blocks, as always;
//! 2. inactive blocks with a priority below the default, lowest first;
//! 3. inactive blocks with the default priority, in the order of the eviction policy;
//! 4. inactive blocks with a priority above the default, lowest first.
//!
//! A directive never keeps a block from being evicted when nothing else is left, and never
//! causes an allocation to be refused.
//!
//! Blocks that share a priority other than the default are evicted in the order of their last
//! releases. A block whose priority changes while it is inactive moves behind the blocks that
//! have that priority already. A directive with the priority that the block has anyway does
//! not move it.
//!
//! # When does a directive take effect on the order?
//!
//! When the policy learns of it, which is when it next looks for victims, if not before. It
//! then learns first of the queued releases, in order, each with the priority that the block
//! has by then, and after that of the directives, in order. This has two consequences. A
//! directive given between a release and the next look counts as given before the release.
//! Of several directives given to an inactive block between two looks, only the last
//! counts, in the place of the first.
//!
//! # Which orders ignore priorities?
//!
//! * Policies that evict leaves first still do: no block is evicted before its inactive
//!   children. So a high priority protects the block's ancestors as well, and a block of low
//!   priority stays until its children are gone.
//! * A [policy of your own](crate::eviction) is [told](crate::eviction::EvictionPolicy::set_priority)
//!   of priorities and may do with them what it likes. By default, it ignores them.
//! * A thread that needs a victim while another thread holds the policy and makes no
//!   progress finds one without the policy, and so without priorities.
//! * [`clear_inactive_pool`] and [`reset_inactive_pool`] ignore priorities.
//!
//! # How long does a directive last?
//!
//! A directive belongs to the content. It lasts while the block is used, released and matched
//! again, until it is replaced, its duration is over, or the content is evicted or freed. A
//! duration starts when the directive is given and is rounded up to the millisecond. One that
//! would end more than 17.4 years after the manager's first directive never ends; one of zero
//! ends at once, which withdraws the directive.
//!
//! Afterwards the block has the default priority again, and the place in the order (for
//! policies with levels, within its level) that its last release gave it.
//! [Lineage by FIFO](crate::manager::LineageEviction::Fifo) is the exception: it orders blocks
//! by when they became leaves. A block whose priority ends becomes a leaf at that moment, so it
//! goes to the end.
//!
//! There is no thread and no timer: a search for victims first checks the clock, if any
//! inactive block has a directive with a duration.
//!
//! # What does it cost?
//!
//! * *Without directives*: a branch per block that is put into the order.
//! * *The first directive* allocates 53 bytes per block of the manager, most of which the system
//!   provides when they are used. Each further shard of the threads reserves address space for the
//!   priorities of its own order, and uses memory for as many blocks as it lists. From then on, a search
//!   for victims also visits the orders to which directives were announced, and one more, in turn.
//! * *Giving a directive* takes at most two atomic exchanges, unless threads contend, no lock,
//!   and a lookup if the block is given by hash. Matching and dropping blocks are unaffected.
//! * *Inactive blocks with directives* are kept in lists, one per priority, and their deadlines on a
//!   timing wheel: constant time, and no allocation. `PERF.md` has the numbers.
//!
//! [`ImmutableBlock::set_retention`]: crate::ImmutableBlock::set_retention
//! [`BlockManager::set_retention`]: crate::BlockManager::set_retention
//! [`clear_inactive_pool`]: crate::BlockManager::clear_inactive_pool
//! [`reset_inactive_pool`]: crate::BlockManager::reset_inactive_pool

use std::fmt;
use std::time::Duration;

/// How much content is worth keeping, from 0 to 100. Higher priorities are kept longer.
///
/// ```
/// use kvbm_lockfree::retention::Priority;
///
/// let priority = Priority::new(80)?;
/// assert!(Priority::DEFAULT < priority && priority < Priority::HIGHEST);
/// assert!(Priority::new(101).is_err());
/// # Ok::<(), kvbm_lockfree::retention::InvalidPriority>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// The error of making a [`Priority`] from a number above 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a priority must be from 0 to 100, got {0}")]
pub struct InvalidPriority(pub u8);

impl Priority {
    /// 0: evicted before everything else.
    pub const LOWEST: Self = Self(0);
    /// 35: the priority of content without a directive.
    pub const DEFAULT: Self = Self(35);
    /// 100: evicted only when nothing else is left.
    pub const HIGHEST: Self = Self(100);

    /// Creates a priority from a number.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidPriority`] if `priority` is above 100.
    pub const fn new(priority: u8) -> Result<Self, InvalidPriority> {
        if priority > Self::HIGHEST.0 {
            return Err(InvalidPriority(priority));
        }
        Ok(Self(priority))
    }

    /// Returns the priority as a number from 0 to 100.
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// Returns [`Priority::DEFAULT`].
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

/// A retention directive: a priority and how long it applies.
///
/// The default is what content without a directive has: [`Priority::DEFAULT`], indefinitely.
///
/// ```
/// use std::time::Duration;
///
/// use kvbm_lockfree::retention::{Priority, Retention};
/// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(16)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// # let block = manager.allocate_one().expect("8 blocks are free");
/// # let block = block.stage(SequenceHash::root(1), 16).expect("16 is the block size");
/// # let block = manager.register_block(block);
/// // Keep this block ahead of others for ten minutes, whether it is used or not.
/// let keep = Retention::new(Priority::new(80)?).for_duration(Duration::from_secs(600));
/// block.set_retention(keep);
/// assert_eq!(block.retention().priority, keep.priority);
///
/// // Not needed after all:
/// block.set_retention(Retention::default());
/// assert_eq!(block.retention(), Retention::default());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// How much the content is worth keeping.
    pub priority: Priority,
    /// How long the priority applies, counted from when the directive is given. Afterwards, the
    /// content has the default priority. `None` means until the content is evicted or freed.
    pub duration: Option<Duration>,
}

impl Retention {
    /// Creates a directive that applies until the content is evicted or freed.
    #[must_use]
    pub const fn new(priority: Priority) -> Self {
        Self {
            priority,
            duration: None,
        }
    }

    /// Limits the directive to `duration`, counted from when it is given.
    #[must_use]
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
