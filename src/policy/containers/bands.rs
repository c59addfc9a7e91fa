//! Bands of blocks: the lowest band is evicted first.
//!
//! A block *waits* in a band while it could be evicted. There is a band for every priority but
//! the default, and a few in between, for orders that keep their blocks with the default
//! priority here, too.
//!
//! # In which order are the blocks of a band?
//!
//! In one of two; a band is used with one of them only:
//!
//! * as they came ([`append`](Bands::append));
//! * by their [place](Bands::set_place), which a block has whether it waits or not
//!   ([`enter`](Bands::enter)).
//!
//! Each band is a list. A block is usually given its place shortly before it enters, and is then
//! appended. If there is a later place in the band already, the block comes *late*, and goes to
//! a heap that all bands share. The first block is that of the lowest list or that of the heap,
//! whichever is before the other.
//!
//! # What does it cost?
//!
//! Every operation is O(1), except that one with a late block is O(log late blocks). Nothing is
//! allocated after the bands are created; and creating them is O(1) but for the memory, 25 bytes
//! per slot, which is zero, as new memory is.

use super::ensure;
use super::heap::SlotHeap;
use super::list::Lists;
use crate::retention::Priority;

/// Where a block waits. The lowest is evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Band(u8);

impl Band {
    /// The number of bands for blocks with the default priority.
    const DEFAULTS: u8 = 8;
    const FIRST_DEFAULT: u8 = Priority::DEFAULT.get();
    const FIRST_HIGH: u8 = Self::FIRST_DEFAULT + Self::DEFAULTS;
    const COUNT: u8 = Self::FIRST_HIGH + Priority::HIGHEST.get() - Priority::DEFAULT.get();

    /// Returns the band of a priority other than the default.
    pub(crate) fn of(priority: Priority) -> Self {
        debug_assert_ne!(priority, Priority::DEFAULT);
        let shift = u8::from(priority > Priority::DEFAULT) * (Self::DEFAULTS - 1);
        Self(priority.get() + shift)
    }

    /// Returns one of eight bands for blocks with the default priority, the lowest being
    /// number 0.
    pub(crate) fn of_default(number: u8) -> Self {
        debug_assert!(number < Self::DEFAULTS);
        Self(Self::FIRST_DEFAULT + number)
    }

    pub(crate) fn is_low(self) -> bool {
        self.0 < Self::FIRST_DEFAULT
    }

    pub(crate) fn is_high(self) -> bool {
        self.0 >= Self::FIRST_HIGH
    }

    /// Returns the number of a band for blocks with the default priority, or `None` for a band
    /// of another priority.
    pub(crate) fn number_of_default(self) -> Option<u8> {
        let is_default = !self.is_low() && !self.is_high();
        is_default.then(|| self.0 - Self::FIRST_DEFAULT)
    }

    pub(crate) fn priority(self) -> Priority {
        let shift = match self {
            low if low.is_low() => 0,
            high if high.is_high() => Self::DEFAULTS - 1,
            _ => return Priority::DEFAULT,
        };
        Priority::new(self.0 - shift).unwrap_or_default()
    }
}

/// See the module documentation.
pub(crate) struct Bands {
    /// One for each band.
    lists: Lists,
    /// The bands whose list is not empty.
    occupied: u128,
    /// The band in which each slot waits, plus one; 0 if it waits in none.
    waits: Box<[u8]>,
    /// The places of all slots, and the late slots.
    late: SlotHeap,
}

/// The bits of a place that are the number within the band. Above is the band, plus one.
const NUMBER_BITS: u32 = 56;

