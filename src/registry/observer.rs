//! Who is told when registrations begin and end.

use std::sync::Weak;

use crate::SequenceHash;

use super::tier::Tier;

/// Is told by the threads that begin and end registrations, in passing: an
/// implementation must not wait for anything.
///
/// With an observer every hash that is registered has an entry, also one that only
/// blocks keep registered; the entry's making and its end are what is told.
pub(crate) trait Observer: Send + Sync {
    /// A registration begins. Returns whether its end is to be told.
    ///
    /// The caller has a handle, so the end comes later.
    fn registered(&self, hash: SequenceHash) -> bool;

    /// A registration has ended. That of the next one of the same hash may have
    /// been told already.
    fn removed(&self, hash: SequenceHash);

    /// A tier has been cleared. Registrations that ended with that, but for their
    /// entries, are to be ended from elsewhere, by `Tier::end_cleared`.
    fn cleared(&self, tier: Weak<dyn Tier>);
}
