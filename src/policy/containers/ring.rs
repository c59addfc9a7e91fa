//! Slots in order of release, in a ring.
//!
//! A release appends the slot and records its position. An entry counts only while its slot's
//! recorded position is its own. Taking a slot out, or releasing it again, is therefore a single
//! store, and the front skips entries that no longer count.
//!
//! # Why not a linked list?
//!
//! In a list, only the neighbours of a slot are known. Positions tell which of any two slots was
//! released first, and can be members of a [set](super::bitmap) that finds the first of some of
//! the slots.
//!
//! # How is the ring compacted?
//!
//! Entries that no longer count are squeezed out once there are too many entries, a few with every
//! release, so no release pays for all of them. The pass moves the entries that count towards the
//! front and leaves a gap behind them, which ends at the current position of the pass. It visits four
//! entries per release, and is done when it has caught up with the end, when there are a third more
//! than when it began. A pass is also done if there are no longer too many entries before it has met
//! one that counts: if the oldest blocks are evicted first, no entry is ever moved.
//!
//! Too many are more than two for each of the slots up to the largest that was ever listed, and a
//! [few](SLACK). So there are never as many as three for each of them, and a few.
//!
//! # How much memory is touched?
//!
//! Positions go round the ring, which has four of them per slot, however few slots are listed. The
//! entries do not: they are in chunks, and only positions that are between front and end and outside
//! the gap have a chunk. A chunk that is no longer needed is the next one to be used. So the chunks
//! that were ever used are those that the longest ring needed, at twelve bytes for each of the slots
//! up to the largest one.

use super::ensure;

/// The entries in a chunk, a power of two: a page of them. In unit tests there are few, so that
/// short rings have many chunks.
const CHUNK: u32 = if cfg!(test) { 8 } else { 1 << 10 };
/// The number of entries that may be in the ring, besides two per slot, before a pass begins.
const SLACK: u32 = CHUNK;
/// Entries visited per release while a pass is in progress.
const STEPS: u32 = 4;
/// Entries visited by a trim.
const TRIMMED: u32 = 64;

/// The number of a chunk that is never used: it stands for "no chunk".
const NO_CHUNK: u32 = 0;
/// The position that no entry has: it stands for "not listed".
const UNLISTED: u32 = 0;

/// See the module documentation. Positions count up from the first release and wrap. All but the
/// lowest bits of a position lead to its chunk.
pub(crate) struct ReleaseRing {
    /// The chunks.
    entries: Box<[u32]>,
    /// One less than the number of places in the ring, a power of two.
    mask: u32,
    /// The number of the chunk at each place of the ring, or [`NO_CHUNK`].
    chunks: Box<[u32]>,
    /// The chunks that have been in use and no longer are; the last one is used next.
    vacant: Vec<u32>,
    /// One more than the number of chunks that have been in use.
    used: u32,
    /// The position of each slot's entry, or [`UNLISTED`].
    positions: Box<[u32]>,
    front: u32,
    end: u32,
    /// Where in `entries` the next entry is put, or a multiple of the size of a chunk: its chunk has
    /// to be found first.
    next: u32,
    /// The gap of the pass in progress: entries from `.0` up to `.1` do not count.
    gap: Option<(u32, u32)>,
    /// More entries than this are too many.
    limit: u32,
    /// Part of a pass is done if there are more entries than this: the limit, or none while a pass is
    /// in progress.
    pass_above: u32,
}

/// Returns the number of entries that are not too many if there are no other slots than these.
const fn limit(slots: u32) -> u32 {
    2 * slots + SLACK
}

/// Returns the most entries that there can be. A pass that begins at `limit` has caught up when a
/// third more have been added.
const fn most_entries(limit: u32) -> u32 {
    limit + limit / 3 + 4
}

/// Returns the most chunks that this many entries need. Those on either side of the gap begin and
/// end somewhere in a chunk.
const fn most_chunks(entries: u32) -> u32 {
    entries / CHUNK + 4
}

/// Returns the next position that an entry can have.
fn skip_unlisted(position: u32) -> u32 {
    position + u32::from(position == UNLISTED)
}

impl ReleaseRing {
    pub(crate) fn new(slots: usize) -> Self {
        // Enough that front and end are never at the same place of the ring.
        let places = (4 * slots).max(16 * CHUNK as usize).next_power_of_two();
        assert!(places <= 1 << 31, "too many slots: {slots}");
        let chunks = most_chunks(most_entries(limit(slots as u32)));
        Self {
            entries: vec![0; ((1 + chunks) * CHUNK) as usize].into_boxed_slice(),
            mask: (places - 1) as u32,
            chunks: vec![NO_CHUNK; places / CHUNK as usize].into_boxed_slice(),
            vacant: Vec::with_capacity(chunks as usize),
            used: NO_CHUNK + 1,
            positions: vec![UNLISTED; slots].into_boxed_slice(),
            front: 1,
            end: 1,
            next: 0,
            gap: None,
            limit: limit(0),
            pass_above: limit(0),
        }
    }

