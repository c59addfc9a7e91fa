//! The programs, compiled against this crate.

// Both sides compile the same programs.
#![allow(clippy::duplicate_mod)]

use kvbm_lockfree as kvbm;

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

/// Places counters like the reference does, so that the counts are the same.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings.reference_layout()
}
