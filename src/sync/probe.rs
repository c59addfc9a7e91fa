//! Probes: named points between two steps of an operation.
//!
//! `step!(VictimVacated);` marks a point at which a unit test may suspend the thread, to see
//! that it blocks nobody. In every other build a probe is nothing at all.

/// Names a step, where a unit test may suspend the thread.
macro_rules! step {
    ($step:ident) => {
        #[cfg(all(test, not(kvbm_loom)))]
        $crate::suspension::reach($crate::suspension::Step::$step);
    };
}
pub(crate) use step;
