//! The driver, compiled against the published crate.

use kvbm_logical as kvbm;

use crate::policy::Policy;

#[path = "world.rs"]
mod world;

pub use world::World;

/// Does nothing: the published crate has no such check.
fn audit<T: kvbm::BlockMetadata>(_manager: &kvbm::BlockManager<T>) {}

/// Resets block by block, which is the published crate's only way.
fn clear<T: kvbm::BlockMetadata>(manager: &kvbm::BlockManager<T>, _policy: Policy) {
    // An error means that blocks are held.
    let _ = manager.reset_inactive_pool();
}

/// Returns the settings unchanged.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings
}
