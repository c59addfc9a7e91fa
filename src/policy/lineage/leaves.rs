//! What the graph asks of an order among leaves.

use crate::SequenceHash;
use crate::retention::Priority;

/// The order in which leaves are evicted.
///
/// The graph reports every block that is listed or taken out, leaf or not, so that an order can
/// tie a block's position to the time of its release.
pub(crate) trait Leaves: Send + 'static {
    /// Whether the order does not depend on when a block became a leaf.
    const COMMUTES: bool;
    /// Whether listing a slot and taking it out again changes nothing.
    const IS_TRACELESS: bool = Self::COMMUTES;

    fn new(block_count: usize) -> Self;
    /// `slot`, which holds `hash`, has been listed, as a leaf or not.
    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool);
    /// `slot`, a leaf or not, has been taken out.
    fn unlist(&mut self, slot: u32);
    /// The listed `slot` has become a leaf again.
    fn add(&mut self, slot: u32);
    /// The leaf `slot` is still listed, but is no longer a leaf.
    fn demote(&mut self, slot: u32);
    /// The listed `slot`, which is not a leaf of this order, has become a leaf of an order
    /// in front of this one, where it waits; or it no longer waits there.
    fn set_waiting(&mut self, _slot: u32, _waits: bool) {}
    /// Returns the leaf to evict next. Until something else is called, it returns the same again.
    fn first(&mut self) -> Option<u32>;
    /// Returns the priority of the leaf `slot`.
    fn priority(&self, _slot: u32) -> Priority {
        Priority::DEFAULT
    }
    /// The leaf `slot` has been evicted and taken out: its content is no longer cached.
    fn evicted(&mut self, _slot: u32) {}
    /// Returns whether `slot` is a leaf.
    fn contains(&self, slot: u32) -> bool;
    /// Verifies the internal structure and counts the leaves.
    fn check(&self) -> Result<usize, String>;
}
