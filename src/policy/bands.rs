//! Blocks with a priority of their own.
//!
//! A block whose priority is not the default has a *band*, and *waits* in it while it
//! could be evicted. The order of the bands, and within one that of the blocks, is kept
//! here; what has the default is the policy's.

use std::collections::{BTreeMap, BTreeSet};

use super::ensure;
use crate::retention::Priority;

/// See the module documentation.
#[derive(Default)]
pub(super) struct Bands {
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
    pub(super) fn priority(&self, slot: u32) -> Priority {
        self.of
            .get(&slot)
            .map_or(Priority::DEFAULT, |band| band.priority)
    }

    /// Gives a slot a band, with the last place; or another one, with the place it has if
    /// it waits, as it does then.
    pub(super) fn set(&mut self, slot: u32, priority: Priority) {
        let place = match self.of.get(&slot) {
            Some(band) if band.waits => band.place,
            _ => self.last_place(),
        };
        let waits = self.unwait(slot);
        let band = Band {
            priority,
            place,
            waits: false,
        };
        self.of.insert(slot, band);
        if waits {
            self.wait(slot);
        }
    }

    fn last_place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }

    /// Takes a slot's band away, if it has one.
    pub(super) fn forget(&mut self, slot: u32) {
        self.unwait(slot);
        self.of.remove(&slot);
    }

    /// Lets a slot wait. Returns whether it has a band.
    pub(super) fn wait(&mut self, slot: u32) -> bool {
        let Some(band) = self.of.get_mut(&slot) else {
            return false;
        };
        band.waits = true;
        self.waiting.insert((band.priority, band.place, slot));
        true
    }

    /// Lets a slot that did not wait do so at the last place. Returns whether it has a
    /// band.
    pub(super) fn wait_last(&mut self, slot: u32) -> bool {
        let place = self.last_place();
        if let Some(band) = self.of.get_mut(&slot) {
            band.place = place;
        }
        self.wait(slot)
    }

    /// Lets a slot wait no longer. Returns whether it did.
    pub(super) fn unwait(&mut self, slot: u32) -> bool {
        match self.of.get_mut(&slot) {
            Some(band) if band.waits => {
                band.waits = false;
                self.waiting.remove(&(band.priority, band.place, slot))
            }
            _ => false,
        }
    }

    /// Whether a slot waits.
    pub(super) fn waits(&self, slot: u32) -> bool {
        self.of.get(&slot).is_some_and(|band| band.waits)
    }

    /// The first that waits.
    pub(super) fn first(&self) -> Option<u32> {
        self.waiting.first().map(|&(_, _, slot)| slot)
    }

    /// The first that waits, if its priority is no higher than the default.
    pub(super) fn first_of_low(&self) -> Option<u32> {
        let &(priority, _, slot) = self.waiting.first()?;
        (priority <= Priority::DEFAULT).then_some(slot)
    }

    /// Those that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Priority, u32)> {
        self.waiting
            .iter()
            .map(|&(priority, _, slot)| (priority, slot))
    }

    pub(super) fn check(&self) -> Result<(), String> {
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
