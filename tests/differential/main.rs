//! Driven by one thread, this crate behaves exactly as the published `kvbm-logical`.
//!
//! Proptest generates a configuration (every eviction policy, both duplication policies, reset on
//! release, frequency trackers small enough to collide and decay, one or two managers on one
//! registry) and up to 500 operations on pools of 2 to 64 blocks. Both crates run them side by side.
//! The results of every operation must agree. After every `observe_every`-th operation, everything
//! that can be read from the managers, the registry and the live guards must agree as well: counts,
//! use counts, metrics, presence, frequencies, and which guards share a block. Then the managers are
//! dropped while guards are alive, the guards are used further, and in the end they are dropped in a
//! generated order.
//!
//! Block ids are not compared, since implementations may hand out different ones. No case has two
//! hashes with the same position and fragment, on which the published crate panics. Frequency
//! trackers use the published crate's counter layout, which is not the default here.
//!
//! `PROPTEST_CASES` sets the number of cases (default 256). The fuzz target `differential` drives
//! the same pair with operations decoded from bytes.

mod directed;
mod forest;
mod generate;
mod ops;
mod ours;
mod outcome;
mod pair;
#[path = "../policy/mod.rs"]
mod policy;
// Both sides compile the same driver, each against its own crate.
#[allow(clippy::duplicate_mod)]
mod reference;
mod shelf;

use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseError};

const DEFAULT_CASES: u32 = 256;

/// The maximum time for shrinking a failing case.
const MAX_SHRINK_MILLIS: u32 = 60_000;

fn runner_config() -> RunnerConfig {
    RunnerConfig {
        cases: std::env::var("PROPTEST_CASES")
            .ok()
            .and_then(|cases| cases.parse().ok())
            .unwrap_or(DEFAULT_CASES),
        failure_persistence: None,
        max_shrink_iters: 8_192,
        max_shrink_time: MAX_SHRINK_MILLIS,
        ..RunnerConfig::default()
    }
}

proptest! {
    #![proptest_config(runner_config())]

    #[test]
    fn same_results_and_same_state(case in generate::case()) {
        pair::agree(&case).map_err(TestCaseError::fail)?;
    }
}
