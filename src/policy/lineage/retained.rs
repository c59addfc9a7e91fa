//! Leaves with a priority of their own.
//!
//! A leaf that has a priority waits in a [band](crate::policy::containers::bands), and not among
//! the other leaves: in their order it is listed, but not as a leaf. The graph therefore does not
//! need to know about priorities, and no block is evicted before its inactive children, whatever
//! their priorities are. When its priority ends, the block is a leaf again; in the order of
//! [becoming a leaf](super::fifo), it is the last.
//!
//! Within a band, a leaf has the place of its release, or of its directive if that came later. It
//! keeps that place while it is not a leaf.

use super::leaves::Leaves;
use crate::SequenceHash;
use crate::policy::containers::bands::{Band, Bands};
use crate::policy::containers::ensure;
use crate::retention::Priority;

/// Leaves in order, with those of low priority before the others and those of high priority
/// after them.
pub(crate) struct RetainedLeaves<L> {
    leaves: L,
    /// Where listed blocks with a priority have their places, and leaves among them wait.
    bands: Bands,
    /// The number of places given so far.
    places: u64,
}

impl<L> RetainedLeaves<L> {
    pub(super) fn of(leaves: L, bands: Bands) -> Self {
        Self {
            leaves,
            bands,
            places: 0,
        }
    }

    /// Returns the leaf to evict next, if its priority is below the default.
    pub(super) fn first_of_low(&self) -> Option<u32> {
        let (band, slot) = self.bands.first()?;
        band.is_low().then_some(slot)
    }
}

impl<L: Leaves> Leaves for RetainedLeaves<L> {
    const COMMUTES: bool = L::COMMUTES;
    const IS_TRACELESS: bool = L::IS_TRACELESS;

    fn new(block_count: usize) -> Self {
        Self::of(L::new(block_count), Bands::new(block_count))
    }

    fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool) {
        self.leaves.list(slot, hash, leaf);
    }

    /// Also ends the block's priority.
    fn unlist(&mut self, slot: u32) {
        self.bands.leave(slot);
        self.bands.take_place(slot);
        self.leaves.unlist(slot);
    }

    fn add(&mut self, slot: u32) {
        if self.bands.enter(slot) {
            self.leaves.set_waiting(slot, true);
        } else {
            self.leaves.add(slot);
        }
    }

    fn demote(&mut self, slot: u32) {
        if self.bands.leave(slot) {
            self.leaves.set_waiting(slot, false);
        } else {
            self.leaves.demote(slot);
        }
    }

    fn first(&mut self) -> Option<u32> {
        let low = self.first_of_low();
        let first = low.or_else(|| self.leaves.first());
        first.or_else(|| self.bands.first().map(|(_, slot)| slot))
    }

    fn priority(&self, slot: u32) -> Priority {
        let band = self.bands.band(slot);
        band.map_or(Priority::DEFAULT, Band::priority)
    }

    fn evicted(&mut self, slot: u32) {
        self.leaves.evicted(slot);
    }

    fn contains(&self, slot: u32) -> bool {
        self.leaves.contains(slot) || self.bands.band(slot).is_some()
    }

    fn check(&self) -> Result<usize, String> {
        let leaves = self.leaves.check()?;
        self.bands.check()?;
        for (band, slot) in self.bands.waiting() {
            ensure(!self.leaves.contains(slot), || {
                let priority = band.priority();
                format!("leaf {slot} of priority {priority} is also among the other leaves")
            })?;
        }
        Ok(leaves + self.bands.waiting().count())
    }
}

impl<L: Leaves> RetainedLeaves<L> {
    /// Sets the priority of the listed `slot`.
    pub(super) fn set_priority(&mut self, slot: u32, priority: Priority) {
        let before = self.bands.place(slot);
        if priority == before.map_or(Priority::DEFAULT, Band::priority) {
            return;
        }
        let is_leaf = self.contains(slot);
        if is_leaf {
            self.demote(slot);
        }
        if priority == Priority::DEFAULT {
            self.bands.take_place(slot);
        } else {
            self.places += 1;
            let band = Band::of(priority);
            self.bands.set_place(slot, band, self.places);
        }
        if is_leaf {
            self.add(slot);
        }
    }
}
