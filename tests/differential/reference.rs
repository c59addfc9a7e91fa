//! The world on top of the published crate.

use kvbm_logical as kvbm;

use crate::policy::Policy;

#[path = "world.rs"]
mod world;

pub use world::World;

/// The published crate has no such check.
fn audit<T: kvbm::BlockMetadata>(_manager: &kvbm::BlockManager<T>) {}

/// The published crate has only the way block by block.
fn clear<T: kvbm::BlockMetadata>(manager: &kvbm::BlockManager<T>, _policy: Policy) {
    // An error says that blocks are held.
    let _ = manager.reset_inactive_pool();
}

/// As they are.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings
}
