//! Probes: named points between two steps of an operation.
//!
//! `step!(VictimVacated);` marks a point at which a unit test may suspend the thread, to check
//! that it blocks no other thread. In every other build, a probe compiles to nothing.

/// Marks a step, at which a unit test may suspend the thread.
macro_rules! step {
    ($step:ident) => {
        #[cfg(all(test, not(kvbm_loom)))]
        $crate::suspension::reach($crate::suspension::Step::$step);
    };
}
pub(crate) use step;
