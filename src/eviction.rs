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

pub use crate::policy::{BuiltInPolicy, EvictionPolicy, InactiveBlock, UnknownPolicy};
