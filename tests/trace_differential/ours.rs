//! The replay on top of the crate under test.

use kvbm_lockfree as kvbm;

#[path = "replay.rs"]
mod replay;

pub use replay::replay;

/// Counters placed as the published crate's, so that the counts are.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings.reference_layout()
}
