//! Ends the registrations that a tier leaves behind when it is cleared.
//!
//! With the registrations the attachments end, whose drops are user code and may be
//! slow. So this is not done by the thread that wakes subscribers, but by one that is
//! started when there is a tier to clean, and exits when there is none left.

use std::collections::VecDeque;
use std::ptr;
use std::sync::Weak;

use crate::registry::Tier;
use crate::user_code::contain;

/// The tiers that wait to be cleaned, each once.
#[derive(Default)]
pub(super) struct Cleared {
    tiers: VecDeque<Weak<dyn Tier>>,
    /// Whether somebody goes through the queue.
    has_cleaner: bool,
}

impl Cleared {
    /// Adds a tier, unless it waits already: cleaning it ends whatever has been left
    /// behind by then, however often the tier was cleared.
    pub(super) fn push(&mut self, tier: Weak<dyn Tier>) {
        let is_same = |other: &Weak<dyn Tier>| ptr::addr_eq(other.as_ptr(), tier.as_ptr());
        if !self.tiers.iter().any(is_same) {
            self.tiers.push_back(tier);
        }
    }

    /// Whether there is a tier, and nobody to clean it.
    pub(super) fn needs_cleaner(&self) -> bool {
        !self.tiers.is_empty() && !self.has_cleaner
    }

    /// The caller is going to clean until [`next`](Self::next) returns `None`.
    pub(super) fn begin(&mut self) {
        self.has_cleaner = true;
    }

    /// The next tier for the cleaner. If there is none, the cleaner is done.
    pub(super) fn next(&mut self) -> Option<Weak<dyn Tier>> {
        let next = self.tiers.pop_front();
        self.has_cleaner = next.is_some();
        next
    }

    /// Forgets all tiers, which must be gone.
    pub(super) fn clear(&mut self) {
        self.tiers.clear();
    }
}

/// Ends what a tier has left behind, with nothing locked.
pub(super) fn clean(tier: &Weak<dyn Tier>) {
    let Some(tier) = tier.upgrade() else {
        return;
    };
    let leftovers = contain("a cleared tier panicked", || tier.free_forgotten());
    // This may be the last reference to the tier, and with it to its registry and to
    // the emitter there: given up before the users' drops, which may take their time,
    // so that they delay the end of no stream.
    contain("a tier panicked when it was dropped", || drop(tier));
    contain("an attachment panicked when it was dropped", move || {
        let _dropped_here = leftovers;
    });
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::SequenceHash;
    use crate::engine::index::Key;

    struct Nothing(#[allow(dead_code)] u8);

    impl Tier for Nothing {
        fn holds(&self, _: Key) -> bool {
            false
        }

        fn mark_held(&self, _: &mut [(SequenceHash, bool)]) {}

        fn for_each(&self, _: &mut dyn FnMut(SequenceHash)) {}

        fn free_forgotten(&self) {}
    }

    #[test]
    fn a_tier_waits_once() {
        let (one, two): (Arc<dyn Tier>, Arc<dyn Tier>) =
            (Arc::new(Nothing(1)), Arc::new(Nothing(2)));
        let mut cleared = Cleared::default();
        assert!(!cleared.needs_cleaner());
        for tier in [&one, &two, &one, &one] {
            cleared.push(Arc::downgrade(tier));
        }
        assert!(cleared.needs_cleaner());
        cleared.begin();
        assert!(!cleared.needs_cleaner());
        let mut next = || cleared.next().and_then(|tier| tier.upgrade());
        assert!(Arc::ptr_eq(&next().unwrap(), &one));
        // It may have been cleared again since it was taken.
        cleared.push(Arc::downgrade(&one));
        let mut next = || cleared.next().and_then(|tier| tier.upgrade());
        assert!(Arc::ptr_eq(&next().unwrap(), &two));
        assert!(Arc::ptr_eq(&next().unwrap(), &one));
        assert!(next().is_none());
        assert!(!cleared.needs_cleaner());
        cleared.push(Arc::downgrade(&one));
        assert!(cleared.needs_cleaner());
    }
}
