//! Eviction orders: the built-in ones by name, and your own.
//!
//! A [`BuiltInPolicy`] is one of the orders that this crate brings, for programs that choose
//! one by name or go through all of them.
//!
//! An [`EvictionPolicy`] is an order of your own: plain sequential code over block ids. It needs no atomics
//! and no locks: the manager calls it from one thread at a time, outside the hot path,
//! with what has happened since in the order in which it happened. Driven by one
//! thread the order is exactly the policy's. When several threads are about, a victim
//! is sometimes found without it (see [`EvictionPolicy::is_leaf_first`]), and a block
//! that was released twice in between may be told of once.
//!
//! A complete policy, which evicts the block that is furthest from the beginning of its
//! sequence, and of several the one that was released first:
//!
//! ```
//! use std::collections::{BTreeSet, HashMap};
//!
//! use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
//! use kvbm_lockfree::{BlockId, BlockManager, BlockRegistry, SequenceHash};
//!
//! /// Smallest first: how near the end, and when it was released.
//! type Place = (std::cmp::Reverse<u64>, u64);
//!
//! #[derive(Default)]
//! struct DeepestFirst {
//!     order: BTreeSet<(Place, BlockId)>,
//!     places: HashMap<BlockId, Place>,
//!     releases: u64,
//! }
//!
//! impl EvictionPolicy for DeepestFirst {
//!     fn insert(&mut self, block: InactiveBlock) {
//!         self.releases += 1;
//!         let place = (std::cmp::Reverse(block.seq_hash.position()), self.releases);
//!         self.places.insert(block.block_id, place);
//!         self.order.insert((place, block.block_id));
//!     }
//!
//!     fn remove(&mut self, block_id: BlockId) {
//!         if let Some(place) = self.places.remove(&block_id) {
//!             self.order.remove(&(place, block_id));
//!         }
//!     }
//!
//!     fn pop(&mut self) -> Option<BlockId> {
//!         let (_, block_id) = self.order.pop_first()?;
//!         self.places.remove(&block_id);
//!         Some(block_id)
//!     }
//! }
//!
//! #[derive(Clone)]
//! struct Gpu;
//!
//! let manager = BlockManager::<Gpu>::builder()
//!     .block_count(3)
//!     .block_size(16)
//!     .registry(BlockRegistry::new())
//!     .with_eviction_policy(DeepestFirst::default())
//!     .build()?;
//! let hash = |position| SequenceHash::new(position, None, position);
//! for position in [1, 7, 4] {
//!     let block = manager.allocate_one().unwrap().stage(hash(position), 16).unwrap();
//!     drop(manager.register_block(block));
//! }
//! let (_blocks, evicted) = manager.allocate_blocks_with_evictions(2).unwrap();
//! assert_eq!(evicted, [hash(7), hash(4)]);
//! # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
//! ```
//!
//! With the feature `testing`, `testing::check_eviction_policy` runs a policy through
//! what a manager may ask of it.

pub use crate::policy::{BuiltInPolicy, UnknownPolicy};

use crate::retention::Priority;
use crate::{BlockId, SequenceHash};

/// A block that nobody holds any more, and that can be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InactiveBlock {
    /// Its id, from 0 to the number of the manager's blocks.
    pub block_id: BlockId,
    /// What it holds. Tells the position in the sequence, and the parent.
    pub seq_hash: SequenceHash,
}

/// An order of eviction. See the [module](self) for an example.
///
/// To go by frequency, give the policy a clone of the registry's tracker.
///
/// What must not happen: a [`pop`](Self::pop) of a block that is not in the order, or of
/// none while there are some, or a panic. Where it does, the manager logs an error,
/// drops the policy, and goes on without it: blocks released from then on are evicted least
/// recently released first, after those that were listed by then, whose order is lost. Priorities
/// and pinned prefixes still hold. No block is lost.
pub trait EvictionPolicy: Send {
    /// Puts a block into the order: it has been released. It is not in the order.
    fn insert(&mut self, block: InactiveBlock);

    /// Takes a block out of the order: it has come into use again, or was freed. It is
    /// in the order.
    fn remove(&mut self, block_id: BlockId);

    /// Takes the next victim out of the order. `None` if there is no block in it.
    fn pop(&mut self) -> Option<BlockId>;

    /// A block in the order has been given a [priority](crate::retention), or its priority
    /// has ended, and is the default again. A block that is put into the order has the
    /// default unless this is called next. May be called again with the same priority.
    /// By default nothing comes of it.
    fn set_priority(&mut self, _block_id: BlockId, _priority: Priority) {}

    /// Whether no block goes before its inactive children.
    ///
    /// A thread that needs victims while another, which is at the policy, does not get
    /// on, looks for inactive blocks by itself. If this is set, it takes none whose
    /// children are inactive.
    fn is_leaf_first(&self) -> bool {
        false
    }
}

/// Policies that are chosen at run time.
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
