//! The dearest single call of every operation, in every state that can make it dear.
//!
//! ```sh
//! cargo bench --bench worst_case                # fails if a call's cost grows with the pool
//! cargo bench --bench worst_case -- --quick     # with two sizes only
//! cargo bench --bench worst_case -- --ours      # without the reference
//! cargo bench --bench worst_case -- --table     # prints a summary in Markdown, for PERF.md
//! cargo bench --bench worst_case -- fill lru    # only the scenes with these words in their names
//! ```
//!
//! An average hides a call that does the work of a million others. Here, a *scene* brings a manager
//! of n blocks into a state, such as "all blocks have been released", "n directives have expired",
//! or "another thread holds the policy and does not run", and makes calls in that state. Each is
//! measured by itself. Scenes run with 16,384, 131,072 and 1,048,576 blocks, in processes of their
//! own, and those of operations that the reference has run with both crates.
//!
//! # What is measured?
//!
//! * The instructions of each call: exact, and the same in every run except for the keys of hash
//!   tables, which are random. This needs valgrind: see `meter.rs`.
//! * The time that the thread runs during the call, without what it waits. On a shared machine, the
//!   maximum of many thousand calls is also the longest interruption. Each scene therefore runs
//!   several times, and the smallest maximum counts.
//!
//! # What fails?
//!
//! An operation of this crate, with one policy, whose dearest call in any state takes more than twice
//! as many instructions in the largest pool as in the smallest, and at least 1,000. Excepted are calls
//! whose contract is to visit everything, which are shown: building a manager, an audit, the end of
//! everything that has expired, a count of the hashes that several tiers or handles have, each of
//! which counts once; and an allocation that has to find the last inactive blocks while
//! another thread holds the order that knows them. It must not be refused, so it passes all blocks
//! that are in use before it finds one that is not. All other calls have inputs of the same size in
//! all pools.
//!
//! Without `--table`, a row is printed for each state. The tables also show how many times as dear the
//! dearest call is as the median of the operation in its ordinary state.

#[path = "../workload/mod.rs"]
mod workload;

mod both;
mod held_plane;
mod meter;
mod own;
mod report;
mod runner;
mod scenes;

use std::process::ExitCode;

use meter::{Meter, Unit};
use report::Report;
use scenes::{SCENES, Side};

#[derive(Clone)]
pub(crate) struct Tier;

both::both!(ours, kvbm_lockfree, crate::scenes::choose_ours);
both::both!(reference, kvbm_logical, crate::scenes::choose_reference);

/// The numbers of blocks. Growth is that from the first to the last.
const SIZES: [usize; 3] = [1 << 14, 1 << 17, 1 << 20];

/// Limits this process to two cores, so that the number of shards is the same everywhere.
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
}

#[cfg(not(target_os = "linux"))]
fn use_two_cores() {}

/// Runs one scene, and writes what it has measured to the standard output.
fn run_scene(arguments: &[String]) {
    let [unit, scene, policy, side, blocks] = arguments else {
        panic!("the runner passes five arguments, not {arguments:?}");
    };
    let unit = match unit.as_str() {
        runner::TIME => Unit::Time,
        _ => Unit::Instructions,
    };
    let mut meter = Meter::new(unit);
    let scene = scenes::named(scene);
    let side = match side.as_str() {
        "ours" => Side::Ours,
        _ => Side::Reference,
    };
    let blocks = blocks.parse().expect("a number");
    let run = scene.on(side, policy).expect("the crate has the scene");
    run(policy, blocks, &mut meter);
    let output = std::io::BufWriter::new(std::io::stdout().lock());
    meter.report(output).expect("the runner reads it");
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == runner::RUN
    {
        run_scene(rest);
        return ExitCode::SUCCESS;
    }
    use_two_cores();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let words: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let sizes = if has("--quick") {
        &SIZES[..2]
    } else {
        &SIZES[..]
    };
    let mut report = Report::new(sizes);
    for scene in SCENES {
        for &policy in scene.policies {
            let name = format!("{} {policy}", scene.name);
            if !words.iter().all(|word| name.contains(word.as_str())) {
                continue;
            }
            for side in [Side::Ours, Side::Reference] {
                if scene.on(side, policy).is_none() || (side == Side::Reference && has("--ours")) {
                    continue;
                }
                for (at, &blocks) in sizes.iter().enumerate() {
                    eprintln!("{name}, {side}, {blocks} blocks");
                    let rows = runner::measure(scene.name, policy, side, blocks);
                    report.add(policy, side, at, rows);
                }
            }
        }
    }
    if has("--table") {
        report.print_summary();
    } else {
        report.print_rows();
    }
    if report.print_failures() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
