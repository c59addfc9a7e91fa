//! Leaves with a priority of their own.
//!
//! A leaf that has a [band](crate::policy::containers::bands) waits there, and not among the
//! other leaves: in their order it is listed, but not as a leaf. The graph therefore does not
//! need to know about priorities, and no block is evicted before its inactive children, whatever
//! their priorities are. When its priority ends, the block is a leaf again; in the order of
//! [becoming a leaf](super::fifo), it is the last.

use super::leaves::Leaves;
use crate::SequenceHash;
use crate::policy::containers::bands::Bands;
use crate::policy::containers::ensure;
use crate::retention::Priority;

/// Leaves in order, with those of low priority before the others and those of high priority
/// after them.
pub(crate) struct RetainedLeaves<L> {
    leaves: L,
    bands: Bands,
}

impl<L> RetainedLeaves<L> {
    pub(super) fn of(leaves: L) -> Self {
        Self {
            leaves,
            bands: Bands::default(),
        }
    }
}

impl<L: Leaves> Leaves for RetainedLeaves<L> {
    const COMMUTES: bool = L::COMMUTES;
    const IS_TRACELESS: bool = L::IS_TRACELESS;

    fn new(block_count: usize) -> Self {
        Self::of(L::new(block_count))
    }

    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool) {
        self.leaves.list(slot, hash, leaf);
    }

    /// Also ends the block's priority.
    fn unlist(&mut self, slot: u32) {
        self.bands.forget(slot);
        self.leaves.unlist(slot);
    }

    fn add(&mut self, slot: u32) {
        if self.bands.wait(slot) {
            self.leaves.set_waiting(slot, true);
        } else {
            self.leaves.add(slot);
        }
    }

    fn demote(&mut self, slot: u32) {
        if self.bands.unwait(slot) {
            self.leaves.set_waiting(slot, false);
        } else {
            self.leaves.demote(slot);
        }
    }

    fn first(&mut self) -> Option<u32> {
        let low = self.bands.first_of_low();
        let first = low.or_else(|| self.leaves.first());
        first.or_else(|| self.bands.first())
    }

    fn evicted(&mut self, slot: u32) {
        self.leaves.evicted(slot);
    }

    fn contains(&self, slot: u32) -> bool {
        self.leaves.contains(slot) || self.bands.waits(slot)
    }

    fn check(&self) -> Result<usize, String> {
        let leaves = self.leaves.check()?;
        self.bands.check()?;
        for (priority, slot) in self.bands.waiting() {
            ensure(!self.leaves.contains(slot), || {
                format!("leaf {slot} of priority {priority} is also among the other leaves")
            })?;
        }
        Ok(leaves + self.bands.waiting().count())
    }
}

impl<L: Leaves> RetainedLeaves<L> {
    /// Sets the priority of the listed `slot`.
    pub(super) fn set_priority(&mut self, slot: u32, priority: Priority) {
        if priority == self.bands.priority(slot) {
            return;
        }
        let is_leaf = self.contains(slot);
        if is_leaf {
            self.demote(slot);
        }
        if priority == Priority::DEFAULT {
            self.bands.forget(slot);
        } else {
            self.bands.set(slot, priority);
        }
        if is_leaf {
            self.add(slot);
        }
    }
}