    /// Returns whether the entry at `position`, which is number `entry` of all, counts.
    #[inline]
    fn counts_at(&self, entry: usize, position: u32) -> bool {
        position != UNLISTED && self.positions[self.entries[entry] as usize] == position
    }

    /// Returns where in `chunks` the chunk of a position is.
    #[inline]
    fn place_of_chunk(&self, position: u32) -> usize {
        (self.index(position) / CHUNK) as usize
    }

    /// Returns where in `entries` the entry at `position` is.
    #[inline]
    fn entry(&self, position: u32) -> usize {
        let chunk = self.chunks[self.place_of_chunk(position)];
        (chunk * CHUNK + position % CHUNK) as usize
    }

    /// Returns where in `entries` the entry at `position` is, in a chunk that it is given if it has
    /// none.
    fn make_room(&mut self, position: u32) -> u32 {
        let place = self.place_of_chunk(position);
        if self.chunks[place] == NO_CHUNK {
            self.chunks[place] = self.vacant.pop().unwrap_or_else(|| {
                self.used += 1;
                self.used - 1
            });
        }
        self.chunks[place] * CHUNK + position % CHUNK
    }

    /// Raises the limit for `slot`, the largest so far.
    #[cold]
    fn raise_limit(&mut self, slot: u32) {
        self.limit = limit(slot + 1);
        if self.gap.is_none() {
            self.pass_above = self.limit;
        }
    }

    /// Finds room for the entry at the end, or just after it if that is the position that means
    /// "not listed".
    #[cold]
    fn find_next(&mut self) {
        self.end = skip_unlisted(self.end);
        self.next = self.make_room(self.end);
    }

    /// Puts the entry of `slot` at `position`, or just after it if that is the value that
    /// means "not listed". Returns the position after the entry.
    fn place(&mut self, slot: u32, position: u32) -> u32 {
        let position = skip_unlisted(position);
        let at = self.make_room(position);
        self.entries[at as usize] = slot;
        self.positions[slot as usize] = position;
        position.wrapping_add(1)
    }

    /// Makes the chunk of a position vacant, if there is one.
    #[cold]
    fn vacate(&mut self, position: u32) {
        let place = self.place_of_chunk(position);
        let chunk = std::mem::replace(&mut self.chunks[place], NO_CHUNK);
        if chunk != NO_CHUNK {
            self.vacant.push(chunk);
        }
    }

    /// Makes the chunk of `position`, which a pass leaves behind, vacant, unless there are entries
    /// in it that the pass has kept: those from the front up to `begin`.
    #[inline]
    fn vacate_gap(&mut self, position: u32, begin: u32) {
        let kept = begin.wrapping_sub(position - position % CHUNK) as i32;
        if begin == self.front || kept <= 0 {
            self.vacate(position);
        }
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
        if self.limit < limit(slot + 1) {
            self.raise_limit(slot);
        }
        if self.next.is_multiple_of(CHUNK) {
            self.find_next();
        }
        self.entries[self.next as usize] = slot;
        self.positions[slot as usize] = self.end;
        self.next += 1;
        self.end = self.end.wrapping_add(1);
        let squeezes = self.end.wrapping_sub(self.front) > self.pass_above;
        if squeezes {
            self.gap = self.squeeze(moved);
            self.pass_above = if self.gap.is_some() { 0 } else { self.limit };
        }
        squeezes
    }

    /// Does part of a pass, and begins one if none is in progress. The pass is done when its
    /// gap reaches the end, or when it has found so little to keep that there are no longer too many
    /// entries. Otherwise, returns its gap.
    #[inline(never)]
    fn squeeze(&mut self, mut moved: impl FnMut(u32, u32)) -> Option<(u32, u32)> {
        let (mut begin, mut until) = self.gap.unwrap_or((self.front, self.front));
        let mut entry = self.entry(until);
        for _ in 0..STEPS {
            if until == self.end {
                self.vacate_gap(until, begin);
                self.end = begin;
                self.next = 0;
                return None;
            }
            if self.counts_at(entry, until) {
                if begin == self.front {
                    self.front = until;
                    begin = until;
                    if self.end.wrapping_sub(self.front) <= self.limit {
                        return None;
                    }
                }
                let slot = self.entries[entry];
                let next = self.place(slot, begin);
                if begin != until {
                    moved(until, self.positions[slot as usize]);
                }
                begin = next;
            }
            until = until.wrapping_add(1);
            entry += 1;
            if until.is_multiple_of(CHUNK) {
                self.vacate_gap(until.wrapping_sub(1), begin);
                entry = self.entry(until);
            }
        }
        Some((begin, until))
    }

