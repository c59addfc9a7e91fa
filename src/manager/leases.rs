//! Leases: pins with an owner and an expiry. See [`leases`](crate::leases).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::leases::{ForeignBlock, Holder, Lease, LeaseError, LeaseId};

use super::BlockManager;

/// Times a retry yields to threads that are letting go of leased blocks, before it waits.
const YIELDS: u32 = 64;

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

    /// Ends expired leases and calls `attempt`, until that succeeds or all that has expired
    /// has been let go of. Returns whether it has succeeded.
    ///
    /// While another thread is letting go of blocks it is given some time to finish. Where
    /// leases have expired, a failure may wait for the mutex of the leases, and until their
    /// blocks have been let go of; not for user code.
    #[cold]
    #[inline(never)]
    pub(super) fn expire_and_retry(&self, attempt: impl Fn() -> bool) -> bool {
        let mut expiries = self.leases.expiries();
        for _ in 0..YIELDS {
            let is_done = self.leases.try_expire(Instant::now);
            if attempt() {
                return true;
            }
            if is_done {
                let before = std::mem::replace(&mut expiries, self.leases.expiries());
                if before == expiries {
                    return false;
                }
            } else {
                std::thread::yield_now();
            }
        }
        // Whoever is at it does not get on: what has expired is waited for all the same.
        loop {
            self.leases.expire(Instant::now());
            let is_done = self.leases.is_quiet();
            if attempt() {
                return true;
            }
            if is_done {
                return false;
            }
            std::thread::yield_now();
        }
    }
}
