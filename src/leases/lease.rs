//! The handle to a lease.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::BlockId;
use crate::blocks::{BlockMetadata, ImmutableBlock};

use super::{LeaseError, LeaseId, LeaseTable};

/// A handle to a lease, which holds blocks for its owner until it ends.
///
/// Dropping the handle releases the blocks, unless you [detach](Self::detach) it. If the
/// handle is leaked, the lease still expires like any other, and only the memory of the
/// handle is lost.
///
/// ```
/// use std::time::Duration;
///
/// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
///
/// # let manager = BlockManager::<()>::builder()
/// #     .block_count(8)
/// #     .block_size(16)
/// #     .registry(BlockRegistry::new())
/// #     .build()?;
/// let block = manager.allocate_one().expect("8 blocks are free");
/// let block = block.stage(SequenceHash::root(1), 16).expect("16 is the block size");
/// let block = manager.register_block(block);
///
/// let lease = manager.lease(vec![block], "transfer-7", Some(Duration::from_secs(30)))?;
/// assert!(lease.remaining()? <= Some(Duration::from_secs(30)));
/// // The transfer takes longer than expected:
/// lease.renew(Some(Duration::from_secs(60)))?;
/// assert!(lease.remaining()? > Some(Duration::from_secs(30)));
/// // An error says that the lease ended before the transfer did.
/// lease.release()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What does it cost?
///
/// [`to_guards`](Self::to_guards), [`remaining`](Self::remaining), [`renew`](Self::renew),
/// [`release`](Self::release) and the drop briefly lock the mutex of the manager's leases.
#[must_use = "dropping a lease releases it"]
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

    /// Returns the lease's id, by which other clients can renew and release it.
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// Returns the owner's name, as passed to [`BlockManager::lease`](crate::BlockManager::lease).
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns the ids of the leased blocks, in the order in which they were leased. After the
    /// lease has ended, these are the blocks that it held.
    pub fn block_ids(&self) -> &[BlockId] {
        &self.block_ids
    }

    /// Returns guards of the blocks, in the order in which they were leased. The guards hold
    /// the blocks for as long as they live, even after the lease ends. O(blocks); allocates
    /// the vector.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseError::Expired`] if the lease has ended.
    pub fn to_guards(&self) -> Result<Vec<ImmutableBlock<T>>, LeaseError> {
        self.table.to_guards(self.id, Instant::now())
    }

    /// Returns how long it will be until the lease expires, or `None` if it never will.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseError::Expired`] if the lease has ended.
    pub fn remaining(&self) -> Result<Option<Duration>, LeaseError> {
        self.table.remaining(self.id, Instant::now())
    }

    /// Sets the lease to expire `duration` from now, which may be sooner or later than before;
    /// with `None`, never.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseError::Expired`] if the lease has ended. A lease that has ended cannot be
    /// revived, because its blocks may hold other content by now.
    pub fn renew(&self, duration: Option<Duration>) -> Result<(), LeaseError> {
        self.table.renew(self.id, duration, Instant::now())
    }

    /// Releases the blocks, like dropping the lease, and reports whether the lease held them
    /// until now.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseError::Expired`] if the lease had ended before.
    pub fn release(mut self) -> Result<(), LeaseError> {
        self.releases_on_drop = false;
        self.table.release(self.id, Instant::now())
    }

    /// Gives up the handle but keeps the lease, for a client that will renew and release it
    /// by its id.
    ///
    /// A detached lease without an expiry holds its blocks for as long as the manager lives,
    /// unless it is released.
    pub fn detach(mut self) -> LeaseId {
        self.releases_on_drop = false;
        self.id
    }
}

impl<T: BlockMetadata> Drop for Lease<T> {
    fn drop(&mut self) {
        if self.releases_on_drop {
            // The lease may have ended before; then there is nothing to release.
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
