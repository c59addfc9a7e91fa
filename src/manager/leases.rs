//! Leases: pins with an owner and an expiry. See [`leases`](crate::leases).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::leases::{ExpiryStep, ForeignBlock, Holder, Lease, LeaseError, LeaseId};
use crate::sync::yield_now;

use super::BlockManager;

/// How often an allocation yields to threads that are releasing blocks of expired leases, before
/// it is refused.
const YIELDS: u32 = 4096;

/// Leases: see [`leases`](crate::leases) for an example.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Leases blocks to an owner for the given duration, or, with `None`, until the lease is
    /// released.
    ///
    /// The lease takes over the guards. `blocks` may be empty, and a block may be leased more
    /// than once. Takes O(blocks) time, allocates, and locks the mutex of the leases briefly.
    ///
    /// # Errors
    ///
    /// Returns an error if a block belongs to another manager. The error hands all guards back.
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

    /// Renews a lease by its id. See [`Lease::renew`].
    ///
    /// # Errors
    ///
    /// Returns an error if the lease has ended or belongs to another manager.
    pub fn renew_lease(&self, id: LeaseId, duration: Option<Duration>) -> Result<(), LeaseError> {
        self.leases.renew(id, duration, Instant::now())
    }

    /// Releases a lease by its id. See [`Lease::release`].
    ///
    /// # Errors
    ///
    /// Returns an error if the lease had already ended or belongs to another manager.
    pub fn release_lease(&self, id: LeaseId) -> Result<(), LeaseError> {
        self.leases.release(id, Instant::now())
    }

    /// Ends the leases that have expired, releases their blocks, and returns the number of
    /// leases ended.
    ///
    /// Allocations do not depend on this: they release what they need of expired leases themselves
    /// before they are refused. But until some call releases a block of an expired lease, the
    /// block stays active. A lease that another call has begun to end is ended, but not counted.
    /// Waits for the mutex of the leases, and releases the blocks without holding it. Takes
    /// O(blocks released) time.
    pub fn expire_leases(&self) -> usize {
        self.leases.expire(Instant::now())
    }

    /// Lists the leases in the order in which they were made: which owner holds which blocks,
    /// since when, and until when.
    ///
    /// Leases that have expired are ended first. Listing pins no block. Blocks held by guards
    /// alone have no known owner; [`unleased_blocks`](Self::unleased_blocks) counts them. Takes
    /// O(leased blocks) time, allocates, and waits for the mutex of the leases.
    pub fn holders(&self) -> Vec<Holder> {
        let now = Instant::now();
        self.leases.expire(now);
        self.leases.holders(now)
    }

    /// Returns the number of blocks that are held without a lease: by guards of any kind, by
    /// lifecycle pins, and, in the case of a primary, by its duplicates.
    ///
    /// Exact while no other thread takes or returns blocks. Leases that have expired are ended
    /// first, which takes O(blocks released) time; counting takes constant time, and waits for the
    /// mutex of the leases.
    pub fn unleased_blocks(&self) -> usize {
        self.leases.expire(Instant::now());
        let leased = self.leases.leased();
        let held = self.total_blocks() - self.store.available();
        held.saturating_sub(leased)
    }

    /// Releases expired leases piece by piece, calling `attempt` after each, until that succeeds or
    /// all blocks of expired leases have been released. Returns whether it has succeeded.
    ///
    /// Never blocks. While other threads are releasing pieces it yields to them, at most
    /// [`YIELDS`] times. Releases no more blocks than `attempt` is short of, plus a piece, plus
    /// those that others hold as well or take meanwhile.
    #[cold]
    #[inline(never)]
    pub(super) fn expire_and_retry(&self, mut attempt: impl FnMut() -> bool) -> bool {
        let mut yields = 0;
        loop {
            // Read before checking the leases, so that a piece that is released after this read
            // is noticed.
            let expiries = self.leases.expiries();
            let next = self.leases.try_expire_one(Instant::now);
            if attempt() {
                return true;
            }
            if next == ExpiryStep::Released {
                continue;
            }
            let is_done = next == ExpiryStep::NoneDue
                && self.leases.is_quiet()
                && self.leases.expiries() == expiries;
            if is_done || yields == YIELDS {
                return false;
            }
            yields += 1;
            yield_now();
        }
    }
}
