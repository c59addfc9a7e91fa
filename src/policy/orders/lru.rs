//! Least recently released first.
//!
//! One [ring](crate::policy::containers::ring) in order of release, and a
//! [bitmap](crate::policy::containers::bitmap) of the entries that count. Releasing a block appends
//! it, taking it out leaves a gap, and the victim is the first entry that counts, however many gaps
//! there are before it. Each operation takes a bounded number of steps.
//!
//! The same type serves two orders that a store can be configured with:
//!
//! - *LRU* moves a block to the end whenever it is used. A block in use is not listed at
//!   all, so its last use is over when it is released, and appending it then is the move.
//! - *A hash map with first-in-first-out reuse* numbers the blocks as they are released, and
//!   evicts the smallest number. A matched block leaves the map and is numbered again by its
//!   next release, so the numbers ascend in order of last release.
//!
//! Both evict in order of last release.

use crate::SequenceHash;
use crate::policy::containers::bands::Bands;
use crate::policy::containers::bitmap::Bitmap;
use crate::policy::containers::ensure;
use crate::policy::containers::ring::ReleaseRing;
use crate::policy::priorities::retained::Retained;
use crate::policy::slot_policy::{PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::policy::spec::PolicySpec;

/// The order of last release, under either of its names.
pub(crate) struct OldestFirst {
    name: &'static str,
    title: &'static str,
    summary: &'static str,
}

impl OldestFirst {
    pub(crate) const LRU: Self = Self {
        name: "lru",
        title: "LRU",
        summary: "Least recently used first.",
    };

    pub(crate) const HASH_MAP: Self = Self {
        name: "hashmap",
        title: "HashMap",
        summary: "First in, first out, over a hash map: least recently released first.",
    };
}

impl PolicySpec for OldestFirst {
    fn name(&self) -> &'static str {
        self.name
    }

    fn title(&self) -> &'static str {
        self.title
    }

    fn summary(&self) -> &'static str {
        self.summary
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        Box::new(Lru::new(block_count))
    }
}

/// Evicts the block whose last release is longest ago.
pub(crate) struct Lru {
    order: ReleaseRing,
    /// The ring indices of the entries of listed blocks.
    entries: Bitmap,
}

impl Lru {
    pub(crate) fn new(block_count: usize) -> Self {
        let order = ReleaseRing::new(block_count);
        Self {
            entries: Bitmap::new(order.capacity()),
            order,
        }
    }
}

impl Lru {
    /// Takes out the first block, however far its entry is from the front.
    #[cold]
    fn pop_far(&mut self) -> Option<u32> {
        self.order.trim();
        let front = self.order.index(self.order.front());
        let entry = self.entries.first_from(front);
        // Wraps around the end of the ring if there is none before it.
        let entry = entry.or_else(|| self.entries.first_from(0))?;
        let slot = self.order.at(entry);
        self.entries.remove(entry);
        self.order.remove(slot);
        Some(slot)
    }
}

impl SlotPolicy for Lru {
    #[inline]
    fn insert(&mut self, slot: u32, _hash: SequenceHash, _level: u8) {
        self.remove(slot);
        let Self { order, entries } = self;
        let places = order.capacity() as u32 - 1;
        order.push_and_move(slot, |from, to| {
            entries.remove(from & places);
            entries.insert(to & places);
        });
        entries.insert(order.index(order.position(slot)));
    }

    #[inline]
    fn remove(&mut self, slot: u32) {
        if self.order.contains(slot) {
            let entry = self.order.index(self.order.position(slot));
            self.entries.remove(entry);
            self.order.remove(slot);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        if let Some((slot, entry)) = self.order.pop_near() {
            self.entries.remove(entry);
            return Some(slot);
        }
        self.pop_far()
    }

    fn contains(&self, slot: u32) -> bool {
        self.order.contains(slot)
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    /// True, so that the victims are at the front: blocks that were used again are not left there
    /// for an eviction to skip.
    fn observes_resurrection(&self) -> bool {
        true
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

    /// True for a block that is not listed.
    fn leaves_no_trace(&self, slot: u32, _hash: SequenceHash) -> bool {
        !self.contains(slot)
    }

    /// True: what is released later is evicted later.
    fn hands_out_ahead(&self) -> bool {
        true
    }

    fn check(&self) -> Result<(), String> {
        self.order.check()?;
        self.entries.check()?;
        let mut listed = 0;
        for slot in self.order.listed() {
            listed += 1;
            let entry = self.order.index(self.order.position(slot));
            ensure(self.entries.contains(entry), || {
                format!("slot {slot} is listed, but its entry is not found")
            })?;
        }
        let entries = self.entries.count();
        ensure(entries == listed, || {
            format!("{listed} slots are listed, {entries} entries are found")
        })
    }
}

impl PlainPolicy for Lru {
    fn with_priorities(self: Box<Self>, bands: Bands) -> Box<dyn PrioritizedPolicy> {
        Box::new(Retained::new(*self, bands))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Random, any_hash};

    #[test]
    fn releasing_again_moves_to_the_end() {
        let mut lru = Lru::new(3);
        for slot in [0, 1, 2, 0] {
            lru.insert(slot, any_hash(), 0);
        }
        assert_eq!(lru.len(), 3);
        assert_eq!(
            [lru.pop(), lru.pop(), lru.pop()],
            [Some(1), Some(2), Some(0)]
        );
        assert_eq!(lru.pop(), None);
    }

    #[test]
    fn agrees_with_a_plain_queue() {
        const SLOTS: u64 = 12;
        let mut random = Random::new(1);
        let mut lru = Lru::new(SLOTS as usize);
        let mut queue: Vec<u32> = Vec::new();
        for _ in 0..20_000 {
            let slot = random.below(SLOTS) as u32;
            match random.below(4) {
                0 | 1 => {
                    queue.retain(|&listed| listed != slot);
                    queue.push(slot);
                    lru.insert(slot, any_hash(), 0);
                }
                2 => {
                    queue.retain(|&listed| listed != slot);
                    lru.remove(slot);
                }
                _ => {
                    let victim = (!queue.is_empty()).then(|| queue.remove(0));
                    assert_eq!(lru.pop(), victim);
                }
            }
            lru.check().unwrap();
            assert_eq!(lru.len(), queue.len());
            assert_eq!(lru.contains(slot), queue.contains(&slot));
        }
    }
}
