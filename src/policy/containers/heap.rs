//! A binary heap of slots that knows where in it each slot is.
//!
//! It allocates only when it is built. Every operation but [`check`](SlotHeap::check) is moves at most
//! two slots per level: 40 in a heap of a million. Creating it is O(1) but for the memory, which is zero, as new memory is.

use super::ensure;
use crate::sync::count_work;

/// Slots by their keys, the smallest key first; among equal keys, the smallest slot first.
pub(crate) struct SlotHeap {
    heap: Vec<u32>,
    /// Where in the heap each slot is, counted from one; zero if it is not in the heap.
    places: Box<[u32]>,
    keys: Box<[u64]>,
}

impl SlotHeap {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            heap: Vec::with_capacity(slots),
            places: vec![0; slots].into_boxed_slice(),
            keys: vec![0; slots].into_boxed_slice(),
        }
    }

    pub(crate) fn first(&self) -> Option<u32> {
        self.heap.first().copied()
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.places[slot as usize] != 0
    }

    /// Returns the key that was set last, whether the slot is in the heap or not.
    pub(crate) fn key(&self, slot: u32) -> u64 {
        self.keys[slot as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Sets the key of a slot that is not in the heap.
    pub(crate) fn set_key(&mut self, slot: u32, key: u64) {
        debug_assert!(!self.contains(slot), "slot {slot}");
        self.keys[slot as usize] = key;
    }

    /// Adds a slot that is not in the heap, with the key that was set last.
    pub(crate) fn push(&mut self, slot: u32) {
        debug_assert!(!self.contains(slot), "slot {slot}");
        self.heap.push(slot);
        self.rise(self.heap.len() - 1);
    }

    /// Takes a slot out. Does nothing if it is not in the heap.
    pub(crate) fn remove(&mut self, slot: u32) {
        let place = std::mem::take(&mut self.places[slot as usize]) as usize;
        if place == 0 {
            return;
        }
        let place = place - 1;
        self.heap.swap_remove(place);
        if place < self.heap.len() {
            // The slot that has taken its place may be smaller than what is above it, or
            // larger than what is below.
            let place = self.rise(place);
            self.sink(place);
        }
    }

    fn is_before(&self, a: u32, b: u32) -> bool {
        (self.key(a), a) < (self.key(b), b)
    }

    /// Moves the slot at `place` up to where it belongs. Returns its new place.
    fn rise(&mut self, mut place: usize) -> usize {
        let slot = self.heap[place];
        while place > 0 {
            let above = (place - 1) / 2;
            if !self.is_before(slot, self.heap[above]) {
                break;
            }
            self.put(place, self.heap[above]);
            place = above;
            count_work!(1);
        }
        self.put(place, slot);
        place
    }

    /// Moves the slot at `place` down to where it belongs.
    fn sink(&mut self, mut place: usize) {
        let slot = self.heap[place];
        loop {
            let left = 2 * place + 1;
            let Some(&first) = self.heap.get(left) else {
                break;
            };
            let (below, at) = match self.heap.get(left + 1) {
                Some(&second) if self.is_before(second, first) => (second, left + 1),
                _ => (first, left),
            };
            if !self.is_before(below, slot) {
                break;
            }
            self.put(place, below);
            place = at;
            count_work!(1);
        }
        self.put(place, slot);
    }

    fn put(&mut self, place: usize, slot: u32) {
        self.heap[place] = slot;
        self.places[slot as usize] = 1 + place as u32;
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        for (place, &slot) in self.heap.iter().enumerate() {
            let recorded = self.places[slot as usize];
            ensure(recorded == 1 + place as u32, || {
                format!("slot {slot} is at 1 + {place} of the heap, but recorded at {recorded}")
            })?;
            let above = self.heap[place.saturating_sub(1) / 2];
            ensure(!self.is_before(slot, above), || {
                format!("slot {slot} is below {above}, but comes before it")
            })?;
        }
        let recorded = self.places.iter().filter(|&&place| place != 0).count();
        ensure(recorded == self.heap.len(), || {
            format!("{} slots in the heap, {recorded} recorded", self.heap.len())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Random;

    #[test]
    fn agrees_with_a_sorted_list() {
        const SLOTS: u64 = 40;
        let mut random = Random::new(5);
        let mut heap = SlotHeap::new(SLOTS as usize);
        let mut sorted: Vec<(u64, u32)> = Vec::new();
        for _ in 0..20_000 {
            let slot = random.below(SLOTS) as u32;
            if heap.contains(slot) {
                heap.remove(slot);
                sorted.retain(|&(_, other)| other != slot);
            } else {
                let key = random.below(20);
                heap.set_key(slot, key);
                heap.push(slot);
                sorted.push((key, slot));
            }
            heap.remove((slot + 1) % SLOTS as u32);
            sorted.retain(|&(_, other)| other != (slot + 1) % SLOTS as u32);
            heap.check().unwrap();
            assert_eq!(heap.first(), sorted.iter().min().map(|&(_, slot)| slot));
            assert_eq!(heap.len(), sorted.len());
        }
    }
}
