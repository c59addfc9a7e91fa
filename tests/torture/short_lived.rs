//! Threads that live for a few operations each, and what they leave behind.

use std::sync::Mutex;
use std::thread;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;

use crate::policy::OwnPolicy;
use crate::rng::{self, Rng};
use crate::stamps::Stamps;
use crate::worker::{Covered, Held, Worker};
use crate::{assert_whole, manager};

const BATCHES: u64 = 250;
const THREADS: u64 = 40;
const BLOCKS: usize = 128;

/// Ten thousand threads, 40 at a time, perform ten operations each. Every other one leaves its
/// guards to the next batch. Anything reserved for a thread must be usable by others after it has
/// ended, or the pool would run dry. An audit after each batch checks that, and in the end every
/// block must be allocatable.
#[test]
fn ten_thousand_threads_strand_nothing() {
    let seed = rng::seed();
    let pool = |policy| {
        let manager = manager(policy, BLOCKS, BlockDuplicationPolicy::Allow);
        (manager, Stamps::new(BLOCKS))
    };
    let pools: Vec<_> = OwnPolicy::all().map(pool).collect();
    let covered = Covered::default();
    let left: Vec<Mutex<Vec<Held>>> = pools.iter().map(|_| Mutex::default()).collect();
    for batch in 0..BATCHES {
        let turn = batch as usize % pools.len();
        let ((manager, stamps), left) = (&pools[turn], &left[turn]);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let rng = Rng::of(seed, batch * THREADS + number);
                let mut worker = Worker::new(manager, stamps, &covered, rng, 4);
                scope.spawn(move || {
                    worker.run(10);
                    let mut left = left.lock().expect("no thread failed");
                    let inherited = worker.rng.pick(&mut left);
                    if number % 2 == 0 {
                        left.push(worker.held);
                    }
                    drop((left, inherited));
                });
            }
        });
        manager.audit().expect("the pool is consistent");
        if batch / pools.len() as u64 % 8 == 7 {
            left.lock().expect("no thread failed").clear();
            stamps.assert_clean();
            assert_eq!(stamps.in_use(), (0, 0));
            assert_eq!(manager.available_blocks(), BLOCKS, "batch {batch}");
        }
    }
    for ((manager, stamps), left) in pools.iter().zip(left) {
        drop(left);
        stamps.assert_clean();
        assert_whole(manager);
    }
}
