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
//! published crate panics.
//!
//! `PROPTEST_CASES` sets the number of cases (default 256).

mod forest;
mod ops;
mod ours;
mod outcome;
#[path = "../policy/mod.rs"]
mod policy;
// Both sides compile one driver, each against its own crate.
#[allow(clippy::duplicate_mod)]
mod reference;
mod shelf;

use proptest::prelude::*;
use proptest::test_runner::{Config as RunnerConfig, TestCaseError};

use forest::Forest;
use ops::Case;

/// The metadata type of the first tier.
#[derive(Debug, Clone)]
struct Device;

/// The metadata type of the second tier, where it is another one.
#[derive(Debug, Clone)]
struct Host;

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

/// The two implementations, in step.
struct Pair {
    ours: ours::World,
    reference: reference::World,
    forest: Forest,
}

impl Pair {
    fn new(case: &Case) -> Self {
        Pair {
            ours: ours::World::new(&case.config),
            reference: reference::World::new(&case.config),
            forest: Forest::grow(&case.config.sprouts, case.config.block_size),
        }
    }

    fn apply(&mut self, step: usize, op: &ops::Op) -> Result<(), TestCaseError> {
        let ours = self.ours.apply(op, &self.forest);
        let reference = self.reference.apply(op, &self.forest);
        prop_assert_eq!(ours, reference, "result of step {}: {:?}", step, op);
        Ok(())
    }

    fn compare(&self, when: &str) -> Result<(), TestCaseError> {
        let ours = self.ours.observe(&self.forest);
        let reference = self.reference.observe(&self.forest);
        same_items("tier", &ours.tiers, &reference.tiers, when)?;
        same_items("entry", &ours.entries, &reference.entries, when)?;
        same_items("handle", &ours.handles, &reference.handles, when)?;
        prop_assert_eq!(ours, reference, "state after {}", when);
        Ok(())
    }

    fn run(&mut self, ops: &[ops::Op], observe_every: usize) -> Result<(), TestCaseError> {
        for (step, op) in ops.iter().enumerate() {
            self.apply(step, op)?;
            if (step + 1) % observe_every == 0 {
                self.compare(&format!("step {step}: {op:?}"))?;
            }
        }
        self.compare("the last step")
    }
}

/// Compares item by item, so that a failure shows the one that differs.
fn same_items<I: PartialEq + std::fmt::Debug>(
    what: &str,
    ours: &[I],
    reference: &[I],
    when: &str,
) -> Result<(), TestCaseError> {
    for (number, (ours, reference)) in ours.iter().zip(reference).enumerate() {
        prop_assert_eq!(ours, reference, "{} {} after {}", what, number, when);
    }
    Ok(())
}

fn agree(case: &Case) -> Result<(), TestCaseError> {
    let observe_every = case.config.observe_every;
    let mut pair = Pair::new(case);
    pair.run(&case.ops, observe_every)?;

    pair.ours.drop_managers();
    pair.reference.drop_managers();
    pair.compare("dropping the managers")?;
    pair.run(&case.afterlife, observe_every)?;

    for &shelf in &case.teardown {
        pair.ours.clear(shelf);
        pair.reference.clear(shelf);
        pair.compare(&format!("dropping every {shelf:?}"))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(runner_config())]

    #[test]
    fn same_results_and_same_state(case in ops::case()) {
        agree(&case)?;
    }
}
