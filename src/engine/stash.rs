//! Victims taken from the policy plane ahead of need, a few for each shard.
//!
//! Under a policy whose next victims stay the next whatever is released later
//! (`EvictionPolicy::hands_out_ahead`: least recently released is one, lineage is
//! not), an allocation that comes to the plane takes more victims than it needs
//! and leaves the rest here for its shard. So the plane is visited once for
//! several allocations, and threads on different shards seldom meet there.
//!
//! A stashed block is not evicted: it is inactive, matchable, and merely out of
//! the policy's hands. Its slot says which stash it is in, and a release takes
//! that back. So a block that has been matched and released since is passed over:
//! that release has noted it anew. One that is in use will be noted by its next
//! release. The order stays the policy's.
//!
//! A stash is taken by a try-lock, like the plane. Others may take it too: no
//! block is out of reach.

use std::cell::UnsafeCell;

use crossbeam_utils::CachePadded;

use super::slot::{NIL, Slot};
use super::sync::{AtomicBool, Ordering};

/// Blocks a stash holds.
pub(super) const STASHED: usize = 64;

/// The blocks of one stash, the next victim at `next`.
struct Queue {
    blocks: [u32; STASHED],
    next: usize,
    end: usize,
}

/// See the module documentation.
pub(super) struct Stash {
    shard: usize,
    taken: CachePadded<AtomicBool>,
    queue: UnsafeCell<Queue>,
}

// SAFETY: the queue is reached only through `Held`, of which there is one at a
// time.
unsafe impl Sync for Stash {}

impl Stash {
    pub(super) fn new(shard: usize) -> Self {
        Self {
            shard,
            taken: CachePadded::new(AtomicBool::new(false)),
            queue: UnsafeCell::new(Queue {
                blocks: [NIL; STASHED],
                next: 0,
                end: 0,
            }),
        }
    }

    /// Takes the stash, unless someone has it.
    pub(super) fn try_hold(&self) -> Option<Held<'_>> {
        if self.taken.load(Ordering::Relaxed) {
            return None;
        }
        // Acquire: pairs with the release of the holder before.
        (!self.taken.swap(true, Ordering::Acquire)).then(|| Held { stash: self })
    }
}

/// A stash, taken until this is dropped.
pub(super) struct Held<'a> {
    stash: &'a Stash,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Release: pairs with the acquire of the next holder.
        self.stash.taken.store(false, Ordering::Release);
    }
}

impl Held<'_> {
    fn queue(&mut self) -> &mut Queue {
        // SAFETY: `taken` was false when this `Held` was made and is true until
        // it is dropped, so it is the only one.
        unsafe { &mut *self.stash.queue.get() }
    }

    /// Puts blocks in an empty stash.
    pub(super) fn fill(&mut self, slots: &[Slot], blocks: &[u32]) {
        for &slot in blocks {
            slots[slot as usize].set_stash(Some(self.stash.shard));
        }
        let queue = self.queue();
        debug_assert_eq!(queue.next, queue.end);
        queue.blocks[..blocks.len()].copy_from_slice(blocks);
        (queue.next, queue.end) = (0, blocks.len());
    }

    /// Takes the next block that has not been released since it was stashed.
    pub(super) fn pop<'s>(&mut self, slots: &'s [Slot]) -> Option<&'s Slot> {
        let shard = self.stash.shard;
        let queue = self.queue();
        while queue.next < queue.end {
            let slot = &slots[queue.blocks[queue.next] as usize];
            queue.next += 1;
            if slot.stash() == Some(shard) {
                return Some(slot);
            }
        }
        None
    }

    /// Calls `visit` with the number of every block in the stash.
    pub(super) fn for_each(&mut self, visit: impl FnMut(u32)) {
        let queue = self.queue();
        queue.blocks[queue.next..queue.end]
            .iter()
            .copied()
            .for_each(visit);
    }
}
