//! How an observer is told when registrations begin and end.

use std::sync::Weak;

use crate::SequenceHash;

use super::tier::Tier;

/// Is told about registrations by the threads that begin and end them. An implementation
/// must not wait for anything.
///
/// With an observer, every registered hash has an entry, even if only blocks keep it
/// registered. The observer is told when an entry is created and when it ends.
pub(crate) trait Observer: Send + Sync {
    /// A registration begins. Returns whether the observer wants to be told of its end.
    ///
    /// The caller has a handle, so the end is told later.
    fn registered(&self, hash: SequenceHash) -> bool;

    /// A registration has ended. The observer may already have been told of the hash's next
    /// registration.
    fn removed(&self, hash: SequenceHash);

    /// A tier has been cleared. Its registrations have ended, but their entries have not: the
    /// observer must arrange for them to be ended elsewhere, by `Tier::end_cleared`.
    fn cleared(&self, tier: Weak<dyn Tier>);
}
