//! What the graph asks of an order among leaves.

use crate::SequenceHash;

/// The order in which leaves are evicted.
///
/// It hears of every block that is listed or taken out, leaf or not, so that
/// it can tie a block's position to the time of its release.
pub(crate) trait Leaves: Send + 'static {
    /// Whether the order is the same whenever a block became a leaf.
    const COMMUTES: bool;
    /// Whether listing a slot and taking it out again changes nothing.
    const IS_TRACELESS: bool = Self::COMMUTES;

    fn new(block_count: usize) -> Self;
    /// `slot`, which holds `hash`, was listed, as a leaf or not.
    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool);
    /// `slot`, a leaf or not, was taken out.
    fn unlist(&mut self, slot: u32);
    /// The listed `slot` is a leaf again.
    fn add(&mut self, slot: u32);
    /// The leaf `slot` is listed still, but no longer a leaf.
    fn demote(&mut self, slot: u32);
    /// The listed `slot`, which is no leaf of this order, is one of another in front of it,
    /// where it waits; or it waits no longer.
    fn set_waiting(&mut self, _slot: u32, _waits: bool) {}
    /// The leaf to evict next.
    fn first(&mut self) -> Option<u32>;
    /// The leaf `slot` was evicted, and has been taken out: its content is not cached any
    /// more.
    fn evicted(&mut self, _slot: u32) {}
    /// Whether `slot` is a leaf.
    fn contains(&self, slot: u32) -> bool;
    /// Verifies the internal structure and counts the leaves.
    fn check(&self) -> Result<usize, String>;
}
