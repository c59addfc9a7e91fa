//! Slots in order of release, in a ring.
//!
//! A release appends the slot and records its position. An entry counts only while its slot's
//! recorded position is its own. Taking a slot out, or releasing it again, is therefore a single
//! store, and the front skips entries that no longer count.
//!
//! # Why not a linked list?
//!
//! Taking the next ten victims off a list costs ten cache misses, each of which can start
//! only when the one before has arrived. In the ring, the victims are adjacent, and their
//! positions are looked up independently of each other. That shortens the time for which the
//! policy is held when several cores take turns at it.
//!
//! # How is the ring compacted?
//!
//! Entries that no longer count are squeezed out once the ring is half full, a few with every
//! release, so no release pays for all of them. The pass moves the entries that count towards
//! the front and leaves a gap behind them, which ends at the current position of the pass. The
//! ring has four places per slot. A pass begins at two entries per slot, visits four entries
//! per release, and is done when it has caught up with the end, at fewer than three per slot. A
//! pass is also done if fewer than two entries per slot are left before it has met one that
//! counts: if the oldest blocks are evicted first, no entry is ever moved.

use super::{NIL, ensure};

/// Entries visited per release while a pass is in progress.
const STEPS: u32 = 4;
/// Entries visited by a trim.
const TRIMMED: u32 = 64;

/// See the module documentation. Positions count up from the first release and wrap; their
/// low bits address the ring.
pub(crate) struct ReleaseRing {
    ring: Box<[u32]>,
    /// The position of each slot's entry; `NIL` for a slot that is not listed.
    positions: Box<[u32]>,
    front: u32,
    end: u32,
    /// The gap of the pass in progress: entries from `.0` up to `.1` do not count.
    gap: Option<(u32, u32)>,
}

impl ReleaseRing {
    pub(crate) fn new(slots: usize) -> Self {
        let places = (4 * slots).next_power_of_two();
        assert!(places <= 1 << 31, "too many slots: {slots}");
        Self {
            ring: vec![0; places].into_boxed_slice(),
            positions: vec![NIL; slots].into_boxed_slice(),
            front: 0,
            end: 0,
            gap: None,
        }
    }

    #[inline]
    fn counts(&self, position: u32) -> bool {
        position != NIL && self.positions[self.at(position) as usize] == position
    }

    /// Puts the entry of `slot` at `position`, or just after it if that is the value that
    /// means "not listed". Returns the position after the entry.
    #[inline]
    fn place(&mut self, slot: u32, position: u32) -> u32 {
        let position = if position == NIL { 0 } else { position };
        let places = self.ring.len();
        self.ring[position as usize & (places - 1)] = slot;
        self.positions[slot as usize] = position;
        position + 1
    }

    /// Appends `slot`. An earlier entry of the slot no longer counts.
    #[cfg(test)]
    pub(crate) fn push(&mut self, slot: u32) {
        self.push_and_move(slot, |_, _| {});
    }

    /// Appends `slot`; an earlier entry of the slot no longer counts. Calls `moved` with the old and
    /// the new position of each entry that the pass in progress moves. Returns whether part of a
    /// pass was done.
    #[inline]
    pub(crate) fn push_and_move(&mut self, slot: u32, moved: impl FnMut(u32, u32)) -> bool {
        self.end = self.place(slot, self.end);
        let squeezes = self.gap.is_some() || self.is_half_full();
        if squeezes {
            self.squeeze(moved);
        }
        squeezes
    }

    #[inline]
    fn is_half_full(&self) -> bool {
        self.end.wrapping_sub(self.front) as usize > self.ring.len() / 2
    }

    /// Does part of a pass, and begins one if none is in progress. The pass is done when its
    /// gap reaches the end, or when it has found so little to keep that the ring is no
    /// longer half full.
    #[inline(never)]
    fn squeeze(&mut self, mut moved: impl FnMut(u32, u32)) {
        let (mut begin, mut until) = self.gap.unwrap_or((self.front, self.front));
        for _ in 0..STEPS {
            if until == self.end {
                self.end = begin;
                self.gap = None;
                return;
            }
            if self.counts(until) {
                if begin == self.front {
                    self.front = until;
                    begin = until;
                    if !self.is_half_full() {
                        self.gap = None;
                        return;
                    }
                }
                let slot = self.at(until);
                let next = self.place(slot, begin);
                if begin != until {
                    moved(until, self.positions[slot as usize]);
                }
                begin = next;
            }
            until = until.wrapping_add(1);
        }
        self.gap = Some((begin, until));
    }

