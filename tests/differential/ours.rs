//! The world on top of the crate under test.

use kvbm_lockfree as kvbm;

#[path = "world.rs"]
mod world;

pub use world::World;

/// Checks the pool's invariants. The pool is quiet: one thread drives it.
fn audit<T: kvbm::BlockMetadata>(manager: &kvbm::BlockManager<T>) {
    manager.audit().expect("the pool is consistent");
}
