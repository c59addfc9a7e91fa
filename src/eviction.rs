//! Eviction orders: the built-in ones by name, and your own.
//!
//! A [`BuiltInPolicy`] is one of the orders that this crate brings, for programs that choose
//! one by name or iterate over all of them.
//!
//! An [`EvictionPolicy`] is an order of your own: it decides in which order inactive blocks are
//! evicted. Pass it to
//! [`with_eviction_policy`](crate::manager::BlockManagerConfigBuilder::with_eviction_policy).
//!
//! # What does a policy look like?
//!
//! It is plain sequential code over block ids, without atomics or locks. This complete policy
//! evicts the block that is furthest from the beginning of its sequence, and among several of
//! those the one that was released first:
//!
//! ```
//! use std::collections::{BTreeSet, HashMap};
//!
//! use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
//! use kvbm_lockfree::{BlockId, BlockManager, BlockRegistry, SequenceHash};
//!
//! /// Sorts the deepest block first, and among equals the one released first.
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
//! # When is it called?
//!
//! By one thread at a time and outside the hot path, with everything that has happened since
//! the last call, in the order in which it happened. Driven by one thread, the manager evicts
//! exactly in the policy's order. With several threads, two things differ: a victim is
//! sometimes found without the policy (see [`EvictionPolicy::is_leaf_first`]), and a block that
//! was released twice between two calls may be inserted only once.
//!
//! # How do I test it?
//!
//! With the feature `testing`, `testing::check_eviction_policy` drives a policy through
//! generated sequences of calls and checks its answers.

pub use crate::policy::{BuiltInPolicy, UnknownPolicy};

use crate::retention::Priority;
use crate::{BlockId, SequenceHash};

/// An inactive block: registered, held by no one, and a candidate for eviction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InactiveBlock {
    /// The block's id, which is less than the manager's block count.
    pub block_id: BlockId,
    /// The hash of its content, which includes its position in the sequence and its parent.
    pub seq_hash: SequenceHash,
}

/// The order in which inactive blocks are evicted. See the [module](self) for an example.
///
/// To take access frequencies into account, give the policy a clone of the registry's
/// frequency tracker.
///
/// # What if a policy misbehaves?
///
/// It must not panic, [`pop`](Self::pop) a block that is not in the order, or return `None`
/// while blocks are in the order. If it does, the manager logs an error, drops the policy
/// and goes on with LRU: first it evicts the blocks that were in the order, in an arbitrary
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
    /// be called again with the priority that the block has already. The default
    /// implementation ignores priorities.
    fn set_priority(&mut self, _block_id: BlockId, _priority: Priority) {}

    /// Returns whether blocks are never evicted before their inactive children. `false` by
    /// default.
    ///
    /// A thread that needs a victim while another thread is inside the policy and makes no
    /// progress looks for an inactive block by itself. If this returns `true`, it skips blocks
    /// that have inactive children.
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
