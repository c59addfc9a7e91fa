//! A user's own eviction order, and what the manager tells it.

use crate::ids::{BlockId, SequenceHash};
use crate::retention::Priority;

/// An inactive block: registered, not pinned, and a candidate for eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InactiveBlock {
    /// The block's id, which is less than the manager's block count.
    pub block_id: BlockId,
    /// The hash of its content, which includes its position in the sequence and its parent.
    pub seq_hash: SequenceHash,
}

/// The order in which inactive blocks are evicted. See the [module](crate::eviction) for an
/// example.
///
/// To take access frequencies into account, give the policy a clone of the registry's
/// frequency tracker.
///
/// # What if a policy misbehaves?
///
/// It must not panic, [`pop`](Self::pop) a block that is not in the order, or return `None`
/// while blocks are in the order. If it does, the manager logs an error, drops the policy
/// and continues with LRU: first it evicts the blocks that were in the order, in an arbitrary
/// order, then those released later, least recently released first. Priorities still apply.
/// No block is lost.
pub trait EvictionPolicy: Send {
    /// Adds a block, which has just been released. It is not in the order yet.
    fn insert(&mut self, block: InactiveBlock);

    /// Removes a block, which is in use again or was freed. It is in the order.
    fn remove(&mut self, block_id: BlockId);

    /// Removes and returns the next victim, or `None` if the order is empty.
    fn pop(&mut self) -> Option<BlockId>;

    /// Sets the [priority](crate::retention) of a block in the order.
    ///
    /// An inserted block has the default priority, unless this is called right after
    /// [`insert`](Self::insert). When a priority ends, this is called with the default. It may
    /// be called again with the priority that the block already has. The default
    /// implementation ignores priorities.
    fn set_priority(&mut self, _block_id: BlockId, _priority: Priority) {}

    /// Returns whether the order yields no block before its inactive children. `false` by
    /// default.
    ///
    /// A thread that needs a victim while another thread is inside the policy and makes no
    /// progress looks for an inactive block by itself. If this returns `true`, it looks at up to
    /// 1,024 blocks at a time, and takes those at the highest positions in their sequences.
    fn is_leaf_first(&self) -> bool {
        false
    }
}

/// Lets a policy be chosen at run time.
impl<P: EvictionPolicy + ?Sized> EvictionPolicy for Box<P> {
    fn insert(&mut self, block: InactiveBlock) {
        (**self).insert(block);
    }

    fn remove(&mut self, block_id: BlockId) {
        (**self).remove(block_id);
    }

    fn pop(&mut self) -> Option<BlockId> {
        (**self).pop()
    }

    fn set_priority(&mut self, block_id: BlockId, priority: Priority) {
        (**self).set_priority(block_id, priority);
    }

    fn is_leaf_first(&self) -> bool {
        (**self).is_leaf_first()
    }
}
