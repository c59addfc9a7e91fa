//! The reset pool: free blocks in sharded, hierarchical atomic bitmaps.
//!
//! A shard is a bitmap over **all** block ids, one bit a block, with summary
//! levels above it: bit `i` of a summary word says that word `i` of the level
//! below may have a bit set. A block is in at most one shard. It is put into
//! the home shard of the thread that frees it, so threads on different shards
//! write different cache lines, and taken from the home shard first, then from
//! the others. Blocks never used yet are not in any shard: they come, in
//! ascending order, from one counter.
//!
//! Why bitmaps and not stacks of slots: one exchange takes up to 64 blocks,
//! there is no link to follow and so no ABA to fear, freeing a block does not
//! touch its slot, and ids come out ascending and mostly contiguous, which is
//! what a transfer engine likes. The cost is memory: a bit a block a shard.
//!
//! # Summaries are hints
//!
//! A word's summary bit is set after the word becomes non-zero, and cleared
//! after it becomes zero; whoever clears it looks at the word again and sets
//! the bit back if it was wrong. Both write the summary word by an atomic
//! read-modify-write, so of the two the later one has seen what the earlier
//! one did below: no block stays hidden once both have finished. A thread
//! suspended between the two steps can hide blocks from [`take`](FreeList::take)
//! for as long as it sleeps; [`take_hidden`](FreeList::take_hidden) finds those
//! too, by looking at every word.

use crossbeam_utils::CachePadded;

use crate::sync::limits::FREELIST_FAN_OUT as FAN_OUT;
use crate::sync::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Eight words in a cache line of their own, so that two shards share none.
#[repr(align(64))]
struct Line([AtomicU64; 8]);

/// One shard: the levels of one bitmap, the widest first.
struct Bitmap {
    /// The leaf where a search begins. From one thread no leaf below it has a bit
    /// set; with several this is a guess, and the summaries know better.
    first: CachePadded<AtomicU32>,
    lines: Box<[Line]>,
    /// Where each level begins, in words; the last level is one word.
    levels: Box<[usize]>,
}

impl Bitmap {
    fn new(bits: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = 0;
        let mut width = bits;
        loop {
            width = width.div_ceil(FAN_OUT);
            levels.push(words);
            words += width;
            if width <= 1 {
                break;
            }
        }
        let lines = (0..words.div_ceil(8))
            .map(|_| Line(std::array::from_fn(|_| AtomicU64::new(0))))
            .collect();
        Self {
            first: CachePadded::new(AtomicU32::new(0)),
            lines,
            levels: levels.into(),
        }
    }

    #[inline]
    fn word(&self, level: usize, at: usize) -> &AtomicU64 {
        let at = self.levels[level] + at;
        &self.lines[at / 8].0[at % 8]
    }

    /// A word of the widest level.
    #[inline]
    fn leaf(&self, at: usize) -> &AtomicU64 {
        &self.lines[at / 8].0[at % 8]
    }

    /// The words of the widest level: those that hold the blocks.
    fn leaves(&self) -> impl Iterator<Item = &AtomicU64> {
        let count = self.levels.get(1).copied().unwrap_or(1);
        self.lines.iter().flat_map(|line| &line.0).take(count)
    }

    /// Sets bits of leaf word `at`.
    #[inline]
    fn put(&self, at: usize, bits: u64) {
        // Release: what the freeing thread did with the blocks happens before
        // whoever takes them (the acquire in `take_from`).
        let before = self.leaf(at).fetch_or(bits, Ordering::Release);
        debug_assert_eq!(before & bits, 0, "a block in {at} was freed twice");
        if before == 0 {
            step!(LeafSet);
            self.announce(at);
        }
    }

    /// Sets the summary bits above leaf word `at`.
    fn announce(&self, mut at: usize) {
        if (at as u32) < self.first.load(Ordering::Relaxed) {
            self.first.store(at as u32, Ordering::Relaxed);
        }
        for level in 1..self.levels.len() {
            // AcqRel: see "Summaries are hints".
            let before = self
                .word(level, at / FAN_OUT)
                .fetch_or(1 << (at % FAN_OUT), Ordering::AcqRel);
            if before != 0 {
                return;
            }
            at /= FAN_OUT;
        }
    }

    /// Clears the summary bits above word `at` of level `from`, which was seen
    /// empty.
    fn retract(&self, from: usize, at: usize) {
        let mut below = at;
        for level in from + 1..self.levels.len() {
            let bit = 1 << (below % FAN_OUT);
            // AcqRel: see "Summaries are hints".
            let before = self
                .word(level, below / FAN_OUT)
                .fetch_and(!bit, Ordering::AcqRel);
            step!(HintCleared);
            if self.word(level - 1, below).load(Ordering::Acquire) != 0 {
                self.announce_from(level, below);
                return;
            }
            if before & !bit != 0 {
                return;
            }
            below /= FAN_OUT;
        }
    }