impl Bands {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            lists: Lists::new(slots, usize::from(Band::COUNT)),
            occupied: 0,
            waits: vec![0; slots].into_boxed_slice(),
            late: SlotHeap::new(slots),
        }
    }

    /// Gives a slot, which must not be about to [enter](Self::enter) or have entered, its place
    /// in a band: behind smaller numbers and before larger ones. No other slot has this place.
    pub(crate) fn set_place(&mut self, slot: u32, band: Band, number: u64) {
        debug_assert!(number >> NUMBER_BITS == 0);
        let place = (u64::from(band.0) + 1) << NUMBER_BITS | number;
        self.late.set_key(slot, place);
    }

    /// Takes a slot's place away. It does not wait.
    pub(crate) fn take_place(&mut self, slot: u32) {
        self.late.set_key(slot, 0);
    }

    /// Returns the band in which a slot has its place.
    pub(crate) fn place(&self, slot: u32) -> Option<Band> {
        let band = self.late.key(slot) >> NUMBER_BITS;
        band.checked_sub(1).map(|band| Band(band as u8))
    }

    /// Makes a slot, which waits in no band, wait at its place. Returns whether it has one.
    pub(crate) fn enter(&mut self, slot: u32) -> bool {
        let Some(band) = self.place(slot) else {
            return false;
        };
        match self.lists.last(u32::from(band.0)) {
            Some(last) if self.late.key(last) > self.late.key(slot) => {
                self.waits[slot as usize] = band.0 + 1;
                self.late.push(slot);
            }
            _ => self.append(slot, band),
        }
        true
    }

    /// Makes a slot, which waits in no band, wait at the end of a band. It keeps its place.
    pub(crate) fn append(&mut self, slot: u32, band: Band) {
        self.waits[slot as usize] = band.0 + 1;
        self.lists.push_back(u32::from(band.0), slot);
        self.occupied |= 1 << band.0;
    }

    /// Stops a slot from waiting. Returns whether it waited. It keeps its place.
    pub(crate) fn leave(&mut self, slot: u32) -> bool {
        let waited = std::mem::take(&mut self.waits[slot as usize]) != 0;
        if waited {
            match self.lists.unlink(slot) {
                Some(emptied) => self.occupied &= !(1 << emptied),
                None => self.late.remove(slot),
            }
        }
        waited
    }

    /// Returns the band in which a slot waits.
    pub(crate) fn band(&self, slot: u32) -> Option<Band> {
        self.waits[slot as usize].checked_sub(1).map(Band)
    }

    /// Returns the slot that is evicted first, with its band.
    pub(crate) fn first(&self) -> Option<(Band, u32)> {
        let listed = self.first_listed();
        let late = self.late.first();
        let late = late.and_then(|slot| Some((self.band(slot)?, slot)));
        match (listed, late) {
            (Some(listed), Some(late)) => {
                let rank = |(band, slot): (Band, u32)| (band, self.late.key(slot));
                Some(if rank(late) < rank(listed) {
                    late
                } else {
                    listed
                })
            }
            (listed, late) => listed.or(late),
        }
    }

    fn first_listed(&self) -> Option<(Band, u32)> {
        if self.occupied == 0 {
            return None;
        }
        let band = self.occupied.trailing_zeros();
        Some((Band(band as u8), self.lists.first(band)?))
    }

    /// Returns the slots that wait, with their bands, in no particular order.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (Band, u32)> {
        let bands = (0..).zip(&self.waits);
        bands.filter_map(|(slot, band)| Some((Band(band.checked_sub(1)?), slot)))
    }

    /// Returns the number of slots that these bands are for.
    pub(crate) fn slots(&self) -> u32 {
        self.waits.len() as u32
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.lists.check()?;
        self.late.check()?;
        let waiting = self.waiting().count();
        let kept = self.lists.len() + self.late.len();
        ensure(waiting == kept, || {
            format!("{waiting} slots wait in a band, {kept} are in a list or late")
        })?;
        for (band, slot) in self.waiting() {
            let (listed, late) = (self.lists.contains(slot), self.late.contains(slot));
            ensure(listed != late, || {
                format!("slot {slot} waits: listed: {listed}, late: {late}")
            })?;
            ensure(listed || self.place(slot) == Some(band), || {
                format!("slot {slot} is late, but not in the band of its place")
            })?;
        }
        for band in 0..u32::from(Band::COUNT) {
            let is_occupied = self.occupied >> band & 1 != 0;
            ensure(is_occupied == self.lists.first(band).is_some(), || {
                format!("band {band} is occupied: {is_occupied}; its list disagrees")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Random;

    fn priority(priority: u8) -> Priority {
        Priority::new(priority).unwrap()
    }

    #[test]
    fn every_priority_has_a_band_and_the_default_has_several() {
        let low = (0..35).map(|of| Band::of(priority(of)));
        let default = (0..Band::DEFAULTS).map(Band::of_default);
        let high = (36..=100).map(|of| Band::of(priority(of)));
        let all: Vec<_> = low.chain(default).chain(high).collect();
        assert!(all.iter().copied().eq((0..Band::COUNT).map(Band)));
        assert_eq!(all.iter().filter(|band| band.is_low()).count(), 35);
        assert_eq!(all.iter().filter(|band| band.is_high()).count(), 65);
        for (band, of) in all.into_iter().zip((0..35).chain([35; 8]).chain(36..=100)) {
            assert_eq!(band.priority(), priority(of));
            let is_default = of == 35;
            assert_eq!(band.number_of_default().is_some(), is_default);
        }
    }

    /// Slots enter and leave at random, in two bands; in a third one they are appended.
    #[test]
    fn agrees_with_a_sorted_list() {
        const SLOTS: u64 = 24;
        let by_place = [Band::of(priority(20)), Band::of_default(3)];
        let appended = Band::of(priority(60));
        let mut random = Random::new(11);
        let mut bands = Bands::new(SLOTS as usize);
        let mut places = [None; SLOTS as usize];
        let mut model: Vec<(Band, u64, u32)> = Vec::new();
        let mut late = 0;
        for step in 0..40_000 {
            let slot = random.below(SLOTS) as u32;
            let waits = model.iter().any(|&(.., other)| other == slot);
            assert_eq!(bands.band(slot).is_some(), waits);
            match random.below(6) {
                0 | 1 if !waits => {
                    let band = by_place[random.below(2) as usize];
                    places[slot as usize] = Some((band, step));
                    bands.set_place(slot, band, step);
                    assert_eq!(bands.place(slot), Some(band));
                }
                2 if !waits => {
                    let place = places[slot as usize];
                    assert_eq!(bands.enter(slot), place.is_some());
                    model.extend(place.map(|(band, number)| (band, number, slot)));
                }
                3 if !waits => {
                    bands.append(slot, appended);
                    model.push((appended, step, slot));
                }
                4 => {
                    assert_eq!(bands.leave(slot), waits);
                    model.retain(|&(.., other)| other != slot);
                    if random.below(4) == 0 {
                        bands.take_place(slot);
                        places[slot as usize] = None;
                    }
                }
                _ => {
                    let first = model.iter().min().map(|&(band, _, slot)| (band, slot));
                    assert_eq!(bands.first(), first, "step {step}");
                }
            }
            late += bands.late.len();
            bands.check().unwrap();
        }
        assert!(late > 10_000, "{late}");
    }
}
