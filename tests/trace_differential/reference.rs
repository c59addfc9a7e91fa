//! The replay against the published crate.

use kvbm_logical as kvbm;

#[path = "replay.rs"]
mod replay;

pub use replay::replay;

/// Leaves the settings as they are.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings
}