    /// Sets the summary bits above word `at` of the level below `level`.
    fn announce_from(&self, level: usize, mut at: usize) {
        for level in level..self.levels.len() {
            self.word(level, at / FAN_OUT)
                .fetch_or(1 << (at % FAN_OUT), Ordering::AcqRel);
            at /= FAN_OUT;
        }
    }

    /// Takes up to `max` bits, the lowest first. Returns how many.
    #[inline]
    fn take(&self, max: usize, sink: &mut impl FnMut(u32)) -> usize {
        let mut at = self.first.load(Ordering::Relaxed) as usize;
        let mut taken = 0;
        loop {
            let word = self.leaf(at).load(Ordering::Acquire);
            if word != 0 {
                taken += self.take_from(at, word, max - taken, sink);
                if taken == max {
                    return taken;
                }
            }
            match self.find() {
                Some(next) => at = next,
                None => return taken,
            }
        }
    }

    /// Takes the lowest bit of the leaf where searches begin, unless that is empty
    /// or someone else changes it.
    #[inline]
    fn take_one(&self) -> Option<u32> {
        let at = self.first.load(Ordering::Relaxed) as usize;
        let leaf = self.leaf(at);
        let seen = leaf.load(Ordering::Relaxed);
        if seen == 0 {
            return None;
        }
        let rest = seen & (seen - 1);
        // Acquire: pairs with the release in `put`.
        leaf.compare_exchange(seen, rest, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        if rest == 0 {
            step!(LeafEmptied);
            self.retract(0, at);
        }
        Some((at * FAN_OUT) as u32 + seen.trailing_zeros())
    }

    /// The lowest leaf that has a bit set, found through the summaries.
    fn find(&self) -> Option<usize> {
        let top = self.levels.len() - 1;
        'top: loop {
            let mut at = 0;
            // Acquire: pairs with the summaries' releases, so that a set bit
            // leads to the word it speaks of.
            let mut word = self.word(top, 0).load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            for level in (0..top).rev() {
                at = at * FAN_OUT + word.trailing_zeros() as usize;
                word = self.word(level, at).load(Ordering::Acquire);
                if word == 0 {
                    // The hint above this word was late.
                    self.retract(level, at);
                    continue 'top;
                }
            }
            self.first.store(at as u32, Ordering::Relaxed);
            return Some(at);
        }
    }

    /// Takes up to `max` bits of leaf word `at`, last seen as `word`.
    #[inline]
    fn take_from(&self, at: usize, word: u64, max: usize, sink: &mut impl FnMut(u32)) -> usize {
        let leaf = self.leaf(at);
        let mut seen = word;
        while seen != 0 {
            let (wanted, count) = lowest(seen, max);
            // Acquire: pairs with the release in `put`.
            match leaf.compare_exchange_weak(
                seen,
                seen & !wanted,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    if seen == wanted {
                        step!(LeafEmptied);
                        self.retract(0, at);
                    }
                    let mut left = wanted;
                    while left != 0 {
                        sink((at * FAN_OUT) as u32 + left.trailing_zeros());
                        left &= left - 1;
                    }
                    return count;
                }
                Err(now) => seen = now,
            }
        }
        self.retract(0, at);
        0
    }
}

/// The lowest `max` bits set in `word`, and how many they are.
#[inline]
fn lowest(word: u64, max: usize) -> (u64, usize) {
    let (mut rest, mut count) = (word, 0);
    while rest != 0 && count < max {
        rest &= rest - 1;
        count += 1;
    }
    (word & !rest, count)
}

/// See the module documentation.
pub(crate) struct FreeList {
    shards: Box<[Bitmap]>,
    /// The lowest id that has never been handed out.
    unused: CachePadded<AtomicU32>,
    block_count: u32,
}

