//! Throughput of mixed requests on one thread and on two, side by side with
//! `kvbm-logical`.
//!
//! `cargo bench --bench scaling`. Each thread matches a request of 32 blocks,
//! allocates what is missing, which evicts, registers it, and drops the request
//! before the last four. The pool has 10,000 blocks and about half of the blocks
//! requested are hits.
//!
//! Runs on one thread and on two take turns, many times over, and so does a loop
//! that only computes: what *it* gains from a second thread is what the machine
//! had to give at that time. On a machine that others use too this tells a lot
//! about the other numbers. Medians are printed, with the lowest and the highest,
//! and the median of the ratio over the turns in which the machine was undisturbed.

mod workload;

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use dynamo_tokens::PositionalLineageHash as SequenceHash;
use workload::{BATCH, Requests, chain};

const POOL: usize = 10_000;
const TURNS: usize = 31;
/// What the computing loop must gain for a turn to count as undisturbed.
const UNDISTURBED: f64 = 1.7;

#[derive(Clone)]
struct Tier;

/// Lowest, median, and highest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    ]
}

/// Wall time of `work` on every one of `threads` threads: from the first start
/// to the last end, by the threads' own clocks.
fn timed(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    let spans: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    work(thread);
                    (start, Instant::now())
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let start = spans.iter().map(|span| span.0).min().unwrap();
    let end = spans.iter().map(|span| span.1).max().unwrap();
    end - start
}

fn compute(_thread: usize) {
    let end = black_box(10_000_000_u64);
    black_box((0..end).fold(1_u64, |x, i| {
        x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i)
    }));
}

/// Prints a row: throughput on one thread and on two, and their ratio.
fn compare(
    name: &str,
    rounds: usize,
    requests: &[Requests],
    request: impl Fn(&[SequenceHash], &mut VecDeque<Box<dyn Held>>) + Sync,
) {
    let mixed = |thread: usize| {
        let hashes = &requests[thread].hashes;
        let mut held = VecDeque::with_capacity(5);
        for round in 0..rounds {
            request(&hashes[round % hashes.len()], &mut held);
            if held.len() > 4 {
                held.pop_front();
            }
        }
    };
    let (mut one, mut two, mut ratio, mut machine) = (vec![], vec![], vec![], vec![]);
    for _ in 0..TURNS {
        let rate = |threads: usize| {
            (threads * rounds * BATCH) as f64 / timed(threads, mixed).as_secs_f64() / 1e6
        };
        let (on_one, on_two) = (rate(1), rate(2));
        one.push(on_one);
        two.push(on_two);
        ratio.push(on_two / on_one);
        let alone = timed(1, compute).as_secs_f64();
        machine.push(2.0 * alone / timed(2, compute).as_secs_f64());
    }
    let show = |values| {
        spread(values)
            .map(|value| format!("{value:.2}"))
            .join(" / ")
    };
    let undisturbed: Vec<f64> = (ratio.iter().zip(&machine))
        .filter(|&(_, &machine)| machine >= UNDISTURBED)
        .map(|(&ratio, _)| ratio)
        .collect();
    let turns = undisturbed.len();
    let undisturbed = match turns {
        0 => "none".into(),
        _ => format!("{:.2} of {turns}", spread(undisturbed)[1]),
    };
    println!(
        "{name:24} {:>22} {:>22} {:>20} {:>20} {undisturbed:>12}",
        show(one),
        show(two),
        show(ratio),
        show(machine)
    );
}

/// What a request holds until it is dropped.
trait Held: Send {}
impl<T: Send> Held for T {}

macro_rules! side {
    ($name:ident, $krate:ident) => {
        mod $name {
            use super::*;
            use $krate::{BlockManager, BlockRegistry, ImmutableBlock};

            fn request(
                manager: &BlockManager<Tier>,
                hashes: &[SequenceHash],
            ) -> Vec<ImmutableBlock<Tier>> {
                let mut held = manager.match_blocks(hashes);
                let missing = &hashes[held.len()..];
                let blocks = manager
                    .allocate_blocks(missing.len())
                    .expect("the pool is large");
                let complete = blocks
                    .into_iter()
                    .zip(missing)
                    .map(|(block, &hash)| block.stage(hash, 16).unwrap())
                    .collect();
                held.extend(manager.register_blocks(complete));
                held
            }

            pub fn run(policy: &str, requests: &[Requests]) {
                let builder = BlockManager::<Tier>::builder()
                    .block_count(POOL)
                    .block_size(16)
                    .registry(BlockRegistry::new());
                let manager = match policy {
                    "lru" => builder.with_lru_backend(),
                    _ => builder.with_lineage_backend(),
                }
                .build()
                .unwrap();
                for number in 0..(POOL / BATCH + 1) as u64 {
                    drop(request(&manager, &chain(u64::MAX - number)));
                }
                let name = format!("{policy}, {}", stringify!($name));
                let rounds = if stringify!($name) == "reference" {
                    1_000
                } else {
                    8_000
                };
                compare(&name, rounds, requests, |hashes, held| {
                    held.push_back(Box::new(request(&manager, hashes)));
                });
            }
        }
    };
}

side!(lockfree, kvbm_lockfree);
side!(reference, kvbm_logical);

fn main() {
    let requests: Vec<Requests> = (1..=2).map(|seed| Requests::new(4_000, seed)).collect();
    println!("million blocks a second: lowest / median / highest of {TURNS}");
    println!(
        "{:24} {:>22} {:>22} {:>20} {:>20} {:>12}",
        "", "1 thread", "2 threads", "2 threads ÷ 1", "machine", "undisturbed"
    );
    for policy in ["lru", "lineage-tick"] {
        lockfree::run(policy, &requests);
        reference::run(policy, &requests);
    }
}
