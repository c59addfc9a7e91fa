//! Instruction counts, with a limit for each operation.
//!
//! ```sh
//! cargo bench --bench instructions              # fails where a limit is passed
//! cargo bench --bench instructions -- --table   # beside the reference, in Markdown
//! ```
//!
//! Times on a shared machine vary by half; instruction counts repeat. Each operation
//! runs many times under callgrind, and only it is counted: what is there before it
//! is a `setup`, and what is there after it is handed back. What each takes a block,
//! and may take, is in `operations.rs`, which says how to change it.
//!
//! Needs valgrind and `iai-callgrind-runner` of the version that `Cargo.lock` has of
//! `iai-callgrind`, on the `PATH` or where `IAI_CALLGRIND_RUNNER` says.
//!
//! # What the counts depend on
//!
//! * *The number of cores*, since that is the number of shards: the process limits
//!   itself to two.
//! * *The keys of the hash tables*, which are drawn anew in every process. They
//!   decide which hashes meet in a bucket: `operations.rs` says how much it comes to.
//! * *The compiler.* Another version may want other limits.

// The harness's macros make public items without documentation.
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

/// Blocks of the pools: requests of 32, without a rest.
const POOL: usize = 4_096;

#[derive(Clone)]
pub struct Tier;

// The one source runs against either crate.
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

/// This crate alone.
mod limited {
    use super::{beyond::beyond, drop_in::drop_in, own::own};
    iai_callgrind::main!(library_benchmark_groups = drop_in, own, beyond);
    pub fn run() {
        main();
    }
}

/// Both crates; and what the runner calls back to run a single benchmark.
mod compared {
    use super::{beyond::beyond, drop_in::drop_in, own::own, reference::reference};
    iai_callgrind::main!(library_benchmark_groups = drop_in, own, beyond, reference);
    pub fn run() {
        main();
    }
}

/// Limits this process, and those it starts, to the first two of its cores.
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
        eprintln!("The limits are for two cores, and this machine has one.");
    }
}

#[cfg(not(target_os = "linux"))]
fn use_two_cores() {
    eprintln!("The limits are for two cores, and this machine may have more.");
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
