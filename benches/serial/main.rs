//! How parallel is this crate? Counts what only one thread at a time can do.
//!
//! ```sh
//! cargo bench --bench serial               # prints a table, in Markdown
//! cargo bench --bench serial -- lineage    # the rows whose names contain "lineage"
//! cargo bench --bench serial -- --cores    # writes the data of the figure `cores.svg`
//! ```
//!
//! A *serial section* is what a thread executes while it holds a lock. If a block takes `W`
//! instructions, of which `S` are in sections of one and the same lock, then any number of cores
//! together are at most `W ÷ S` times as fast as one. The table shows this *ceiling*, for the lock
//! with the most instructions, and with it:
//!
//! * *any lock*: the instructions in the sections of all locks. Those of a lock that each shard has
//!   for itself do not stop the threads of other shards.
//! * *atomic*: the locked instructions, of those that a block takes.
//!
//! # How are they counted?
//!
//! `counted/` is a program in which threads take turns, one call each, like threads on as many
//! cores that happen to be equally fast: eight in the table. It runs under callgrind. The crate is
//! built with `--cfg kvbm_serial`, in which every lock of its `sync` module says when it has been
//! taken and released. The program then has callgrind write down what it has counted since the last
//! change. So the counts follow the code, whatever its locks are and however many: nothing here
//! knows their names. A replacement of `parking_lot` does the same for the reference. Not counted as
//! locks are those of maps that are sharded by hash (`dashmap`, in the reference's registry), and
//! those that `std` provides where no request comes by: attachments, and the reading of events.
//!
//! The counts are reproducible, except that the keys of hash tables are random; see
//! `benches/instructions`.
//!
//! # What is written for the figure?
//!
//! The same with 1 to 16 threads; and *transfers*, of cache lines from one core to another. The
//! program runs under lackey, which prints every instruction and access to memory; this takes
//! ten minutes. `transfers.rs`
//! replays them as a machine would that has one cache per thread, which holds everything: an access
//! is a transfer if the line has been changed by another thread since, or if it is a write to a line
//! of which others have copies. The model that turns the counts into throughput is described in
//! `benches/figures/cores.rs`.
//!
//! Requires valgrind and x86-64.

#[path = "../figures/data.rs"]
mod data;
mod instructions;
mod program;
mod table;
mod transfers;

use std::error::Error;

use data::{Cores, CoresRow, LockRow, Policy, Repeated, Side};
use kvbm_lockfree::eviction::BuiltInPolicy;
use program::{Program, Scene};
use transfers::Transfers;

/// The number of threads of the table.
const THREADS: usize = 8;
/// The number of blocks of its pools, as in `benches/instructions`.
const POOL: usize = 4_096;
/// The numbers of threads of the figure, which interpolates between them.
const CORES: [usize; 3] = [1, 4, 16];
/// The number of blocks of its pools, of which each thread holds 32. It takes long to fill a pool.
const CORES_POOL: usize = 1_024;
/// The number of lines that the figure knows one by one: those with the most transfers.
const LINES: usize = 8;
/// The figure knows locks in whose sections at least one of this many instructions is executed.
const NEGLIGIBLE: u64 = 1_000;

/// Prints the instructions of a lifecycle, for every policy whose row contains `filter`.
fn print_table(program: &Program, filter: &str) -> Result<(), Box<dyn Error>> {
    let ours = BuiltInPolicy::ALL.iter().flat_map(|policy| {
        let all = ["", "tracker", "directives", "leases"];
        // A policy that needs a tracker always has one.
        let options = all
            .into_iter()
            .filter(|&option| option != "tracker" || !policy.needs_tracker())
            .map(|option| match (policy.needs_tracker(), option) {
                (true, "") => "tracker".to_owned(),
                (true, option) => format!("tracker,{option}"),
                (false, option) => option.to_owned(),
            });
        options.map(|options| (Side::ThisCrate, policy.name(), options))
    });
    let reference = [
        ("lru", ""),
        ("multi-lru", "tracker"),
        ("hashmap", ""),
        ("lineage-tick", ""),
        ("lineage-fifo", ""),
    ];
    let reference =
        reference.map(|(policy, options)| (Side::Reference, policy, options.to_owned()));
    let mut table = table::Rows::new();
    for (side, policy, options) in ours.chain(reference) {
        let scene = Scene {
            side,
            policy,
            options: &options,
            operation: Repeated::Lifecycle,
            threads: THREADS,
            pool: POOL,
        };
        if scene.to_string().contains(filter) {
            table.add(&scene, &instructions::count(program, &scene)?);
        }
    }
    println!("instructions per block, lifecycle under eviction, {THREADS} threads\n\n{table}");
    Ok(())
}

/// Counts and writes everything that the figure shows.
fn count_cores(program: &Program) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    for (operation, policy) in [
        (Repeated::Lifecycle, Policy::Lru),
        (Repeated::Lifecycle, Policy::LineageTick),
        (Repeated::Match, Policy::Lru),
    ] {
        for side in [Side::ThisCrate, Side::Reference] {
            for threads in CORES {
                let scene = Scene {
                    side,
                    policy: match policy {
                        Policy::LineageTick => "lineage-tick",
                        _ => "lru",
                    },
                    options: "",
                    operation,
                    threads,
                    pool: CORES_POOL,
                };
                eprintln!("{scene}, {threads} threads");
                rows.push(row(program, &scene, policy)?);
            }
        }
    }
    data::write(data::CORES, &Cores { rows })
}

fn row(program: &Program, scene: &Scene<'_>, policy: Policy) -> Result<CoresRow, Box<dyn Error>> {
    let transfers = match scene.threads {
        1 => Transfers::none(instructions::count(program, scene)?),
        _ => transfers::count(program, scene)?,
    };
    let per_block = |count: u64| {
        let exact = count as f64 / transfers.blocks as f64;
        (exact * 1e3).round() / 1e3
    };
    let mut locks: Vec<LockRow> = Vec::new();
    for lock in &transfers.locks {
        // A lock of a single hash, for instance, stops nobody.
        if lock.instructions < transfers.instructions / NEGLIGIBLE {
            continue;
        }
        let known = locks.iter().position(|row| row.guards == lock.guards);
        let at = known.unwrap_or_else(|| {
            locks.push(LockRow {
                guards: lock.guards.clone(),
                ..LockRow::default()
            });
            locks.len() - 1
        });
        locks[at].locks += 1;
        locks[at].instructions += per_block(lock.instructions);
        locks[at].transfers += per_block(lock.transfers);
    }
    Ok(CoresRow {
        operation: scene.operation,
        policy,
        side: scene.side,
        threads: scene.threads,
        instructions: per_block(transfers.instructions),
        locks,
        transfers: per_block(transfers.outside),
        lines: (transfers.lines.iter().take(LINES))
            .map(|&transfers| per_block(transfers))
            .collect(),
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let program = Program::build()?;
    if arguments.iter().any(|argument| argument == "--cores") {
        return count_cores(&program);
    }
    print_table(&program, arguments.first().map_or("", String::as_str))
}
