//! Leases: pins with an owner and an expiry. See [`leases`](crate::leases).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::leases::{ForeignBlock, Holder, Lease, LeaseError, LeaseId, Next};

use super::BlockManager;

/// How often an allocation yields to threads that are releasing the blocks of expired leases,
/// before it is refused.
const YIELDS: u32 = 4096;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Leases blocks to an owner for so long from now; with `None`, until the lease is
    /// released. The guards are the lease's from now on. See [`leases`](crate::leases).
    ///
    /// There may be no blocks, and blocks may be leased more than once. O(blocks);
    /// allocates, and takes the mutex of the leases for a moment.
    ///
    /// # Errors
    ///
    /// If a block is another manager's: all of them are handed back.
    pub fn lease(
        &self,
        blocks: Vec<ImmutableBlock<T>>,
        owner: impl Into<Arc<str>>,
        duration: Option<Duration>,
    ) -> Result<Lease<T>, ForeignBlock<T>> {
        match blocks.iter().find(|block| !block.is_of(&self.store)) {
            Some(foreign) => Err(ForeignBlock {
                block_id: foreign.block_id(),
                blocks,
            }),
            None => Ok(self
                .leases
                .add(blocks, owner.into(), duration, Instant::now())),
        }
    }

    /// Renews a lease by its id: see [`Lease::renew`].
    ///
    /// # Errors
    ///
    /// If the lease has ended, or is another manager's.
    pub fn renew_lease(&self, id: LeaseId, duration: Option<Duration>) -> Result<(), LeaseError> {
        self.leases.renew(id, duration, Instant::now())
    }

    /// Releases a lease by its id: see [`Lease::release`].
    ///
    /// # Errors
    ///
    /// If the lease had ended before, or is another manager's.
    pub fn release_lease(&self, id: LeaseId) -> Result<(), LeaseError> {
        self.leases.release(id, Instant::now())
    }

    /// Ends the leases that have expired and lets go of their blocks. Returns how many
    /// leases.
    ///
    /// Not needed for allocations, which do it themselves before one is refused; but
    /// until somebody does it the blocks are held. Waits for the mutex of the leases,
    /// and lets go of the blocks without it. O(blocks that are let go of).
    pub fn expire_leases(&self) -> usize {
        self.leases.expire(Instant::now())
    }

    /// Who keeps what, since when, until when: the leases, in the order in which they
    /// were made. Those that have expired are ended first. To ask holds no block.
    ///
    /// Of blocks that are held by guards alone nobody knows the owner;
    /// [`unleased_blocks`](Self::unleased_blocks) counts them. O(leased blocks);
    /// allocates, and waits for the mutex of the leases.
    pub fn holders(&self) -> Vec<Holder> {
        let now = Instant::now();
        self.leases.expire(now);
        self.leases.holders(now)
    }

    /// Blocks that are held without a lease: by guards of whichever kind, by lifecycle
    /// pins, and, of a primary, by its duplicates. Exact while no other thread takes or
    /// returns any. To ask holds no block.
    ///
    /// O(leased blocks · log); allocates, and waits for the mutex of the leases.
    pub fn unleased_blocks(&self) -> usize {
        self.leases.expire(Instant::now());
        let leased = self.leases.leased();
        let held = self.total_blocks() - self.store.available();
        held.saturating_sub(leased)
    }

    /// Ends expired leases one by one, calling `attempt` after each, until that succeeds or the
    /// blocks of all expired leases have been released. Returns whether it has succeeded.
    ///
    /// Never blocks. While other threads are at the leases it yields to them, at most
    /// [`YIELDS`] times: each of them has one lease in hand. O(leases that have expired).
    #[cold]
    #[inline(never)]
    pub(super) fn expire_and_retry(&self, attempt: impl Fn() -> bool) -> bool {
        let mut yields = 0;
        loop {
            // Before the look at the leases: an expiry that ends after it is noticed.
            let expiries = self.leases.expiries();
            let next = self.leases.try_expire_one(Instant::now);
            if attempt() {
                return true;
            }
            if next == Next::Ended {
                continue;
            }
            let is_done = next == Next::NoneDue
                && self.leases.is_quiet()
                && self.leases.expiries() == expiries;
            if is_done || yields == YIELDS {
                return false;
            }
            yields += 1;
            std::thread::yield_now();
        }
    }
}
