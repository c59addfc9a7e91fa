//! Leaves with a priority of their own.
//!
//! A leaf that has a [band](crate::policy::bands) waits there, and not among the other
//! leaves: to their order it is listed, but no leaf. So the graph need not know of
//! priorities, and no block goes before its inactive children, whatever theirs are.

use super::Leaves;
use crate::SequenceHash;
use crate::policy::bands::Bands;
use crate::policy::ensure;
use crate::retention::Priority;

/// Leaves in order, those of low priority before and those of high priority after the
/// others.
pub(super) struct RetainedLeaves<L> {
    leaves: L,
    /// None until there is a priority.
    bands: Option<Box<Bands>>,
}

impl<L: Leaves> RetainedLeaves<L> {
    pub(super) fn new(leaves: L) -> Self {
        Self {
            leaves,
            bands: None,
        }
    }

    /// As [`Leaves::list`]. The block has the default priority.
    #[inline(always)]
    pub(super) fn list(&mut self, slot: u32, hash: SequenceHash, leaf: bool) {
        self.leaves.list(slot, hash, leaf);
    }

    /// As [`Leaves::unlist`]. The block's priority ends.
    #[inline(always)]
    pub(super) fn unlist(&mut self, slot: u32) {
        if let Some(bands) = &mut self.bands {
            bands.forget(slot);
        }
        self.leaves.unlist(slot);
    }

    /// As [`Leaves::add`].
    #[inline(always)]
    pub(super) fn add(&mut self, slot: u32) {
        let waits = self.bands.as_mut().is_some_and(|bands| bands.wait(slot));
        if !waits {
            self.leaves.add(slot);
        }
    }

    /// As [`Leaves::demote`].
    #[inline(always)]
    pub(super) fn demote(&mut self, slot: u32) {
        let waited = self.bands.as_mut().is_some_and(|bands| bands.unwait(slot));
        if !waited {
            self.leaves.demote(slot);
        }
    }

    /// As [`Leaves::first`].
    #[inline(always)]
    pub(super) fn first(&mut self) -> Option<u32> {
        let Some(bands) = &self.bands else {
            return self.leaves.first();
        };
        bands
            .first_of_low()
            .or_else(|| self.leaves.first())
            .or_else(|| bands.first())
    }

    /// Sets the priority of a listed block.
    pub(super) fn set_priority(&mut self, slot: u32, priority: Priority) {
        let is_leaf = self.contains(slot);
        if is_leaf {
            self.demote(slot);
        }
        let bands = self.bands.get_or_insert_default();
        if priority == Priority::DEFAULT {
            bands.forget(slot);
        } else {
            bands.set(slot, priority);
        }
        if is_leaf {
            self.add(slot);
        }
    }

    /// As [`Leaves::contains`].
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.leaves.contains(slot) || self.bands.as_ref().is_some_and(|bands| bands.waits(slot))
    }

    /// As [`Leaves::check`].
    pub(super) fn check(&self) -> Result<usize, String> {
        let leaves = self.leaves.check()?;
        let Some(bands) = &self.bands else {
            return Ok(leaves);
        };
        bands.check()?;
        for (priority, slot) in bands.waiting() {
            ensure(!self.leaves.contains(slot), || {
                format!("leaf {slot} of priority {priority} is among the others too")
            })?;
        }
        Ok(leaves + bands.waiting().count())
    }
}
