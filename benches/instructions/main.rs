//! Instruction counts, with a limit for each operation.
//!
//! ```sh
//! cargo bench --bench instructions              # fails if a limit is exceeded
//! cargo bench --bench instructions -- --table   # compares with the reference, in Markdown
//! ```
//!
//! On a shared machine, times vary by half; instruction counts are reproducible. Each operation runs
//! many times under callgrind, and nothing else is counted: a `setup` creates its input, and it
//! returns its results, to be dropped later. `operations.rs` lists what each operation takes and
//! may take per block, and says how to change that.
//!
//! Requires valgrind, and `iai-callgrind-runner` in the version of `iai-callgrind` in `Cargo.lock`,
//! either on the `PATH` or where `IAI_CALLGRIND_RUNNER` says.
//!
//! # What do the counts depend on?
//!
//! * *The number of cores*, which determines the number of shards. The process limits itself to two
//!   cores.
//! * *The keys of the hash tables*, which are random in every process. They determine which hashes
//!   share a bucket; `operations.rs` says how much that matters.
//! * *The compiler.* Another version may require other limits.

// The harness's macros generate public items without documentation.
#![allow(missing_docs)]

#[path = "../workload/mod.rs"]
mod workload;

mod beyond;
mod fifo;
mod operations;
mod own;
mod side;
mod table;

use iai_callgrind::{Callgrind, CallgrindMetrics, EventKind, LibraryBenchmarkConfig};
use operations::Operation;

/// The number of blocks in the pools, a multiple of the 32 blocks of a request.
const POOL: usize = 4_096;

#[derive(Clone)]
pub struct Tier;

// The same source is compiled against either crate.
side::side!(drop_in, kvbm_lockfree, limit_drop_in);
side::side!(reference, kvbm_logical, no_limit);

fn config(limit: Option<u64>) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    callgrind.format([CallgrindMetrics::SingleEvent(EventKind::Ir)]);
    if let Some(limit) = limit {
        callgrind.hard_limits([(EventKind::Ir, limit)]);
    }
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

fn limit_drop_in(name: &str) -> LibraryBenchmarkConfig {
    let operation = Operation::named(name);
    config(Some(operation.limit(operation.drop_in)))
}

fn limit_own(name: &str) -> LibraryBenchmarkConfig {
    let operation = Operation::named(name);
    config(Some(operation.limit(operation.own)))
}

fn no_limit(_name: &str) -> LibraryBenchmarkConfig {
    config(None)
}

/// Runs this crate only.
mod limited {
    use super::{beyond::beyond, drop_in::drop_in, own::own};
    iai_callgrind::main!(library_benchmark_groups = drop_in, own, beyond);
    pub fn run() {
        main();
    }
}

/// Runs both crates; also what the runner calls to run a single benchmark.
mod compared {
    use super::{beyond::beyond, drop_in::drop_in, own::own, reference::reference};
    iai_callgrind::main!(library_benchmark_groups = drop_in, own, beyond, reference);
    pub fn run() {
        main();
    }
}

/// Limits this process, and those that it starts, to the first two of its cores.
#[cfg(target_os = "linux")]
fn use_two_cores() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let mut allowed = sched_getaffinity(None).expect("a process can see its cores");
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&core| allowed.is_set(core))
        .collect();
    for &core in cores.iter().skip(2) {
        allowed.unset(core);
    }
    sched_setaffinity(None, &allowed).expect("a process can leave cores to others");
    if cores.len() < 2 {
        eprintln!("warning: the limits are for two cores, but this machine has only one");
    }
}

#[cfg(not(target_os = "linux"))]
fn use_two_cores() {
    eprintln!("warning: the limits are for two cores, but this process may use more");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--iai-run") {
        return compared::run();
    }
    use_two_cores();
    if arguments.iter().any(|argument| argument == "--table") {
        table::print();
    } else if std::env::var_os(table::COMPARE).is_some() {
        compared::run();
    } else {
        limited::run();
    }
}
