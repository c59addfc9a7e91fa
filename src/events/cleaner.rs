//! Ends the registrations that a tier leaves behind when it is cleared.
//!
//! Ending a registration drops its attachments, which is user code and may be slow. It is
//! therefore not done by the thread that wakes subscribers, but by one that is started
//! when there is a tier to clean, and exits when none is left.
//!
//! Registrations end in the order of the slots. To end children before their parents would
//! take a list of all cleared blocks, sorted by position, and would still promise nothing:
//! allocations meanwhile end registrations too, each as its block is handed out.

use std::collections::VecDeque;
use std::ptr;
use std::sync::Weak;

use crate::registry::Tier;
use crate::user_code::contain;

/// The queue of tiers to be cleaned, each at most once.
#[derive(Default)]
pub(super) struct Cleared {
    tiers: VecDeque<Weak<dyn Tier>>,
    /// Whether a thread is working through the queue.
    has_cleaner: bool,
}

impl Cleared {
    /// Adds a tier unless it is queued already: cleaning it once ends everything it has
    /// left behind by then, however often it was cleared.
    pub(super) fn push(&mut self, tier: Weak<dyn Tier>) {
        let is_same = |other: &Weak<dyn Tier>| ptr::addr_eq(other.as_ptr(), tier.as_ptr());
        if !self.tiers.iter().any(is_same) {
            self.tiers.push_back(tier);
        }
    }

    /// Whether there is a tier to clean and no thread cleaning.
    pub(super) fn needs_cleaner(&self) -> bool {
        !self.tiers.is_empty() && !self.has_cleaner
    }

    /// Marks the caller as the cleaner, until [`next`](Self::next) returns `None`.
    pub(super) fn begin(&mut self) {
        self.has_cleaner = true;
    }

    /// Takes the next tier. If there is none, the cleaner is done.
    pub(super) fn next(&mut self) -> Option<Weak<dyn Tier>> {
        let next = self.tiers.pop_front();
        self.has_cleaner = next.is_some();
        next
    }

    /// Removes all tiers. For the end, when none is alive.
    pub(super) fn clear(&mut self) {
        self.tiers.clear();
    }
}

/// Ends what a tier has left behind. Nothing may be locked.
pub(super) fn clean(tier: &Weak<dyn Tier>) {
    let Some(tier) = tier.upgrade() else {
        return;
    };
    let leftovers = contain("a cleared tier panicked", || tier.end_cleared());
    // This may be the last reference to the tier's memory, and thereby to its registry and
    // the emitter. It goes first, so that slow drops of attachments delay no stream's end.
    contain("a registry panicked when it was dropped", || drop(tier));
    if let Some(leftovers) = leftovers {
        contain("an attachment panicked when it was dropped", || {
            leftovers.settle();
        });
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
pub(super) mod testing {
    use crate::SequenceHash;
    use crate::engine::index::Key;
    use crate::registry::{Leftovers, Tier};

    /// A tier that does something when it is cleaned.
    pub(in crate::events) struct FakeTier<F>(pub(in crate::events) F);

    impl<F: Fn() + Send + Sync> Tier for FakeTier<F> {
        fn holds(&self, _: Key) -> bool {
            false
        }

        fn mark_held(&self, _: &mut [(SequenceHash, bool)]) {}

        fn for_each(&self, _: &mut dyn FnMut(SequenceHash)) {}

        fn registered(&self) -> usize {
            0
        }

        fn end_cleared(&self) -> Leftovers {
            self.0();
            Leftovers::new()
        }
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::testing::FakeTier;
    use super::*;

    #[test]
    fn a_tier_waits_once() {
        // Not of size zero, so that each has an address of its own.
        let tier = |name: u8| -> Arc<dyn Tier> { Arc::new(FakeTier(move || assert!(name > 0))) };
        let (one, two) = (tier(1), tier(2));
        let mut cleared = Cleared::default();
        assert!(!cleared.needs_cleaner());
        for tier in [&one, &two, &one, &one] {
            cleared.push(Arc::downgrade(tier));
        }
        assert!(cleared.needs_cleaner());
        cleared.begin();
        assert!(!cleared.needs_cleaner());
        let next = |cleared: &mut Cleared| cleared.next().and_then(|tier| tier.upgrade());
        assert!(Arc::ptr_eq(&next(&mut cleared).unwrap(), &one));
        // It may have been cleared again since it was taken.
        cleared.push(Arc::downgrade(&one));
        assert!(Arc::ptr_eq(&next(&mut cleared).unwrap(), &two));
        assert!(Arc::ptr_eq(&next(&mut cleared).unwrap(), &one));
        assert!(next(&mut cleared).is_none());
        assert!(!cleared.needs_cleaner());
        cleared.push(Arc::downgrade(&one));
        assert!(cleared.needs_cleaner());
    }

    #[test]
    fn panics_of_a_tier_go_no_further() {
        let cleaned = Arc::new(AtomicU32::new(0));
        let tier: Arc<dyn Tier> = {
            let cleaned = Arc::clone(&cleaned);
            Arc::new(FakeTier(move || {
                cleaned.fetch_add(1, Ordering::Relaxed);
                panic!("asked for");
            }))
        };
        let weak = Arc::downgrade(&tier);
        clean(&weak);
        assert_eq!(cleaned.load(Ordering::Relaxed), 1);
        assert_eq!(Arc::strong_count(&tier), 1);
        drop(tier);
        clean(&weak);
        assert_eq!(cleaned.load(Ordering::Relaxed), 1);
    }
}
