//! The world on top of the crate under test.

use kvbm_lockfree as kvbm;

use crate::policy::Policy;

#[path = "world.rs"]
mod world;

pub use world::World;

/// Checks the pool's invariants. The pool is quiet: one thread drives it.
fn audit<T: kvbm::BlockMetadata>(manager: &kvbm::BlockManager<T>) {
    manager.audit().expect("the pool is consistent");
}

fn clear<T: kvbm::BlockMetadata>(manager: &kvbm::BlockManager<T>, policy: Policy) {
    if policy == Policy::LineageFifo {
        // Becoming a leaf waits for the forgotten children: the one order that differs.
        let _ = manager.reset_inactive_pool();
    } else {
        manager.clear_inactive_pool();
    }
}

/// Counters placed as the published crate's, so that the counts are.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings.reference_layout()
}
