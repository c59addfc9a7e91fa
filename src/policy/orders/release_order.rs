//! Least recently released first, within levels of frequency.
//!
//! There is one list per level, over a shared array of links. Releasing a block appends it
//! to the list of its level, matching it takes it out of its list, and the victim is the
//! front of the lowest level that is not empty. Each is O(1); finding the victim looks at
//! one list per level at most.

use crate::SequenceHash;
use crate::policy::containers::bands::Bands;
use crate::policy::containers::list::Lists;
use crate::policy::priorities::retained::Retained;
use crate::policy::slot_policy::{First, PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;

/// Evicts from the lowest level, and there the block whose last release is longest ago.
pub(crate) struct ReleaseOrder<const LEVELS: u32> {
    levels: Lists,
}

impl<const LEVELS: u32> ReleaseOrder<LEVELS> {
    pub(crate) fn new(block_count: usize) -> Self {
        Self {
            levels: Lists::new(block_count, LEVELS as usize),
        }
    }

    #[inline]
    fn first_level(&self) -> Option<(u32, u32)> {
        (0..LEVELS).find_map(|level| Some((level, self.levels.first(level)?)))
    }
}

impl<const LEVELS: u32> SlotPolicy for ReleaseOrder<LEVELS> {
    #[inline]
    fn insert(&mut self, slot: u32, _hash: SequenceHash, level: u8) {
        self.levels.unlink(slot);
        self.levels.push_back(u32::from(level), slot);
    }

    #[inline]
    fn remove(&mut self, slot: u32) {
        self.levels.unlink(slot);
    }

    fn pop(&mut self) -> Option<u32> {
        let (_, slot) = self.first_level()?;
        self.levels.unlink(slot);
        Some(slot)
    }

    fn pop_each(&mut self, victims: &mut [u32]) -> usize {
        (0..LEVELS).fold(0, |popped, level| {
            popped + self.levels.pop_front(level, &mut victims[popped..])
        })
    }

    fn first(&mut self) -> Option<First> {
        let (level, slot) = self.first_level()?;
        Some(First::of(slot, Priority::DEFAULT, level as u8))
    }

    fn next_level(&self) -> u8 {
        self.first_level().map_or(0, |(level, _)| level as u8)
    }

    fn contains(&self, slot: u32) -> bool {
        self.levels.contains(slot)
    }

    fn len(&self) -> usize {
        self.levels.len()
    }

    /// False: taking a block out leaves the order of the others unchanged, and its own next
    /// position comes from its next release.
    fn needs_all_updates(&self) -> bool {
        false
    }

    /// True: see [`needs_all_updates`](Self::needs_all_updates).
    fn resurrections_commute(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        self.levels.check()
    }
}

impl<const LEVELS: u32> PlainPolicy for ReleaseOrder<LEVELS> {
    fn with_priorities(self: Box<Self>, bands: Bands) -> Box<dyn PrioritizedPolicy> {
        Box::new(Retained::new(*self, bands))
    }
}
