//! The replay on top of the published crate.

use kvbm_logical as kvbm;

#[path = "replay.rs"]
mod replay;

pub use replay::replay;