    /// Takes `slot` out, if it is listed.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.positions[slot as usize] = UNLISTED;
    }

    /// Takes out the slot that was released first, and returns it.
    #[cfg(test)]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let first =
            (self.listed()).min_by_key(|&slot| self.position(slot).wrapping_sub(self.front))?;
        self.remove(first);
        self.trim();
        Some(first)
    }

    /// Moves the front past entries that do not count, up to a bounded number of them, and not beyond
    /// the end of their chunk.
    ///
    /// Call this where slots are taken out rather than popped: leaving these entries to the
    /// passes costs more.
    pub(crate) fn trim(&mut self) {
        if self.gap.is_some() || self.front == self.end {
            return;
        }
        self.front = skip_unlisted(self.front);
        let until_end = self.end.wrapping_sub(self.front);
        let looks = TRIMMED.min(until_end).min(CHUNK - self.front % CHUNK);
        let entries = &self.entries[self.entry(self.front)..][..looks as usize];
        for &slot in entries {
            if self.positions[slot as usize] == self.front {
                return;
            }
            self.front = self.front.wrapping_add(1);
        }
        if self.front.is_multiple_of(CHUNK) {
            self.vacate(self.front.wrapping_sub(1));
        }
    }

    /// Returns the position of the listed `slot`. Valid until its entry is moved.
    #[inline]
    pub(crate) fn position(&self, slot: u32) -> u32 {
        self.positions[slot as usize]
    }

    /// Returns the slot whose entry is at `position`.
    #[inline]
    pub(crate) fn at(&self, position: u32) -> u32 {
        self.entries[self.entry(position)]
    }

    /// Returns the place in the ring of the entry at `position`. It is as good as the position for
    /// finding the [slot](Self::at).
    #[inline]
    pub(crate) fn index(&self, position: u32) -> u32 {
        position & self.mask
    }

    /// Returns the number of places in the ring, a power of two.
    #[inline]
    pub(crate) fn places(&self) -> u32 {
        self.mask + 1
    }

    /// Returns the position before which nothing is listed.
    #[inline]
    pub(crate) fn front(&self) -> u32 {
        self.front
    }

    #[inline]
    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.positions[slot as usize] != UNLISTED
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
    /// gap; and that there are no more entries and chunks than the largest slot so far accounts
    /// for.
    pub(crate) fn check(&self) -> Result<(), String> {
        let span = self.end.wrapping_sub(self.front);
        let (most, limit) = (most_entries(self.limit), self.limit);
        let is_limit = limit <= self::limit(self.positions.len() as u32);
        ensure(is_limit && span <= most && most <= self.places(), || {
            format!(
                "{span} entries in {} places, with a limit of {limit}",
                self.places()
            )
        })?;
        let gap = self.gap.map_or(0..0, |(begin, until)| {
            begin.wrapping_sub(self.front)..until.wrapping_sub(self.front)
        });
        let mut counted = 0;
        for offset in (0..span).filter(|offset| !gap.contains(offset)) {
            let position = self.front.wrapping_add(offset);
            ensure(
                position == UNLISTED || self.chunks[self.place_of_chunk(position)] != NO_CHUNK,
                || format!("the entry at {position} has no chunk"),
            )?;
            counted += usize::from(self.counts_at(self.entry(position), position));
        }
        let listed = self.len();
        ensure(counted == listed, || {
            format!("{counted} entries count, {listed} slots are listed")
        })?;
        let in_use = self
            .chunks
            .iter()
            .copied()
            .filter(|&chunk| chunk != NO_CHUNK);
        let mut all: Vec<u32> = in_use.chain(self.vacant.iter().copied()).collect();
        let in_use = all.len() - self.vacant.len();
        ensure(in_use <= most_chunks(span) as usize, || {
            format!("{in_use} chunks are in use for {span} entries")
        })?;
        all.sort_unstable();
        let used = self.used;
        ensure(all.into_iter().eq(1..used), || {
            format!("of {used} chunks, some are lost or in use twice")
        })?;
        ensure(used <= 1 + most_chunks(most), || {
            format!("{used} chunks were used, with a limit of {limit} entries")
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

    /// However long it runs, and whichever slots stay, and although it has room for a million.
    #[test]
    fn a_ring_of_few_slots_uses_few_chunks() {
        const FEW: u64 = 300;
        let most = most_chunks(most_entries(limit(FEW as u32)));
        let mut ring = ReleaseRing::new(1 << 20);
        let mut random = Random::new(6);
        for slot in 0..FEW as u32 {
            ring.push(slot);
        }
        for round in 0..400 {
            // In the order of release, but for some that stay for a while, and at random.
            let stays = random.below(8);
            for slot in (0..FEW).filter(|slot| slot % 8 != stays) {
                let slot = if round % 2 == 0 {
                    slot
                } else {
                    random.below(FEW)
                };
                ring.remove(slot as u32);
                if random.below(3) > 0 {
                    ring.trim();
                }
                ring.push(slot as u32);
            }
        }
        ring.check().unwrap();
        assert!(ring.used <= 1 + most, "{}, not {most}", ring.used);
        assert!(ring.entries.len() > 1_000 * (most * CHUNK) as usize);
    }
}
