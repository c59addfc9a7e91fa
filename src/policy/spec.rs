//! How a built-in eviction order describes itself.
//!
//! Each order implements [`PolicySpec`] in its own file. A row in the [table of built-in
//! orders](super::built_in) then makes it known by name to the
//! [builder](crate::manager::BlockManagerConfigBuilder::with_policy), to the replay program,
//! and to the tests that iterate over all orders.

use std::panic::{RefUnwindSafe, UnwindSafe};

use super::slot_policy::PlainPolicy;

/// A built-in eviction order with its parameters, before it is built.
pub(crate) trait PolicySpec: Send + Sync + UnwindSafe + RefUnwindSafe {
    /// Returns the name by which the order is chosen: lower case, with hyphens between
    /// words.
    fn name(&self) -> &'static str;

    /// Returns the name as it is written in prose and in error messages.
    fn title(&self) -> &'static str;

    /// Returns a sentence that says which block is evicted first.
    fn summary(&self) -> &'static str;

    /// Returns whether the order yields no block before its inactive children.
    fn is_leaf_first(&self) -> bool {
        false
    }

    /// Returns whether each shard of a store can have an order of its own, which decides only
    /// among the blocks that were released there. `false` by default.
    ///
    /// That takes an order in which the time of release, or the level, of two blocks decides which
    /// of them goes first: the store then compares the [first](super::SlotPolicy::first) blocks of
    /// all shards. An order whose decisions depend on more than the blocks listed in it is built
    /// once, for all shards: one that learns from all uses (a shard would see a part of them only,
    /// and a use of content that another shard has evicted would be new to it), and a user's own.
    ///
    /// The order of a shard is built for all slots of the store, since one thread may release them
    /// all, but lists few of them. It is told *numbers* instead of slots. The first block to be
    /// listed has number 0, and the next one 1, unless there is a number that is free again. So
    /// building it must not touch memory for each slot, and what it touches later must be in
    /// proportion to the largest number so far.
    fn is_sharded(&self) -> bool {
        false
    }

    /// Returns the frequencies at which the second, third and fourth level begin, or `None`
    /// for an order without levels, which needs no frequency tracker.
    fn frequency_thresholds(&self) -> Option<[u8; 3]> {
        None
    }

    /// Checks the parameters, and describes what is wrong with them.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// Builds the order for slots `0..block_count`. The parameters are valid.
    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy>;
}
