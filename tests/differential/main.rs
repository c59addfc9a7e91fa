//! Driven by one thread, this crate behaves exactly as the published
//! `kvbm-logical`.
//!
//! Proptest generates a configuration (every eviction policy, both duplication
//! policies, resetting on release, frequency trackers small enough to collide and
//! decay, one or two managers on one registry) and a sequence of up to 500
//! operations over pools of 2 to 64 blocks. Both crates run it side by side.
//! After each operation its result must agree, and after every `observe_every`-th
//! operation all that can be read from the managers, the registry and every live
//! guard: counts, use counts, metrics, presence, frequencies, identity of blocks.
//! Then the managers are dropped while guards live, the guards are used on, and
//! at last dropped kind by kind in a generated order.
//!
//! Block ids are not compared: implementations may hand out different ones. Nor
//! do cases hold two hashes with the same position and fragment, on which the
//! published crate panics. Frequency trackers place their counters as the published
//! crate does, which is not the default here.
//!
//! `PROPTEST_CASES` sets the number of cases (default 256). The fuzz target
//! `differential` drives the same pair from bytes.

mod directed;
mod forest;
mod generate;
mod ops;
mod ours;
mod outcome;
mod pair;
#[path = "../policy/mod.rs"]
mod policy;
// Both sides compile one driver, each against its own crate.
#[allow(clippy::duplicate_mod)]
mod reference;
mod shelf;

use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseError};

const DEFAULT_CASES: u32 = 256;

/// How long a failing case may be simplified.
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
