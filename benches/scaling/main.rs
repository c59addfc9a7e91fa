//! Throughput with 1, 2, 4 and 8 threads, side by side with `kvbm-logical`.
//!
//! `cargo bench --bench scaling` measures everything, prints tables, and writes the data of the
//! figure. With a filter, as in `cargo bench --bench scaling -- allocate`, it measures the tables
//! whose titles contain the filter and writes nothing.
//!
//! * *Mixed requests*: each thread matches a request of 32 blocks, allocates what is missing, which
//!   evicts, registers it, and drops the request before the last four. The pool has 10,000 blocks,
//!   and about half of the requested blocks are hits.
//! * *Allocate 1 + drop*: no block is free at first, so the first allocations evict; later ones
//!   reuse the dropped blocks.
//! * *Match 32 active + drop*: all threads match the same blocks, which are held.
//!
//! The runs of a table take turns, many times. A loop that only computes takes turns with them: on
//! one thread right after the run with one thread, and on two right after the run with two. The
//! column *machine* shows what that loop gains from a second thread, which is what the machine can
//! offer at that time. On a shared machine, this explains much of the other numbers. The tables show
//! medians with the lowest and highest values:
//!
//! * *2 threads ÷ 1*: the gain from a second thread.
//! * *machine*: the computing loop's.
//! * *of the machine's*: the one divided by the other, in the same turn. It is 1 if a second thread
//!   adds as much as the machine has to give.
//! * *undisturbed*: the median gain over the turns in which the computing loop gained about 2.
//! * *8 threads ÷ 2*: the gain, or the loss, from having more threads than cores, if there are two.

#[path = "../workload/concurrent.rs"]
mod concurrent;
#[path = "../figures/data.rs"]
mod data;
#[path = "../workload/pool.rs"]
mod pool;
#[path = "../workload/mod.rs"]
mod workload;

use std::error::Error;
use std::hint::black_box;
use std::ops::RangeInclusive;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use concurrent::{InFlight, Mixed, POOL, Progress};
use data::{Machine, Operation, Policy, Rate, Side, Spread, Throughput, ThroughputRow};
use pool::{Pool, Shape};
use workload::together::together;
use workload::{BATCH, chain};

const THREADS: [usize; 4] = [1, 2, 4, 8];
const TURNS: usize = 31;
/// The gain of the computing loop for which a turn counts as undisturbed. A larger gain than is
/// possible means that its run with one thread was disturbed.
const UNDISTURBED: RangeInclusive<f64> = 1.7..=2.2;

/// Returns the throughput with this many threads, in million blocks per second.
type Measure<'a> = Box<dyn Fn(usize) -> f64 + 'a>;

/// Divides `rounds` of `blocks` blocks each among the threads. Returns million blocks per second.
fn rate<T: Send>(
    threads: usize,
    rounds: usize,
    blocks: usize,
    work: impl Fn(usize, usize) -> T + Sync,
) -> f64 {
    let share = rounds / threads;
    let (time, _) = together(threads, |thread| work(thread, share));
    (share * threads * blocks) as f64 / time.as_secs_f64() / 1e6
}

fn measure<'a, P: Pool + 'a>(
    operation: Operation,
    policy: Policy,
    side: Side,
    mixed: &'a Mixed,
) -> Measure<'a> {
    let pool = P::full(Shape::new(policy, POOL));
    match operation {
        Operation::MixedRequests => {
            // A few hundredths of a second for either crate.
            let rounds = match side {
                Side::ThisCrate => 16_000,
                Side::Reference => 1_600,
            };
            let progress = Progress::new(mixed);
            Box::new(move |threads| {
                rate(threads, rounds, BATCH, |thread, share| {
                    let mut in_flight = InFlight::new(&pool);
                    for hashes in progress.take(thread, share) {
                        in_flight.serve(hashes);
                    }
                })
            })
        }
        Operation::Allocate => Box::new(move |threads| {
            rate(threads, 320_000, 1, |_, share| {
                for _ in 0..share {
                    pool.allocate(1);
                }
            })
        }),
        Operation::MatchActive => {
            let hashes = chain(1);
            let held = pool.request(&hashes);
            Box::new(move |threads| {
                black_box(&held);
                rate(threads, 48_000, BATCH, |_, share| {
                    for _ in 0..share {
                        drop(pool.match_blocks(black_box(&hashes)));
                    }
                })
            })
        }
    }
}

/// Returns the throughput of a loop that only computes with this many threads.
fn compute(threads: usize) -> f64 {
    rate(threads, threads, 8_000_000, |_, _| {
        let end = black_box(8_000_000_u64);
        black_box((0..end).fold(1_u64, |x, i| {
            x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i)
        }))
    })
}

