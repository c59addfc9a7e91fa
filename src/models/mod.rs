//! Loom models: every interleaving of a few threads, within a bound.
//!
//! ```sh
//! RUSTFLAGS="--cfg kvbm_loom" cargo test --release --lib models::
//! ```
//!
//! Each file models one part, or the pairs of operations that can meet on one
//! block, one entry or one shard. Loom runs a model again and again, once for each
//! way in which its threads can take turns and for each value that a load may
//! see, and fails on the first that breaks an assertion. It explores up to
//! `LOOM_MAX_PREEMPTIONS` preemptions a run, 2 where the variable is not set;
//! a switch of threads at the end of one or where one yields is not counted.
//!
//! Loom takes sequentially consistent accesses for acquire-release ones, and
//! models sequentially consistent fences.

mod registry;

/// Preemptions explored where the environment does not say.
const PREEMPTIONS: usize = 2;

/// Explores a model.
fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.max_branches = 100_000;
    builder.check(model);
}
