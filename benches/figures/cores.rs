//! Throughput on more cores than were measured: a model, computed from what `serial` counted.
//!
//! # The model
//!
//! A closed queueing network, solved by mean value analysis (Reiser and Lavenberg, 1980). On `n`
//! cores run `n` threads, each of which handles one block after another. A block needs
//!
//! * every *lock*, for as long as its sections take: each instruction [`INSTRUCTION`], each transfer
//!   of a cache line from another core [`TRANSFER`];
//! * each of the *lines* that are transferred most while no lock is held, for as many transfers: a
//!   line can be in one place at a time, so the more cores want it, the longer each of them waits;
//! * the rest of its time, in which no other thread disturbs it.
//!
//! One thread at a time has a lock or a line, and others queue for it. Locks of which each shard has
//! one are so many stations with an equal share of the work.
//!
//! # What is left out?
//!
//! * Threads do not queue for a lock that can only be tried: they leave an update to others, or try
//!   again. This crate is therefore better than the model, up to where the lock is always held; the
//!   limit is the same.
//! * In the reference, a thread that finds the mutex held soon sleeps, and has to be woken. The
//!   reference is therefore worse than the model.
//! * No transfer overlaps with another or with instructions, and all take the same time, whether
//!   the cores share a die or not.
//! * The caches are large enough, and the operating system does nothing.
//!
//! The counts are of 1, 4 and 16 threads. Between them, throughput is interpolated. Beyond 16, it is
//! computed from the counts of 16: an access that may need a transfer already needs it fifteen
//! times of sixteen.

use crate::data::{Cores, CoresRow, Policy, Repeated, Side};
use crate::page::{Axis, Curve, Line, Outcome, Page, Panel};

/// The nanoseconds that an instruction takes.
const INSTRUCTION: f64 = 0.1;
/// The nanoseconds that it takes to transfer a cache line from one core to another.
const TRANSFER: f64 = 60.0;

const CORES: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Some equal stations, each of which serves one thread at a time.
struct Stations {
    number: usize,
    /// The nanoseconds that a block needs each of them.
    demand: f64,
    /// The threads that are at each of them.
    queue: f64,
}

impl Stations {
    fn new(number: usize, demand: f64) -> Self {
        let demand = demand / number as f64;
        Self {
            number,
            demand,
            queue: 0.0,
        }
    }

    /// Returns the time that a block spends at all of them.
    fn time(&self) -> f64 {
        self.number as f64 * self.demand * (1.0 + self.queue)
    }
}

fn nanos(instructions: f64, transfers: f64) -> f64 {
    instructions * INSTRUCTION + transfers * TRANSFER
}

/// Returns million blocks per second on this many cores, according to these counts.
fn throughput(counts: &CoresRow, cores: usize) -> f64 {
    let locks = counts
        .locks
        .iter()
        .map(|row| Stations::new(row.locks, nanos(row.instructions, row.transfers)));
    let lines = (counts.lines.iter()).map(|&transfers| Stations::new(1, nanos(0.0, transfers)));
    let mut stations: Vec<Stations> = locks.chain(lines).collect();
    let in_locks: f64 = counts.locks.iter().map(|row| row.instructions).sum();
    let of_lines: f64 = counts.lines.iter().sum();
    let alone = nanos(counts.instructions - in_locks, counts.transfers - of_lines);
    let mut per_nanosecond = 0.0;
    for threads in 1..=cores {
        let queued: f64 = stations.iter().map(Stations::time).sum();
        per_nanosecond = threads as f64 / (alone + queued);
        for station in &mut stations {
            station.queue = per_nanosecond * station.time() / station.number as f64;
        }
    }
    per_nanosecond * 1e3
}

