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
use data::{Latency, LatencyRow, Machine, Policy, Side};
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

/// One crate with a number of threads.
struct Samples<'a, P> {
    side: Side,
    pool: P,
    threads: usize,
    progress: Progress<'a>,
    latencies: Histogram<u64>,
}

impl<'a, P: Pool> Samples<'a, P> {
    fn new(side: Side, policy: Policy, threads: usize, mixed: &'a Mixed) -> Self {
        Self {
            side,
            pool: P::full(Shape::new(policy, POOL)),
            threads,
            progress: Progress::new(mixed),
            latencies: histogram(),
        }
    }

    fn turn(&mut self) {
        let (_, latencies) = together(self.threads, |thread| {
            let mut latencies = histogram();
            let mut in_flight = InFlight::new(&self.pool);
            for hashes in self.progress.take(thread, REQUESTS / self.threads) {
                let start = Instant::now();
                in_flight.serve(hashes);
                latencies += start.elapsed().as_nanos() as u64;
            }
            latencies
        });
        for latencies in latencies {
            self.latencies += latencies;
        }
    }

    fn cells(&self, policy: Policy) -> [String; 8] {
        let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        let at = |percentile| us(self.latencies.value_at_percentile(percentile));
        [
            policy.to_string(),
            self.threads.to_string(),
            self.side.to_string(),
            at(50.0),
            at(90.0),
            at(99.0),
            at(99.9),
            us(self.latencies.max()),
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
            curve,
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mixed = Mixed::new(THREADS[THREADS.len() - 1]);
    let mut table = Table::new();
    table
        .load_preset(ASCII_MARKDOWN)
        .set_header(["policy", "threads", "", "p50", "p90", "p99", "p99.9", "max"]);
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
            table.add_row(ours.cells(policy));
            table.add_row(reference.cells(policy));
            rows.extend([ours.row(policy), reference.row(policy)]);
        }
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let machine = Machine::this();
    let requests = TURNS * REQUESTS;
    println!("{machine}\nmicroseconds a request, of {requests} requests\n\n{table}");
    data::write(
        data::LATENCY,
        &Latency {
            machine,
            requests,
            rows,
        },
    )
}
