//! Victim caches: victims taken from the policy plane ahead of need, a few per shard.
//!
//! Under a policy whose next victims do not depend on later releases
//! (`SlotPolicy::hands_out_ahead`: true of least recently released, but not of lineage), an
//! allocation that holds the plane takes more victims than it needs and leaves the rest in the
//! cache of its shard. So one visit to the plane serves several allocations, and threads on
//! different shards rarely compete for it.
//!
//! # What state is a prefetched block in?
//!
//! It is not evicted. It is inactive, can be matched, and has merely left the policy's order.
//! Its slot says which cache it is in:
//!
//! | step | by | the slot's `victim_cache` |
//! |---|---|---|
//! | the block is prefetched | the holder of the cache | names this cache |
//! | the block is released | the last holder | none: the release queues the block again |
//! | the block is popped, and names this cache | the holder of the cache | unchanged: the block is a victim, if it is still inactive |
//! | the block is popped, and does not name this cache | the holder of the cache | unchanged: the block is skipped |
//!
//! A block that is active when it is popped cannot be evicted, and its next release queues it.
//! So prefetching does not change the policy's order.
//!
//! # What if the holder of a cache is suspended?
//!
//! A cache is guarded by a try-lock, like the plane. Threads of other shards may take it too,
//! and a sweep still finds the blocks of a cache that another thread holds.

use crate::sync::try_lock::{TryLock, TryLockGuard};

use crate::engine::parts::slot::{NIL, Slot};

/// The number of blocks that a victim cache holds.
pub(crate) const CAPACITY: usize = 64;

/// The victim cache of one shard.
pub(crate) struct VictimCache(TryLock<PrefetchedVictims>);

impl VictimCache {
    /// Creates the empty cache of a shard.
    pub(crate) fn new(shard: usize) -> Self {
        Self(TryLock::new(PrefetchedVictims {
            shard,
            blocks: [NIL; CAPACITY],
            next: 0,
            end: 0,
        }))
    }

    /// Locks the cache, unless another thread holds it.
    pub(crate) fn try_hold(&self) -> Option<TryLockGuard<'_, PrefetchedVictims>> {
        self.0.try_hold()
    }
}

/// The blocks of a victim cache that is held, in the policy's order. Those left are
/// `blocks[next..end]`.
pub(crate) struct PrefetchedVictims {
    shard: usize,
    blocks: [u32; CAPACITY],
    next: usize,
    end: usize,
}

impl PrefetchedVictims {
    /// Puts up to [`CAPACITY`] blocks into the cache, which must be empty.
    pub(crate) fn fill(&mut self, slots: &[Slot], blocks: &[u32]) {
        for &slot in blocks {
            slots[slot as usize].set_victim_cache(self.shard);
        }
        debug_assert_eq!(self.next, self.end);
        self.blocks[..blocks.len()].copy_from_slice(blocks);
        (self.next, self.end) = (0, blocks.len());
    }

    /// Removes the next block that has not been released since it was prefetched, skipping
    /// those that have.
    pub(crate) fn pop<'s>(&mut self, slots: &'s [Slot]) -> Option<&'s Slot> {
        while self.next < self.end {
            let slot = &slots[self.blocks[self.next] as usize];
            self.next += 1;
            if slot.victim_cache() == Some(self.shard) {
                return Some(slot);
            }
        }
        None
    }

    /// Calls `visit` with the slot number of every block in the cache that has not been
    /// released since it was prefetched.
    pub(crate) fn for_each(&self, slots: &[Slot], visit: impl FnMut(u32)) {
        self.blocks[self.next..self.end]
            .iter()
            .copied()
            .filter(|&block| slots[block as usize].victim_cache() == Some(self.shard))
            .for_each(visit);
    }
}
