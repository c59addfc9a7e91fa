//! What the registry asks of a tier.

use crate::SequenceHash;
use crate::key::Key;

#[cfg(feature = "events")]
use super::leftovers::Leftovers;

/// A manager's blocks, as the registry sees them.
pub(crate) trait Tier: Send + Sync {
    /// Returns whether a block of the hash, active or inactive, is registered in this tier.
    fn holds(&self, key: Key) -> bool;

    /// Sets the flag of each hash that has a block in this tier, and leaves the other flags
    /// unchanged.
    fn mark_held(&self, presence: &mut [(SequenceHash, bool)]);

    /// Calls `visit` with every hash registered in this tier.
    fn for_each(&self, visit: &mut dyn FnMut(SequenceHash));

    /// Returns the number of hashes that [`for_each`](Self::for_each) would visit, computed
    /// from a few words where possible.
    fn registered(&self) -> usize;

    /// Ends the registrations of blocks that were cleared together, unless they have ended
    /// already.
    #[cfg(feature = "events")]
    fn end_cleared(&self) -> Leftovers;
}