/// The samples of one crate.
struct Samples<'a> {
    side: Side,
    measure: Measure<'a>,
    by_threads: [Vec<f64>; THREADS.len()],
    machine: Vec<f64>,
}

impl<'a> Samples<'a> {
    fn of<P: Pool + 'a>(
        side: Side,
        operation: Operation,
        policy: Policy,
        mixed: &'a Mixed,
    ) -> Self {
        Self {
            side,
            measure: measure::<P>(operation, policy, side, mixed),
            by_threads: Default::default(),
            machine: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let mut computed = [0.0; 2];
        for (samples, threads) in self.by_threads.iter_mut().zip(THREADS) {
            samples.push((self.measure)(threads));
            if let Some(computed) = computed.get_mut(threads - 1) {
                *computed = compute(threads);
            }
        }
        self.machine.push(computed[1] / computed[0]);
    }

    fn row(self, operation: Operation, policy: Policy) -> ThroughputRow {
        let [one, two, _, eight] = &self.by_threads;
        let ratios = |more: &[f64], fewer: &[f64]| -> Vec<f64> {
            let pairs = more.iter().zip(fewer);
            pairs.map(|(more, fewer)| more / fewer).collect()
        };
        let gains = ratios(two, one);
        let undisturbed: Vec<f64> = (gains.iter().zip(&self.machine))
            .filter(|&(_, machine)| UNDISTURBED.contains(machine))
            .map(|(&gain, _)| gain)
            .collect();
        let spread = |values| Spread::of(values).expect("there are turns");
        ThroughputRow {
            operation,
            policy,
            side: self.side,
            undisturbed_turns: undisturbed.len(),
            undisturbed: Spread::of(undisturbed),
            of_machine: Spread::of(ratios(&gains, &self.machine)),
            eight_to_two: Spread::of(ratios(eight, two)),
            second_thread: spread(gains),
            machine: spread(self.machine),
            by_threads: (THREADS.into_iter().zip(self.by_threads))
                .map(|(threads, samples)| Rate {
                    threads,
                    million_blocks_per_second: spread(samples),
                })
                .collect(),
        }
    }
}

fn compare(operation: Operation, policy: Policy, mixed: &Mixed) -> [ThroughputRow; 2] {
    let mut sides = [
        Samples::of::<kvbm_lockfree::BlockManager<_>>(Side::ThisCrate, operation, policy, mixed),
        Samples::of::<kvbm_logical::BlockManager<_>>(Side::Reference, operation, policy, mixed),
    ];
    for _ in 0..TURNS {
        sides.iter_mut().for_each(Samples::turn);
    }
    sides.map(|side| side.row(operation, policy))
}

fn print(title: &str, rows: &[ThroughputRow]) {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header([
        "",
        "1 thread",
        "2 threads",
        "4 threads",
        "8 threads",
        "2 threads ÷ 1",
        "machine",
        "of the machine's",
        "undisturbed",
        "8 threads ÷ 2",
    ]);
    for row in rows {
        let mut cells = vec![row.side.to_string()];
        cells
            .extend((row.by_threads.iter()).map(|rate| rate.million_blocks_per_second.to_string()));
        cells.push(row.second_thread.to_string());
        cells.push(row.machine.to_string());
        let shown = |spread: &Option<Spread>| spread.as_ref().map_or("".into(), Spread::to_string);
        cells.push(shown(&row.of_machine));
        cells.push(match &row.undisturbed {
            Some(gain) => format!("{:.2} in {}", gain.median, row.undisturbed_turns),
            None => "none".into(),
        });
        cells.push(shown(&row.eight_to_two));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{title}\n\n{table}");
}

fn main() -> Result<(), Box<dyn Error>> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let filter = filter.unwrap_or_default();
    let mixed = Mixed::new(THREADS[THREADS.len() - 1]);
    let machine = Machine::this();
    println!("{machine}");
    println!("million blocks per second: lowest / median / highest of {TURNS} turns");
    let mut rows = Vec::new();
    for (operation, policy) in [
        (Operation::MixedRequests, Policy::Lru),
        (Operation::MixedRequests, Policy::LineageTick),
        (Operation::Allocate, Policy::Lru),
        (Operation::MatchActive, Policy::Lru),
    ] {
        let title = format!("{operation}, {policy}");
        if title.contains(&filter) {
            let sides = compare(operation, policy, &mixed);
            print(&title, &sides);
            rows.extend(sides);
        }
    }
    if !filter.is_empty() {
        return Ok(());
    }
    let turns = TURNS;
    data::write(
        data::THROUGHPUT,
        &Throughput {
            machine,
            turns,
            rows,
        },
    )
}
