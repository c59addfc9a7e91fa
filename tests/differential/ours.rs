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
    match policy {
        // What was cleared is in the graph until it is handed out, and its place there for as
        // long as it has children: who is a leaf may differ until then.
        Policy::Unset | Policy::LineageTick | Policy::LineageFifo => {
            let _ = manager.reset_inactive_pool();
        }
        _ => manager.clear_inactive_pool(),
    }
}

/// Counters placed as the published crate's, so that the counts are.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings.reference_layout()
}
