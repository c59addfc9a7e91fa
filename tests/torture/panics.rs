//! Panics that unwind through held guards, and through a registration.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use crate::rng::{self, Rng};
use crate::rounds::Rounds;
use crate::stamps::Stamps;
use crate::worker::{Covered, Worker};
use crate::{assert_whole, cases, manager};

const THREADS: u64 = 16;
const BLOCKS: usize = 160;

/// The payload of deliberate panics.
struct Planned;

/// Unwinds as a panic does, but prints no message.
fn unwind() -> ! {
    resume_unwind(Box::new(Planned))
}

/// Returns whether `f` unwound. Any panic that is not deliberate is a failure.
fn unwound(f: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(()) => false,
        Err(payload) if payload.is::<Planned>() => true,
        Err(payload) => resume_unwind(payload),
    }
}

/// Continues until there is a guard of each kind, and then unwinds through all of them.
fn with_guards_of_every_kind(worker: &mut Worker) -> bool {
    unwound(|| {
        // Unlike the worker, these are dropped by the unwinding.
        let mut worker = worker.fork();
        while !worker.held.is_of_every_kind() {
            worker.run(1);
        }
        unwind();
    })
}

/// Registers blocks from an iterator that unwinds before the last one.
fn within_a_registration(worker: &mut Worker) -> bool {
    unwound(|| worker.fork().register_until(unwind))
}

const WAYS: [fn(&mut Worker) -> bool; 2] = [with_guards_of_every_kind, within_a_registration];

/// Sixteen threads unwind repeatedly and meet at rest in between. Every block must be available
/// then.
#[test]
fn unwinding_loses_no_block() {
    let seed = rng::seed();
    for (number, (policy, duplication, end)) in cases(20).enumerate() {
        println!("{policy:?}, {duplication:?}");
        let manager = manager(policy, BLOCKS, duplication);
        let (stamps, covered) = (Stamps::new(BLOCKS), Covered::default());
        let rounds = Rounds::new(THREADS as usize);
        let unwound = [const { AtomicU32::new(0) }; WAYS.len()];
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let rng = Rng::of(seed + number as u64, thread);
                let mut worker = Worker::new(&manager, &stamps, &covered, rng, 6);
                let (manager, stamps, rounds) = (&manager, &stamps, &rounds);
                let unwound = &unwound;
                let quiet = move || {
                    stamps.assert_clean();
                    assert_eq!(stamps.in_use(), (0, 0));
                    assert_eq!(manager.available_blocks(), BLOCKS);
                    manager.audit().expect("the pool is consistent");
                    Instant::now() < end
                };
                let work = move || {
                    for (way, count) in WAYS.iter().zip(unwound) {
                        count.fetch_add(u32::from(way(&mut worker)), Relaxed);
                    }
                };
                scope.spawn(move || rounds.attend(work, quiet));
            }
        });
        assert!(
            unwound.iter().all(|count| count.load(Relaxed) > 0),
            "{unwound:?}"
        );
        assert_whole(&manager);
    }
}
