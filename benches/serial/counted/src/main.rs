//! The program whose instructions are counted: threads that take turns, one call at a time.
//!
//! `benches/serial/main.rs` builds it, runs it under valgrind, and says what the scenes are.
//!
//! ```text
//! counted SIDE POLICY OPTIONS OPERATION POOL THREADS WARM REQUESTS
//! ```
//!
//! `POOL` is a number of blocks, all of which have been used before the threads begin. `WARM` and
//! `REQUESTS` are numbers of requests, over all threads. Only the latter are counted.

mod sections;
mod sides;
#[path = "../../../workload/mod.rs"]
mod workload;

use std::sync::mpsc::{Receiver, Sender, channel};

use dynamo_tokens::PositionalLineageHash as SequenceHash;
use sections::{Phase, begin_turn, begin_turns, end_turn, end_turns, print_marks};
use sides::{Options, Side};
use workload::{BATCH, chain};

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    /// Requests of 32 new blocks: match (a miss), allocate (which evicts), stage and register, drop.
    Lifecycle,
    /// Matches of the same 32 blocks, which are held, and drops.
    Match,
}

/// What the threads do: one call per turn.
struct Worker<'a, S: Side> {
    side: &'a S,
    operation: Operation,
    /// The number of the next request, and how far the one after it is.
    number: u64,
    stride: u64,
    hashes: [SequenceHash; BATCH],
    fresh: Vec<S::Fresh>,
    held: Vec<S::Held>,
}

impl<S: Side> Worker<'_, S> {
    /// Takes the next request.
    fn next(&mut self) {
        if self.operation == Operation::Lifecycle {
            self.hashes = chain(self.number);
            self.number += self.stride;
        }
    }

    /// Makes the call with this number of the request.
    fn call(&mut self, call: usize) {
        match call {
            0 => self.side.match_blocks(&self.hashes, &mut self.held),
            1 => self.side.allocate(BATCH, &mut self.fresh),
            2 => (self.side).register(&self.hashes, &mut self.fresh, &mut self.held),
            _ => self.side.release(&mut self.held),
        }
    }
}

/// Has each thread do its turns when it is told to.
fn work<S: Side>(mut worker: Worker<'_, S>, thread: usize, go: Receiver<usize>, done: Sender<()>) {
    for call in go {
        if call == 0 {
            worker.next();
        }
        begin_turn(thread);
        worker.call(call);
        end_turn();
        done.send(()).expect("the main thread waits");
    }
}

fn run<S: Side>(
    options: &Options,
    operation: Operation,
    [pool, threads]: [usize; 2],
    requests: [usize; 2],
) {
    let side = S::new(options, pool);
    let (mut fresh, mut held) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    let mut request = |number: u64| {
        let hashes = chain(number);
        side.match_blocks(&hashes, &mut held);
        side.allocate(BATCH, &mut fresh);
        side.register(&hashes, &mut fresh, &mut held);
        std::mem::take(&mut held)
    };
    for number in 0..(pool / BATCH) as u64 {
        side.release(&mut request(u64::MAX - number));
    }
    side.prepare(options, &chain(u64::MAX));
    let calls: &[usize] = match operation {
        Operation::Lifecycle => &[0, 1, 2, 3],
        Operation::Match => &[0, 3],
    };
    let mut keeps = match operation {
        Operation::Lifecycle => Vec::new(),
        Operation::Match => request(0),
    };
    std::thread::scope(|scope| {
        let (done, turns) = channel();
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (go, when) = channel();
                let worker = Worker {
                    side: &side,
                    operation,
                    number: 1 + thread as u64,
                    stride: threads as u64,
                    hashes: chain(0),
                    fresh: Vec::with_capacity(BATCH),
                    held: Vec::with_capacity(BATCH),
                };
                let done = done.clone();
                scope.spawn(move || work(worker, thread, when, done));
                go
            })
            .collect();
        // All threads make their first call, then all make their second.
        let rounds = |count: usize| {
            for _ in 0..count.div_ceil(threads) {
                for &call in calls {
                    for go in &workers {
                        go.send(call).expect("the thread waits");
                        turns.recv().expect("the thread takes its turn");
                    }
                }
            }
        };
        begin_turns(Phase::Warm);
        rounds(requests[0]);
        begin_turns(Phase::Calibrate);
        begin_turns(Phase::Count);
        rounds(requests[1]);
    });
    end_turns(requests[1].div_ceil(threads) * threads * BATCH);
    side.release(&mut keeps);
}

fn main() {
    print_marks();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [side, policy, options, operation, numbers @ ..] = &arguments[..] else {
        panic!("the arguments are a side, a policy, options, an operation, and numbers");
    };
    let operation = match operation.as_str() {
        "lifecycle" => Operation::Lifecycle,
        "match" => Operation::Match,
        other => panic!("no operation is called {other}"),
    };
    let numbers: Vec<usize> = (numbers.iter())
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [pool, threads, warm, requests] = numbers[..] else {
        panic!("the numbers are of blocks, of threads, and of requests before and while counting");
    };
    let options = Options::new(policy, options);
    let run = match side.as_str() {
        "this-crate" => run::<sides::ThisCrate>,
        "reference" => run::<sides::Reference>,
        other => panic!("no side is called {other}"),
    };
    // The other threads would wait for the one that panics.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(1);
    }));
    run(&options, operation, [pool, threads], [warm, requests]);
}
