//! Threads that do the same thing at the same time.

use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Runs `work` on this many threads, which wait for each other before and after it. Returns the time
/// from the first start to the last end, according to the threads' own clocks, and the threads'
/// results.
pub fn together<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> (Duration, Vec<T>) {
    let barrier = Barrier::new(threads);
    let runs: Vec<(Instant, T, Instant)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let result = work(thread);
                    let end = Instant::now();
                    barrier.wait();
                    (start, result, end)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap())
            .collect()
    });
    let start = runs.iter().map(|run| run.0).min().unwrap();
    let end = runs.iter().map(|run| run.2).max().unwrap();
    (end - start, runs.into_iter().map(|run| run.1).collect())
}
