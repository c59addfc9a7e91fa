//! How a built-in eviction order describes itself.
//!
//! Each order implements [`PolicySpec`] in its own file. A row in the [table of built-in
//! orders](super::built_in) then makes it known by name to the
//! [builder](crate::manager::BlockManagerConfigBuilder::with_policy), to the replay program,
//! and to the tests that iterate over all orders.

use std::panic::RefUnwindSafe;

use super::slot_policy::PlainPolicy;

/// A built-in eviction order with its parameters, before it is built.
pub(crate) trait PolicySpec: Send + Sync + RefUnwindSafe {
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
