//! The replay on top of the crate under test.

use kvbm_lockfree as kvbm;

#[path = "replay.rs"]
mod replay;

pub use replay::replay;