impl FreeList {
    /// All of `block_count` blocks free.
    pub(crate) fn new(block_count: u32, shards: usize) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| Bitmap::new(block_count as usize))
                .collect(),
            unused: CachePadded::new(AtomicU32::new(0)),
            block_count,
        }
    }

    /// Frees a block. For its exclusive owner.
    #[inline]
    pub(crate) fn put(&self, home: usize, id: u32) {
        let id = id as usize;
        self.shards[home].put(id / FAN_OUT, 1 << (id % FAN_OUT));
    }

    /// Takes a block of the home shard, if one is at hand.
    #[inline]
    pub(crate) fn take_one(&self, home: usize) -> Option<u32> {
        self.shards[home].take_one()
    }

    /// Takes up to `max` blocks, from the home shard, the unused blocks, and
    /// the other shards, in this order. Returns how many it took.
    #[inline]
    pub(crate) fn take(&self, home: usize, max: usize, mut sink: impl FnMut(u32)) -> Taken {
        let mut count = self.shards[home].take(max, &mut sink);
        if count < max {
            count += self.take_unused(max - count, &mut sink);
        }
        let mut stolen = 0;
        if count < max {
            for away in (home + 1..self.shards.len()).chain(0..home) {
                stolen += self.shards[away].take(max - count - stolen, &mut sink);
                if count + stolen == max {
                    break;
                }
            }
        }
        Taken {
            count: count + stolen,
            stolen,
        }
    }

    #[inline]
    fn take_unused(&self, max: usize, sink: &mut impl FnMut(u32)) -> usize {
        let mut seen = self.unused.load(Ordering::Relaxed);
        loop {
            let wanted = max.min((self.block_count - seen) as usize) as u32;
            if wanted == 0 {
                return 0;
            }
            // Relaxed: an unused block carries nothing from one thread to another.
            match self.unused.compare_exchange_weak(
                seen,
                seen + wanted,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    (seen..seen + wanted).for_each(sink);
                    return wanted as usize;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Takes up to `max` blocks without trusting the summaries. O(block count).
    pub(crate) fn take_hidden(&self, max: usize, mut sink: impl FnMut(u32)) -> usize {
        let mut taken = 0;
        for shard in &self.shards {
            for (at, leaf) in shard.leaves().enumerate() {
                if taken == max {
                    return taken;
                }
                let word = leaf.load(Ordering::Acquire);
                if word != 0 {
                    taken += shard.take_from(at, word, max - taken, &mut sink);
                }
            }
        }
        taken
    }

    /// How many blocks are free. O(block count); exact while nobody takes or
    /// frees one.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let mut len = 0;
        self.for_each(|_| len += 1);
        len
    }

    /// Calls `visit` with every free block. O(block count); exact while nobody
    /// takes or frees one.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(u32)) {
        for shard in &self.shards {
            for (at, leaf) in shard.leaves().enumerate() {
                let mut left = leaf.load(Ordering::Acquire);
                while left != 0 {
                    visit((at * FAN_OUT) as u32 + left.trailing_zeros());
                    left &= left - 1;
                }
            }
        }
        (self.unused.load(Ordering::Acquire)..self.block_count).for_each(visit);
    }
}

/// Blocks to be freed in one shard: neighbours together. The last of them when this
/// is dropped.
pub(crate) struct Puts<'a> {
    bitmap: &'a Bitmap,
    leaf: usize,
    bits: u64,
}

impl<'a> Puts<'a> {
    pub(crate) fn new(list: &'a FreeList, home: usize) -> Self {
        Self {
            bitmap: &list.shards[home],
            leaf: 0,
            bits: 0,
        }
    }

    /// Frees a block, soon. For its exclusive owner.
    #[inline]
    pub(crate) fn add(&mut self, id: u32) {
        let id = id as usize;
        if self.leaf != id / FAN_OUT {
            self.flush();
            self.leaf = id / FAN_OUT;
        }
        self.bits |= 1 << (id % FAN_OUT);
    }

    fn flush(&mut self) {
        if self.bits != 0 {
            self.bitmap.put(self.leaf, self.bits);
            self.bits = 0;
        }
    }
}