/// Interpolates between the counts of the two nearest numbers of threads.
fn interpolated(rows: &[&CoresRow], cores: usize) -> Option<f64> {
    let below = rows.iter().rev().find(|row| row.threads <= cores)?;
    let above = rows.iter().find(|row| row.threads >= cores);
    let above = above.unwrap_or(below);
    let (from, to) = (throughput(below, cores), throughput(above, cores));
    let log = |threads: usize| (threads as f64).log2();
    let part = match below.threads == above.threads {
        true => 0.0,
        false => (log(cores) - log(below.threads)) / (log(above.threads) - log(below.threads)),
    };
    Some(from.powf(1.0 - part) * to.powf(part))
}

pub fn draw(data: &Cores) -> Outcome {
    print(data);
    Page {
        title: "Throughput by cores, computed from counts".into(),
        subtitle: format!(
            "a model: {INSTRUCTION} ns per instruction, {TRANSFER} ns per transfer of a cache line, \
             queues at locks and at lines; see benches/figures/cores.rs"
        ),
        panels: [Repeated::Lifecycle, Repeated::Match]
            .map(|operation| panel(data, operation))
            .into(),
    }
    .draw("cores.svg")
}

/// Returns the lines of an operation, each with its throughput by number of cores.
fn lines(data: &Cores, operation: Repeated) -> Vec<(Line, Vec<(usize, f64)>)> {
    let mut lines = Vec::new();
    for policy in [Policy::Lru, Policy::LineageTick] {
        for side in [Side::ThisCrate, Side::Reference] {
            let rows: Vec<&CoresRow> = (data.rows.iter())
                .filter(|row| (row.operation, row.policy, row.side) == (operation, policy, side))
                .collect();
            let by_cores: Vec<_> = CORES
                .into_iter()
                .filter_map(|cores| Some((cores, interpolated(&rows, cores)?)))
                .collect();
            if !by_cores.is_empty() {
                lines.push((Line { side, policy }, by_cores));
            }
        }
    }
    lines
}

/// Prints the model's results in Markdown.
fn print(data: &Cores) {
    for operation in [Repeated::Lifecycle, Repeated::Match] {
        println!("\n{operation}, million blocks per second, computed\n");
        let cores = CORES.map(|cores| format!(" {cores} |")).concat();
        println!(
            "| cores | |{cores}\n|---|---|{}",
            "---:|".repeat(CORES.len())
        );
        for (line, by_cores) in lines(data, operation) {
            let cells: String = (by_cores.iter())
                .map(|(_, throughput)| match *throughput < 10.0 {
                    true => format!(" {throughput:.1} |"),
                    false => format!(" {throughput:.0} |"),
                })
                .collect();
            println!("| {} | {} |{cells}", line.policy, line.side);
        }
    }
    println!();
}

fn panel(data: &Cores, operation: Repeated) -> Panel {
    let lines = lines(data, operation);
    let all = || lines.iter().flat_map(|(_, by_cores)| by_cores);
    let (lowest, highest) = all().fold((f64::MAX, f64::MIN), |(low, high), &(_, throughput)| {
        (low.min(throughput.log10()), high.max(throughput.log10()))
    });
    let (first, last) = (lowest.floor() as i32, highest.ceil() as i32);
    let place = |&(cores, throughput): &(usize, f64)| ((cores as f64).log2(), throughput.log10());
    Panel {
        title: operation.to_string(),
        x: Axis {
            name: "cores",
            range: -0.25..(CORES[CORES.len() - 1] as f64).log2() + 0.25,
            ticks: CORES.map(|cores| (cores as f64).log2()).into(),
            label: |log| format!("{:.0}", log.exp2()),
        },
        y: Axis {
            name: "million blocks / s (log)",
            range: f64::from(first)..f64::from(last),
            ticks: (first..=last).map(f64::from).collect(),
            label: |log| format!("{}", 10_f64.powf(*log)),
        },
        curves: (lines.iter())
            .map(|(line, by_cores)| Curve {
                line: *line,
                points: by_cores.iter().map(place).collect(),
                markers: by_cores.iter().map(place).collect(),
                bars: Vec::new(),
            })
            .collect(),
    }
}
