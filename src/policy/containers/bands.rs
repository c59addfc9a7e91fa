//! Blocks whose priority is not the default.
//!
//! Such a block has a *band*, and *waits* in it while it could be evicted. This is where the
//! order of the bands is kept, and the order of the blocks within a band: the block whose
//! priority was set last has the last place. Blocks with the default priority are the
//! policy's.

use std::collections::{BTreeMap, BTreeSet};

use super::ensure;
use crate::retention::Priority;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Bands {
    of: BTreeMap<u32, Band>,
    waiting: BTreeSet<(Priority, u64, u32)>,
    /// The number of places given so far.
    places: u64,
}

#[derive(Clone, Copy)]
struct Band {
    priority: Priority,
    /// The place among blocks of the same priority.
    place: u64,
    waits: bool,
}

impl Bands {
    /// Returns the priority of a slot: the default if it has no band.
    pub(crate) fn priority(&self, slot: u32) -> Priority {
        self.of
            .get(&slot)
            .map_or(Priority::DEFAULT, |band| band.priority)
    }

    /// Gives a slot a band, in place of any earlier one, and the last place in it. The slot
    /// waits if it waited before.
    pub(crate) fn set(&mut self, slot: u32, priority: Priority) {
        debug_assert_ne!(priority, Priority::DEFAULT);
        let waits = self.unwait(slot);
        self.places += 1;
        let band = Band {
            priority,
            place: self.places,
            waits: false,
        };
        self.of.insert(slot, band);
        if waits {
            self.wait(slot);
        }
    }

    /// Takes a slot's band away, if it has one.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.unwait(slot);
        self.of.remove(&slot);
    }

    /// Makes a slot wait, at its place. Returns whether it has a band.
    pub(crate) fn wait(&mut self, slot: u32) -> bool {
        let Some(band) = self.of.get_mut(&slot) else {
            return false;
        };
        band.waits = true;
        self.waiting.insert((band.priority, band.place, slot));
        true
    }

    /// Stops a slot from waiting. Returns whether it waited.
    pub(crate) fn unwait(&mut self, slot: u32) -> bool {
        match self.of.get_mut(&slot) {
            Some(band) if band.waits => {
                band.waits = false;
                self.waiting.remove(&(band.priority, band.place, slot))
            }
            _ => false,
        }
    }

    /// Returns whether a slot waits.
    pub(crate) fn waits(&self, slot: u32) -> bool {
        self.of.get(&slot).is_some_and(|band| band.waits)
    }

    /// Returns the first slot that waits.
    pub(crate) fn first(&self) -> Option<u32> {
        self.waiting.first().map(|&(_, _, slot)| slot)
    }

    /// Returns the first slot that waits, if its priority is lower than the default.
    pub(crate) fn first_of_low(&self) -> Option<u32> {
        let &(priority, _, slot) = self.waiting.first()?;
        (priority < Priority::DEFAULT).then_some(slot)
    }

    /// Returns the slots that wait.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (Priority, u32)> {
        self.waiting
            .iter()
            .map(|&(priority, _, slot)| (priority, slot))
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        for &(priority, place, slot) in &self.waiting {
            let band = self.of.get(&slot);
            ensure(
                band.is_some_and(|band| {
                    band.waits && (band.priority, band.place) == (priority, place)
                }),
                || format!("slot {slot} waits with priority {priority}, but not in that band"),
            )?;
        }
        let waiting = self.of.values().filter(|band| band.waits).count();
        ensure(waiting == self.waiting.len(), || {
            format!("{} slots wait, {waiting} are marked so", self.waiting.len())
        })
    }
}