    /// Takes `slot` out, if it is listed.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.positions[slot as usize] = NIL;
    }

    /// Takes out the slot that was released first, and returns it.
    #[cfg(test)]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        loop {
            if let Some((begin, until)) = self.gap
                && self.front == begin
            {
                self.front = until;
                self.gap = None;
            }
            if self.front == self.end {
                return None;
            }
            let position = self.front;
            self.front = self.front.wrapping_add(1);
            if self.counts(position) {
                let slot = self.at(position);
                self.positions[slot as usize] = NIL;
                return Some(slot);
            }
        }
    }

    /// Moves the front past entries that do not count, up to a bounded number of them.
    ///
    /// Call this where slots are taken out rather than popped: leaving these entries to the
    /// passes costs more.
    pub(crate) fn trim(&mut self) {
        if self.gap.is_some() {
            return;
        }
        for _ in 0..TRIMMED {
            if self.front == self.end || self.counts(self.front) {
                return;
            }
            self.front = self.front.wrapping_add(1);
        }
    }

    /// Returns the position of `slot`, if it is listed. Valid until its entry is moved.
    #[inline]
    pub(crate) fn position(&self, slot: u32) -> u32 {
        self.positions[slot as usize]
    }

    /// Returns the slot whose entry is at `position`.
    #[inline]
    pub(crate) fn at(&self, position: u32) -> u32 {
        self.ring[self.index(position) as usize]
    }

    /// Returns the index in the ring of the entry at `position`.
    #[inline]
    pub(crate) fn index(&self, position: u32) -> u32 {
        position & (self.ring.len() - 1) as u32
    }

    /// Returns the position before which nothing is listed.
    #[inline]
    pub(crate) fn front(&self) -> u32 {
        self.front
    }

    /// Returns the number of entries that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.ring.len()
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.positions[slot as usize] != NIL
    }

    /// Returns the number of listed slots. O(slots).
    pub(crate) fn len(&self) -> usize {
        self.listed().count()
    }

    /// Returns the listed slots, in no particular order.
    pub(crate) fn listed(&self) -> impl Iterator<Item = u32> {
        (0..self.positions.len() as u32).filter(|&slot| self.contains(slot))
    }

    /// Verifies that every listed slot has its entry between front and end, and outside the
    /// gap.
    pub(crate) fn check(&self) -> Result<(), String> {
        let span = self.end.wrapping_sub(self.front);
        ensure(span as usize <= self.ring.len(), || {
            format!("{span} entries in {} places", self.ring.len())
        })?;
        let gap = self.gap.map_or(0..0, |(begin, until)| {
            begin.wrapping_sub(self.front)..until.wrapping_sub(self.front)
        });
        let mut counted = 0;
        for offset in (0..span).filter(|offset| !gap.contains(offset)) {
            counted += usize::from(self.counts(self.front.wrapping_add(offset)));
        }
        let listed = self.len();
        ensure(counted == listed, || {
            format!("{counted} entries count, {listed} slots are listed")
        })
    }

    /// Starts at another position, to test wrapping.
    #[cfg(test)]
    pub(crate) fn starting_at(mut self, position: u32) -> Self {
        (self.front, self.end) = (position, position);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Random;

    /// Pushes, takes out and pops at random, and compares with a plain queue.
    fn agrees(mut ring: ReleaseRing, slots: u64, pushes: u64, seed: u64) {
        let mut random = Random::new(seed);
        let mut queue: Vec<u32> = Vec::new();
        for _ in 0..10_000 {
            let slot = random.below(slots) as u32;
            let choice = random.below(10);
            if choice < pushes {
                queue.retain(|&listed| listed != slot);
                queue.push(slot);
                ring.push(slot);
            } else if choice == pushes {
                queue.retain(|&listed| listed != slot);
                ring.remove(slot);
            } else {
                let victim = (!queue.is_empty()).then(|| queue.remove(0));
                assert_eq!(ring.pop(), victim);
            }
            ring.check().unwrap();
            assert_eq!(ring.len(), queue.len());
        }
    }

    #[test]
    fn agrees_with_a_plain_queue() {
        for (seed, slots) in [(1, 1), (2, 2), (3, 5), (4, 40)] {
            for pushes in [4, 7, 9] {
                agrees(ReleaseRing::new(slots), slots as u64, pushes, seed);
            }
        }
    }

    #[test]
    fn positions_wrap() {
        for back in [0, 1, 7, 300] {
            let ring = ReleaseRing::new(6).starting_at(u32::MAX - back);
            agrees(ring, 6, 8, 5);
        }
    }
}
