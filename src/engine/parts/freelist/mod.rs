//! The reset pool: free blocks, in sharded hierarchical atomic bitmaps.
//!
//! A shard is a bitmap over **all** slot numbers, with summary levels above it: see
//! [`bitmap`]. A block is in at most one shard. It is put into the home shard of the thread
//! that frees it, so threads on different shards write different cache lines; and it is taken
//! from the home shard first, then from the others. Blocks that have never been used are in no
//! shard, but come from one counter, in ascending order.
//!
//! # Why bitmaps and not stacks of slots?
//!
//! One exchange takes up to 64 blocks. There is no link to follow, and so no ABA problem.
//! Freeing a block does not touch its slot. And slot numbers come out in ascending and mostly
//! contiguous order, which suits transfer engines. The price is memory: one bit per block and
//! shard.
//!
//! # What if a thread is suspended while it frees a block?
//!
//! Its block may be hidden from [`take`](FreeList::take), and so may others that are freed into
//! the same leaf meanwhile. [`take_hidden`](FreeList::take_hidden) finds those too: it looks at
//! every leaf.

mod bitmap;
mod taken;

use crossbeam_utils::CachePadded;

use crate::sync::limits::FREELIST_FAN_OUT as FAN_OUT;
use crate::sync::{AtomicU32, Ordering};

use crate::engine::parts::freelist::bitmap::FreeBitmap;

pub(crate) use crate::engine::parts::freelist::taken::TakenBlocks;

/// The free blocks of a store.
///
/// A `home` argument is the shard of the calling thread.
pub(crate) struct FreeList {
    shards: Box<[FreeBitmap]>,
    /// The lowest slot number that has never been taken.
    unused: CachePadded<AtomicU32>,
    block_count: u32,
}

impl FreeList {
    /// Creates a freelist in which all `block_count` blocks are free.
    pub(crate) fn new(block_count: u32, shards: usize) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| FreeBitmap::new(block_count as usize))
                .collect(),
            unused: CachePadded::new(AtomicU32::new(0)),
            block_count,
        }
    }

    /// Frees a block. Wait-free: one atomic operation. Returns whether the block is the first
    /// free one of its leaf: the caller then [announces](Self::announce) it.
    ///
    /// # Safety
    ///
    /// The block belongs to the caller alone, which gives it up.
    #[inline]
    #[must_use = "a block that is not announced may be hidden"]
    pub(crate) unsafe fn put_unannounced(&self, home: usize, id: u32) -> bool {
        let id = id as usize;
        // SAFETY: the caller's contract.
        unsafe { self.shards[home].put(id / FAN_OUT, 1 << (id % FAN_OUT)) }
    }

    /// Updates the summaries for a block that is the first free one of its leaf. Wait-free: one
    /// atomic operation for each summary level that has to be updated.
    pub(crate) fn announce(&self, home: usize, id: u32) {
        self.shards[home].announce(id as usize / FAN_OUT);
    }

    /// Frees a block, and announces it if need be.
    ///
    /// # Safety
    ///
    /// The block belongs to the caller alone, which gives it up.
    #[cfg(test)]
    pub(crate) unsafe fn put(&self, home: usize, id: u32) {
        // SAFETY: the caller's contract.
        if unsafe { self.put_unannounced(home, id) } {
            self.announce(home, id);
        }
    }

    /// Takes a block of the home shard, if a single exchange suffices. Otherwise returns
    /// `None`, even though there may be free blocks.
    #[inline]
    pub(crate) fn take_one(&self, home: usize) -> Option<u32> {
        self.shards[home].take_one()
    }

    /// Takes up to `max` blocks, at least one, and calls `sink` with those of each exchange:
    /// first from the home shard, then blocks that have never been used, then from the other
    /// shards. Lock-free.
    #[inline]
    pub(crate) fn take(
        &self,
        home: usize,
        max: usize,
        mut sink: impl FnMut(TakenBlocks),
    ) -> TakenFree {
        debug_assert_ne!(max, 0);
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
        TakenFree {
            count: count + stolen,
            stolen,
        }
    }

    /// Takes up to `max` blocks that have never been used.
    #[inline]
    fn take_unused(&self, max: usize, sink: &mut impl FnMut(TakenBlocks)) -> usize {
        let mut seen = self.unused.load(Ordering::Relaxed);
        loop {
            let wanted = max.min((self.block_count - seen) as usize) as u32;
            if wanted == 0 {
                return 0;
            }
            // Relaxed: nothing about an unused block passes from one thread to another.
            match self.unused.compare_exchange_weak(
                seen,
                seen + wanted,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    sink(TakenBlocks::Range(seen..seen + wanted));
                    return wanted as usize;
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Takes up to `max` blocks without relying on the summaries, from all shards, but not
    /// from the blocks that were never used. Returns how many. O(block count).
    pub(crate) fn take_hidden(&self, max: usize, mut sink: impl FnMut(TakenBlocks)) -> usize {
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

    /// Returns the number of free blocks. O(block count); exact while no other thread takes or
    /// frees one.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let mut len = 0;
        self.for_each(|_| len += 1);
        len
    }

    /// Calls `visit` with the slot number of every free block. O(block count); exact while no
    /// other thread takes or frees one.
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

/// Frees blocks into one shard, neighbours by a single exchange.
///
/// An added block becomes free when the batch moves on to another leaf, or at the latest when
/// this is dropped.
pub(crate) struct Puts<'a> {
    bitmap: &'a FreeBitmap,
    leaf: usize,
    bits: u64,
}

impl<'a> Puts<'a> {
    /// Begins a batch for the home shard.
    pub(crate) fn new(list: &'a FreeList, home: usize) -> Self {
        Self {
            bitmap: &list.shards[home],
            leaf: 0,
            bits: 0,
        }
    }

    /// Adds a block to the batch.
    ///
    /// # Safety
    ///
    /// The block belongs to the caller alone, which gives it up.
    #[inline]
    pub(crate) unsafe fn add(&mut self, id: u32) {
        let id = id as usize;
        if self.leaf != id / FAN_OUT {
            self.flush();
            self.leaf = id / FAN_OUT;
        }
        self.bits |= 1 << (id % FAN_OUT);
    }

    /// Frees the blocks that were added to the current leaf.
    fn flush(&mut self) {
        if self.bits != 0 {
            // SAFETY: these are the blocks that were added and not yet freed.
            if unsafe { self.bitmap.put(self.leaf, self.bits) } {
                self.bitmap.announce(self.leaf);
            }
            self.bits = 0;
        }
    }
}

impl Drop for Puts<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The result of [`FreeList::take`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenFree {
    /// The number of blocks taken.
    pub(crate) count: usize,
    /// The number of blocks that came from another thread's home shard.
    pub(crate) stolen: usize,
}

#[cfg(test)]
mod tests;
