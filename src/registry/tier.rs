//! What the registry asks of a tier.

use crate::SequenceHash;
use crate::key::Key;

#[cfg(feature = "events")]
use super::leftovers::Leftovers;

/// A manager's blocks, as the registry sees them.
pub(crate) trait Tier: Send + Sync {
    /// Whether a block of the hash, active or inactive, is registered here.
    fn holds(&self, key: Key) -> bool;

    /// Sets the flag of each hash of which a block is registered here, and leaves
    /// the others.
    fn mark_held(&self, presence: &mut [(SequenceHash, bool)]);

    /// Calls `visit` with every hash that is registered here.
    fn for_each(&self, visit: &mut dyn FnMut(SequenceHash));

    /// How many hashes are registered here: what [`for_each`](Self::for_each) visits, from a
    /// few words.
    fn registered(&self) -> usize;

    /// Ends what is left of the registrations of blocks that were cleared together.
    #[cfg(feature = "events")]
    fn end_cleared(&self) -> Leftovers;
}
