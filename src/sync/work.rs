//! Work: how many steps a call takes, counted in unit tests.
//!
//! A call whose cost has a bound is tested by counting its steps, not by its time. `count_work!(1);`
//! marks a step in the loops of such calls. In every other build, it compiles to nothing.

/// Counts steps that the thread takes.
macro_rules! count_work {
    ($steps:expr) => {
        #[cfg(all(test, not(kvbm_loom)))]
        $crate::sync::work::add($steps);
    };
}
pub(crate) use count_work;

#[cfg(all(test, not(kvbm_loom)))]
thread_local! {
    static WORK: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

#[cfg(all(test, not(kvbm_loom)))]
pub(crate) fn add(steps: u64) {
    WORK.set(WORK.get() + steps);
}

/// Calls `f`. Returns its result and the number of steps that it took.
#[cfg(all(test, not(kvbm_loom)))]
pub(crate) fn work_of<R>(f: impl FnOnce() -> R) -> (R, u64) {
    let before = WORK.get();
    let result = f();
    (result, WORK.get() - before)
}