impl Drop for Puts<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What [`FreeList::take`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Blocks taken.
    pub(crate) count: usize,
    /// How many of them came from another thread's home shard.
    pub(crate) stolen: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn take(list: &FreeList, home: usize, max: usize) -> Vec<u32> {
        let mut ids = Vec::new();
        let taken = list.take(home, max, |id| ids.push(id));
        assert_eq!(taken.count, ids.len());
        ids
    }

    #[test]
    fn unused_blocks_come_in_ascending_order() {
        let list = FreeList::new(10, 2);
        assert_eq!(take(&list, 1, 4), [0, 1, 2, 3]);
        assert_eq!(take(&list, 0, 4), [4, 5, 6, 7]);
        assert_eq!(take(&list, 0, 4), [8, 9]);
        assert!(take(&list, 1, 1).is_empty());
    }

    #[test]
    fn the_home_shard_comes_first_and_the_others_are_stolen_from() {
        let list = FreeList::new(8, 2);
        take(&list, 0, 8);
        list.put(0, 3);
        list.put(1, 5);
        assert_eq!(take(&list, 1, 1), [5]);
        let taken = list.take(1, 2, |id| assert_eq!(id, 3));
        assert_eq!(
            taken,
            Taken {
                count: 1,
                stolen: 1
            }
        );
    }

    #[test]
    fn blocks_put_together_are_all_there() {
        let list = FreeList::new(4097, 2);
        take(&list, 0, 4097);
        let ids = [0, 1, 63, 64, 4096, 7, 130];
        let mut puts = Puts::new(&list, 1);
        ids.into_iter().for_each(|id| puts.add(id));
        drop(puts);
        assert_eq!(take(&list, 1, 99), [0, 1, 7, 63, 64, 130, 4096]);
        drop(Puts::new(&list, 1));
        assert_eq!(list.len(), 0);
    }

    #[test]
    fn every_size_keeps_every_block() {
        for count in [1, 2, 63, 64, 65, 511, 512, 513, 4095, 4096, 4097, 70_000] {
            let list = FreeList::new(count, 3);
            let ids = take(&list, 0, count as usize);
            assert_eq!(ids.len(), count as usize);
            for &id in &ids {
                list.put(id as usize % 3, id);
            }
            assert_eq!(list.len(), count as usize);
            let mut back = take(&list, 2, usize::MAX);
            back.sort_unstable();
            assert_eq!(back, ids);
            assert_eq!(list.len(), 0);
            for &id in &ids {
                list.put(0, id);
            }
            let mut hidden = Vec::new();
            list.take_hidden(usize::MAX, |id| hidden.push(id));
            assert_eq!(hidden, ids);
        }
    }

    #[test]
    fn one_at_a_time_the_lowest_comes_first() {
        let list = FreeList::new(4097, 1);
        let ids = take(&list, 0, 4097);
        assert_eq!(list.take_one(0), None);
        // The leaf at hand is the lowest that got a block.
        for id in [4096, 64, 70, 3] {
            list.put(0, id);
        }
        assert_eq!(list.take_one(0), Some(3));
        assert_eq!(list.take_one(0), None, "the next is in another leaf");
        assert_eq!(take(&list, 0, 1), [64]);
        assert_eq!(list.take_one(0), Some(70));
        assert_eq!(take(&list, 0, 2), [4096]);
        assert_eq!(ids.len(), 4097);
    }

    #[test]
    fn lowest_bits() {
        assert_eq!(lowest(0b1011_0100, 2), (0b1_0100, 2));
        assert_eq!(lowest(0b1011_0100, 9), (0b1011_0100, 4));
        assert_eq!(lowest(u64::MAX, 64), (u64::MAX, 64));
        assert_eq!(lowest(1, 0), (0, 0));
    }

    /// A thread suspended in the middle of `put` may hide blocks, but must not keep
    /// others from finding that there are none to be seen.
    #[test]
    fn a_hint_that_came_too_early_is_taken_back() {
        let bitmap = Bitmap::new(64 * 64 * 64 * 64);
        assert_eq!(bitmap.levels.len(), 4);
        // The top says yes, the level below no, and the one below that yes.
        bitmap.word(3, 0).store(1 << 5, Ordering::Relaxed);
        bitmap.word(1, 5 * 64).store(1 << 7, Ordering::Relaxed);
        bitmap.word(0, 5 * 64 * 64 + 7).store(1, Ordering::Relaxed);
        assert_eq!(bitmap.take(1, &mut |_| {}), 0);
        // The rest of the `put`.
        bitmap.announce(5 * 64 * 64 + 7);
        bitmap.word(2, 5).fetch_or(1, Ordering::Relaxed);
        bitmap.word(3, 0).fetch_or(1 << 5, Ordering::Relaxed);
        assert_eq!(bitmap.take(1, &mut |_| {}), 1);
    }

    /// Every block is in one hand or in the list, however the hints race.
    #[test]
    fn threads_share_no_block() {
        const BLOCKS: u32 = 200;
        let list = FreeList::new(BLOCKS, 2);
        let owners: Vec<AtomicUsize> = (0..BLOCKS).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for thread in 1..=4_usize {
                let (list, owners) = (&list, &owners);
                scope.spawn(move || {
                    for round in 0..5_000 {
                        let mut held = Vec::new();
                        list.take(thread % 2, 1 + round % 70, |id| held.push(id));
                        for &id in &held {
                            assert_eq!(owners[id as usize].swap(thread, Ordering::Relaxed), 0);
                        }
                        for id in held {
                            assert_eq!(owners[id as usize].swap(0, Ordering::Relaxed), thread);
                            list.put((thread + round) % 2, id);
                        }
                    }
                });
            }
        });
        assert_eq!(list.len(), BLOCKS as usize);
        assert_eq!(take(&list, 0, usize::MAX).len(), BLOCKS as usize);
    }
}
