//! Which cleared tiers still have registrations to be removed?

use std::collections::VecDeque;
use std::ptr;
use std::sync::Weak;

use crate::registry::Tier;

/// The queue of tiers to clean up, each listed at most once.
#[derive(Default)]
pub(super) struct CleanupQueue {
    tiers: VecDeque<Weak<dyn Tier>>,
    /// Whether a cleaner is working through the queue.
    has_cleaner: bool,
}

impl CleanupQueue {
    /// Adds a tier unless it is queued already: one cleanup removes everything left behind
    /// by then, however often the tier was cleared.
    pub(super) fn push(&mut self, tier: Weak<dyn Tier>) {
        let is_same = |other: &Weak<dyn Tier>| ptr::addr_eq(other.as_ptr(), tier.as_ptr());
        if !self.tiers.iter().any(is_same) {
            self.tiers.push_back(tier);
        }
    }

    /// Returns whether tiers are queued and no cleaner is running.
    pub(super) fn needs_cleaner(&self) -> bool {
        !self.tiers.is_empty() && !self.has_cleaner
    }

    /// Records that a cleaner is running, until [`next`](Self::next) returns `None`.
    pub(super) fn begin(&mut self) {
        self.has_cleaner = true;
    }

    /// Takes the next tier. If there is none, the cleaner is done.
    pub(super) fn next(&mut self) -> Option<Weak<dyn Tier>> {
        let next = self.tiers.pop_front();
        self.has_cleaner = next.is_some();
        next
    }

    /// Removes all tiers, once none of them is alive.
    pub(super) fn clear(&mut self) {
        self.tiers.clear();
    }
}
