//! Victims taken from the policy plane ahead of need, a few for each shard.
//!
//! Under a policy whose next victims stay the next whatever is released later
//! (`SlotPolicy::hands_out_ahead`: least recently released is one, lineage is
//! not), an allocation that comes to the plane takes more victims than it needs
//! and leaves the rest here for its shard. So the plane is visited once for
//! several allocations, and threads on different shards seldom meet there.
//!
//! A prefetched block is not evicted: it is inactive, matchable, and merely out of
//! the policy's hands. Its slot says which victim_cache it is in, and a release takes
//! that back. So a block that has been matched and released since is passed over:
//! that release has queued it anew. One that is in use will be queued by its next
//! release. The order stays the policy's.
//!
//! A victim_cache is taken by a try-lock, like the plane. Others may take it too: no
//! block is out of reach.

use crate::sync::try_lock::{Held, TryLock};

use crate::engine::parts::slot::{NIL, Slot};

/// Blocks a victim_cache holds.
pub(crate) const CAPACITY: usize = 64;

/// See the module documentation.
pub(crate) struct VictimCache(TryLock<Queue>);

impl VictimCache {
    pub(crate) fn new(shard: usize) -> Self {
        Self(TryLock::new(Queue {
            shard,
            blocks: [NIL; CAPACITY],
            next: 0,
            end: 0,
        }))
    }

    /// Takes the victim_cache, unless someone has it.
    pub(crate) fn try_hold(&self) -> Option<Held<'_, Queue>> {
        self.0.try_hold()
    }
}

/// The blocks of one victim_cache, the next victim at `next`.
pub(crate) struct Queue {
    shard: usize,
    blocks: [u32; CAPACITY],
    next: usize,
    end: usize,
}

impl Queue {
    /// Puts blocks in an empty victim_cache.
    pub(crate) fn fill(&mut self, slots: &[Slot], blocks: &[u32]) {
        for &slot in blocks {
            slots[slot as usize].set_victim_cache(self.shard);
        }
        debug_assert_eq!(self.next, self.end);
        self.blocks[..blocks.len()].copy_from_slice(blocks);
        (self.next, self.end) = (0, blocks.len());
    }

    /// Takes the next block that has not been released since it was prefetched.
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

    /// Calls `visit` with the number of every block in the victim_cache that has not been released
    /// since it was prefetched.
    pub(crate) fn for_each(&self, slots: &[Slot], visit: impl FnMut(u32)) {
        self.blocks[self.next..self.end]
            .iter()
            .copied()
            .filter(|&block| slots[block as usize].victim_cache() == Some(self.shard))
            .for_each(visit);
    }
}
