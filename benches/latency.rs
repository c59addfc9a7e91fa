//! The latency of single requests, side by side with `kvbm-logical`.
//!
//! `cargo bench --bench latency` prints a table and writes the data of the figure. A request matches
//! 32 blocks, allocates what is missing, which evicts, stages and registers it, and drops the
//! request before the last four. All of that is timed, repeatedly, on each thread, in a pool of
//! 10,000 blocks. About half of the requested blocks are hits.
//!
//! The two crates take turns, so that disturbances of the machine affect both. A thread starts its
//! next request when the previous one is complete. If there are more threads than cores, the tail of
//! the distribution is how long a thread waits for a core.
//!
//! Therefore, a second table has the time for which the thread itself was running during a request
//! (`CLOCK_THREAD_CPUTIME_ID`, on Linux): what the request costs, whatever else the machine does. A
//! thread that waits for a lock by sleeping does not run. Reading that clock takes a system call,
//! of which about half is included.

#[path = "workload/concurrent.rs"]
mod concurrent;
#[path = "figures/data.rs"]
mod data;
#[path = "workload/pool.rs"]
mod pool;
mod workload;

use std::error::Error;
use std::time::Instant;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use concurrent::{InFlight, Mixed, POOL, Progress};
use data::{Latency, LatencyRow, Machine, Policy, Running, Side};
use hdrhistogram::Histogram;
use pool::{Pool, Shape};
use workload::together::together;

const THREADS: [usize; 3] = [1, 2, 8];
const TURNS: usize = 10;
/// The number of requests per turn, over all threads.
const REQUESTS: usize = 20_000;
/// The number of points of the curve per nine.
const POINTS: usize = 20;

/// Creates a histogram of nanoseconds with three significant digits.
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are possible")
}

/// Returns the time for which this thread has been running, in nanoseconds.
#[cfg(target_os = "linux")]
fn running_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(not(target_os = "linux"))]
fn running_time() -> u64 {
    0
}

/// One crate with a number of threads.
struct Samples<'a, P> {
    side: Side,
    pool: P,
    threads: usize,
    progress: Progress<'a>,
    latencies: Histogram<u64>,
    running: Histogram<u64>,
}

impl<'a, P: Pool> Samples<'a, P> {
    fn new(side: Side, policy: Policy, threads: usize, mixed: &'a Mixed) -> Self {
        Self {
            side,
            pool: P::full(Shape::new(policy, POOL)),
            threads,
            progress: Progress::new(mixed),
            latencies: histogram(),
            running: histogram(),
        }
    }

    fn turn(&mut self) {
        let (_, histograms) = together(self.threads, |thread| {
            let (mut latencies, mut running) = (histogram(), histogram());
            let mut in_flight = InFlight::new(&self.pool);
            for hashes in self.progress.take(thread, REQUESTS / self.threads) {
                let (has_run, start) = (running_time(), Instant::now());
                in_flight.serve(hashes);
                latencies += start.elapsed().as_nanos() as u64;
                running += running_time() - has_run;
            }
            (latencies, running)
        });
        for (latencies, running) in histograms {
            self.latencies += latencies;
            self.running += running;
        }
    }

    fn cells(&self, policy: Policy, times: &Histogram<u64>) -> [String; 8] {
        let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        let at = |percentile| us(times.value_at_percentile(percentile));
        [
            policy.to_string(),
            self.threads.to_string(),
            self.side.to_string(),
            at(50.0),
            at(90.0),
            at(99.0),
            at(99.9),
            us(times.max()),
        ]
    }

    fn row(&self, policy: Policy) -> LatencyRow {
        let curve = (0..=4 * POINTS)
            .map(|point| 100.0 - 100.0 * 0.1_f64.powf(point as f64 / POINTS as f64))
            .map(|percentile| (percentile * 1e4).round() / 1e4)
            .filter(|&percentile| percentile >= 50.0)
            .chain([50.0])
            .map(|percentile| (percentile, self.latencies.value_at_percentile(percentile)));
        let mut curve: Vec<_> = curve.collect();
        curve.sort_by(|a, b| a.0.total_cmp(&b.0));
        LatencyRow {
            policy,
            threads: self.threads,
            side: self.side,
            max_ns: self.latencies.max(),
            running: cfg!(target_os = "linux").then(|| Running {
                p50_ns: self.running.value_at_percentile(50.0),
                p99_ns: self.running.value_at_percentile(99.0),
                p999_ns: self.running.value_at_percentile(99.9),
                max_ns: self.running.max(),
            }),
            curve,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mixed = Mixed::new(THREADS[THREADS.len() - 1]);
    let [mut table, mut running] = [(); 2].map(|()| {
        let header = ["policy", "threads", "", "p50", "p90", "p99", "p99.9", "max"];
        let mut table = Table::new();
        table.load_preset(ASCII_MARKDOWN).set_header(header);
        table
    });
    let mut rows = Vec::new();
    for policy in [Policy::Lru, Policy::LineageTick] {
        for threads in THREADS {
            let mut ours = Samples::<kvbm_lockfree::BlockManager<_>>::new(
                Side::ThisCrate,
                policy,
                threads,
                &mixed,
            );
            let mut reference = Samples::<kvbm_logical::BlockManager<_>>::new(
                Side::Reference,
                policy,
                threads,
                &mixed,
            );
            for _ in 0..TURNS {
                ours.turn();
                reference.turn();
            }
            table.add_row(ours.cells(policy, &ours.latencies));
            table.add_row(reference.cells(policy, &reference.latencies));
            running.add_row(ours.cells(policy, &ours.running));
            running.add_row(reference.cells(policy, &reference.running));
            rows.extend([ours.row(policy), reference.row(policy)]);
        }
    }
    for table in [&mut table, &mut running] {
        for column in table.column_iter_mut().skip(3) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let machine = Machine::this();
    let requests = TURNS * REQUESTS;
    println!("{machine}\nmicroseconds per request, of {requests} requests\n\n{table}");
    if cfg!(target_os = "linux") {
        println!("\nthe same, of the thread's own running time\n\n{running}");
    }
    data::write(
        data::LATENCY,
        &Latency {
            machine,
            requests,
            rows,
        },
    )
}
