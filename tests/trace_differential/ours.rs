//! The replay against the crate under test.

use kvbm_lockfree as kvbm;

#[path = "replay.rs"]
mod replay;

pub use replay::replay;

/// Places counters as the published crate does, so that the counts agree.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings.reference_layout()
}
