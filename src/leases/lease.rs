//! The client's end of a lease.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::BlockId;
use crate::blocks::{BlockMetadata, ImmutableBlock};

use super::{LeaseError, LeaseId, LeaseTable};

/// A lease on some blocks: see the [module](super).
///
/// Dropping it releases the blocks, unless it is [detached](Self::detach). A handle that
/// is leaked releases nothing: its lease expires as any other does, and then all that
/// stays behind is the handle.
///
/// Its methods take the mutex of the manager's leases for a moment.
#[must_use = "a lease that is dropped is released"]
pub struct Lease<T: BlockMetadata> {
    id: LeaseId,
    owner: Arc<str>,
    block_ids: Box<[BlockId]>,
    table: Arc<LeaseTable<T>>,
    releases_on_drop: bool,
}

impl<T: BlockMetadata> Lease<T> {
    pub(crate) fn new(
        id: LeaseId,
        owner: Arc<str>,
        block_ids: Box<[BlockId]>,
        table: Arc<LeaseTable<T>>,
    ) -> Self {
        Self {
            id,
            owner,
            block_ids,
            table,
            releases_on_drop: true,
        }
    }

    /// The lease's id, by which others can renew and release it.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// The owner's name, as it was given.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// The ids of the blocks, in the order in which they were leased; of those it had, if
    /// the lease has ended.
    pub fn block_ids(&self) -> &[BlockId] {
        &self.block_ids
    }

    /// Guards of the blocks, in the order in which they were leased. They hold the blocks
    /// for as long as they live, whatever becomes of the lease. O(blocks); allocates the
    /// vector.
    ///
    /// # Errors
    ///
    /// If the lease has ended.
    pub fn to_guards(&self) -> Result<Vec<ImmutableBlock<T>>, LeaseError> {
        self.table.to_guards(self.id, Instant::now())
    }

    /// How long it is until the lease expires; `None` if it never does.
    ///
    /// # Errors
    ///
    /// If the lease has ended.
    pub fn remaining(&self) -> Result<Option<Duration>, LeaseError> {
        self.table.remaining(self.id, Instant::now())
    }

    /// Has the lease expire so long from now, sooner or later than it was to; with
    /// `None`, never.
    ///
    /// # Errors
    ///
    /// If the lease has ended: it is not brought back, since its blocks may hold
    /// something else by now.
    pub fn renew(&self, duration: Option<Duration>) -> Result<(), LeaseError> {
        self.table.renew(self.id, duration, Instant::now())
    }

    /// Releases the blocks, as a drop does, and says whether the lease held them until
    /// now.
    ///
    /// # Errors
    ///
    /// If the lease had ended before.
    pub fn release(mut self) -> Result<(), LeaseError> {
        self.releases_on_drop = false;
        self.table.release(self.id, Instant::now())
    }

    /// Gives up the handle and leaves the lease, for a client that will renew and
    /// release it by its id. Whatever has no expiry and is released by nobody holds its
    /// blocks for as long as the manager lives.
    pub fn detach(mut self) -> LeaseId {
        self.releases_on_drop = false;
        self.id
    }
}

impl<T: BlockMetadata> Drop for Lease<T> {
    fn drop(&mut self) {
        if self.releases_on_drop {
            // An end that came before is nobody's concern here.
            let _ = self.table.release(self.id, Instant::now());
        }
    }
}

impl<T: BlockMetadata> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("block_ids", &self.block_ids)
            .finish()
    }
}
