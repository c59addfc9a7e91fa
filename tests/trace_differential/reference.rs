//! The replay on top of the published crate.

use kvbm_logical as kvbm;

#[path = "replay.rs"]
mod replay;

pub use replay::replay;

/// As they are.
fn layout(
    settings: kvbm::tinylfu::TinyLFUSettingsBuilder,
) -> kvbm::tinylfu::TinyLFUSettingsBuilder {
    settings
}
