//! The driver, compiled against the crate under test.

use kvbm_lockfree as kvbm;

use crate::policy::Policy;

#[path = "world.rs"]
mod world;

pub use world::World;

/// Checks the invariants of a pool. It is idle, since only one thread drives it.
fn audit<T: kvbm::BlockMetadata>(manager: &kvbm::BlockManager<T>) {
    manager.audit().expect("the pool is consistent");
}

fn clear<T: kvbm::BlockMetadata>(manager: &kvbm::BlockManager<T>, policy: Policy) {
    match policy {
        // A cleared block stays in the graph until it is allocated, and its node stays as long as
        // it has children. Until then, the set of leaves may differ.
        Policy::Unset | Policy::LineageTick | Policy::LineageFifo => {
            let _ = manager.reset_inactive_pool();
        }
        _ => manager.clear_inactive_pool(),
    }
}

/// Selects the published crate's counter layout, so that counts are equal.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings.reference_layout()
}
