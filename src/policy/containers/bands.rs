//! Blocks with a priority of their own.
//!
//! A block whose priority is not the default has a *band*, and *waits* in it while it
//! could be evicted. The order of the bands, and within one that of the blocks, is kept
//! here: the last place is that of the block whose priority was set last. What has the
//! default is the policy's.

use std::collections::{BTreeMap, BTreeSet};

use super::ensure;
use crate::retention::Priority;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Bands {
    of: BTreeMap<u32, Band>,
    waiting: BTreeSet<(Priority, u64, u32)>,
    /// Counts the places given.
    places: u64,
}

#[derive(Clone, Copy)]
struct Band {
    priority: Priority,
    /// The place among those of the same priority.
    place: u64,
    waits: bool,
}

impl Bands {
    /// The priority of a slot: the default if it has no band.
    pub(crate) fn priority(&self, slot: u32) -> Priority {
        self.of
            .get(&slot)
            .map_or(Priority::DEFAULT, |band| band.priority)
    }

    /// Gives a slot a band, or another one, and the last place in it. It waits if it did.
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

    /// Lets a slot wait, at its place. Returns whether it has a band.
    pub(crate) fn wait(&mut self, slot: u32) -> bool {
        let Some(band) = self.of.get_mut(&slot) else {
            return false;
        };
        band.waits = true;
        self.waiting.insert((band.priority, band.place, slot));
        true
    }

    /// Lets a slot wait no longer. Returns whether it did.
    pub(crate) fn unwait(&mut self, slot: u32) -> bool {
        match self.of.get_mut(&slot) {
            Some(band) if band.waits => {
                band.waits = false;
                self.waiting.remove(&(band.priority, band.place, slot))
            }
            _ => false,
        }
    }

    /// Whether a slot waits.
    pub(crate) fn waits(&self, slot: u32) -> bool {
        self.of.get(&slot).is_some_and(|band| band.waits)
    }

    /// The first that waits.
    pub(crate) fn first(&self) -> Option<u32> {
        self.waiting.first().map(|&(_, _, slot)| slot)
    }

    /// The first that waits, if its priority is lower than the default.
    pub(crate) fn first_of_low(&self) -> Option<u32> {
        let &(priority, _, slot) = self.waiting.first()?;
        (priority < Priority::DEFAULT).then_some(slot)
    }

    /// Those that wait.
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
                || format!("slot {slot} waits with priority {priority}, out of its band"),
            )?;
        }
        let waiting = self.of.values().filter(|band| band.waits).count();
        ensure(waiting == self.waiting.len(), || {
            format!("{} slots wait, {waiting} are marked so", self.waiting.len())
        })
    }
}
