//! Whole lifecycles of blocks, under a scheduler that controls every step.
//!
//! With `--cfg kvbm_shuttle`, the crate's atomics are shuttle's. Three threads run random operations
//! on two tiers of one registry, with four blocks each. Then one manager is dropped while two
//! threads still hold guards of its blocks. A record kept next to the pools detects blocks that
//! have two owners, an owner and a reader, or content that differs from their guard's hash. Each
//! run ends with an audit and all blocks available.
//!
//! A seed determines the operations, which are run under several schedules. A failure prints the
//! seed; `KVBM_SHUTTLE_SEED` together with `KVBM_SHUTTLE_ITERATIONS=1` repeats it. A run that takes
//! [`STEPS`] steps fails as a livelock.
#![cfg(kvbm_shuttle)]

mod life;
#[path = "../policy/mod.rs"]
mod policy;
#[path = "../rng/mod.rs"]
mod rng;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use policy::Policy;

const STEPS: usize = 200_000;

/// The number of seeds per configuration and scheduler.
const ITERATIONS: u64 = 600;

/// The number of schedules per seed. The scheduler with few preemptions learns the length of a run
/// from the first one, and preempts only from the second on.
const SCHEDULES: usize = 5;

fn explore<S: Scheduler + 'static>(scheduler: fn(u64) -> S) {
    let first = rng::number("KVBM_SHUTTLE_SEED").unwrap_or_else(rng::seed);
    let seeds = rng::number("KVBM_SHUTTLE_ITERATIONS").unwrap_or(ITERATIONS);
    for policy in Policy::ALL {
        for seed in first..first + seeds {
            for duplication in [
                BlockDuplicationPolicy::Allow,
                BlockDuplicationPolicy::Reject,
            ] {
                let mut config = Config::new();
                config.max_steps = MaxSteps::FailAfter(STEPS);
                config.stack_size = 1 << 18;
                config.silence_warnings = true;
                config.failure_persistence = FailurePersistence::None;
                let run = || {
                    Runner::new(scheduler(seed), config)
                        .run(move || life::run(policy, duplication, seed));
                };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                    println!("{policy:?}, {duplication:?}: KVBM_SHUTTLE_SEED={seed}");
                    resume_unwind(panic);
                }
            }
        }
    }
}

#[test]
fn lifecycles_under_random_schedules() {
    explore(|seed| RandomScheduler::new_from_seed(seed, SCHEDULES));
}

/// Schedules with few preemptions, at random points.
#[test]
fn lifecycles_under_few_preemptions() {
    explore(|seed| PctScheduler::new_from_seed(seed, 4, SCHEDULES));
}
