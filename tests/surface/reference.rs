//! The programs, compiled against the reference.

// Both sides compile the same programs.
#![allow(clippy::duplicate_mod)]

use kvbm_logical as kvbm;

#[path = "blocks.rs"]
pub mod blocks;
#[path = "events.rs"]
pub mod events;
#[path = "integrations.rs"]
pub mod integrations;
#[path = "manager.rs"]
pub mod manager;
#[path = "metrics.rs"]
pub mod metrics;
#[path = "registry.rs"]
pub mod registry;
#[path = "sequence.rs"]
pub mod sequence;
#[path = "testing.rs"]
pub mod testing;
#[path = "tinylfu.rs"]
pub mod tinylfu;

/// Returns the settings unchanged.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings
}
