//! What a built-in eviction order says of itself.
//!
//! Each order implements [`PolicySpec`] in its own file. A row in the
//! [table of built-in orders](super::built_in) then makes it known by name to the
//! [builder](crate::manager::BlockManagerConfigBuilder::with_policy), to the replay program,
//! and to the tests that go through all orders.

use std::panic::RefUnwindSafe;

use super::slot_policy::PlainPolicy;

/// A built-in eviction order with its parameters, not yet built.
pub(crate) trait PolicySpec: Send + Sync + RefUnwindSafe {
    /// The name by which the order is chosen: lower case, words joined by hyphens.
    fn name(&self) -> &'static str;

    /// The name as it is written in prose and in errors.
    fn title(&self) -> &'static str;

    /// Which block goes first, in one sentence.
    fn summary(&self) -> &'static str;

    /// Whether no block goes before its inactive children.
    fn is_leaf_first(&self) -> bool {
        false
    }

    /// The frequencies from which a block belongs to the second, third and fourth level.
    /// `None` for an order without levels, which needs no frequency tracker.
    fn frequency_thresholds(&self) -> Option<[u8; 3]> {
        None
    }

    /// Returns what is wrong with the parameters, if anything is.
    fn validate(&self) -> Result<(), String> {
        Ok(())
    }

    /// Builds the order for slots `0..block_count`. The parameters are valid.
    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy>;
}
