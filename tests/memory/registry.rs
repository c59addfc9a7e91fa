//! The registry's memory is freed, and is bounded while handles come and go.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use kvbm_lockfree::BlockRegistry;

use crate::counting::{largest, live, tally};
use crate::{hash, turn};

/// One call suffices if no other thread has garbage or is inside an operation.
fn flush(registry: &BlockRegistry) {
    assert_eq!(registry.flush_garbage(), 0);
}

#[test]
fn a_drained_registry_is_as_small_as_an_empty_one() {
    const HANDLES: u64 = 1_000_000;
    const CHUNK: u64 = 10_000;
    /// What a table of the minimum size, a bag of garbage, and the epochs' own lists may add.
    const SLACK: isize = 64 << 10;

    let _turn = turn();
    let registry = BlockRegistry::new();
    drop(registry.register_sequence_hash(hash(0)));
    flush(&registry);
    let empty = live();
    for round in 0..2 {
        let mut chunks = Vec::new();
        for start in (0..HANDLES).step_by(CHUNK as usize) {
            let hashes = (start..start + CHUNK).map(hash);
            chunks.push(registry.register_sequence_hashes(hashes));
        }
        let full = live() - empty;
        assert_eq!(registry.registered_count() as u64, HANDLES);
        drop(chunks);
        assert_eq!(registry.registered_count(), 0);
        let pending = registry.pending_garbage();
        let drained = live() - empty;
        flush(&registry);
        let left = live() - empty;
        println!(
            "round {round}: {full} bytes full, {drained} drained ({pending} pending), {left} flushed"
        );
        assert!(left.abs() < SLACK, "{left} bytes left");
    }
}

/// No registration pays for a table that has become larger: its memory comes zeroed.
#[test]
fn a_table_that_grows_is_not_written() {
    const HANDLES: u64 = 100_000;
    /// More than an entry, and than a bag of garbage.
    const SMALL: usize = 8 << 10;

    let _turn = turn();
    let registry = BlockRegistry::new();
    let mut handles = Vec::with_capacity(HANDLES as usize);
    let largest = largest(|| {
        handles.extend((0..HANDLES).map(|content| registry.register_sequence_hash(hash(content))));
    });
    assert!(largest < SMALL, "{largest} bytes");
    drop(handles);
    flush(&registry);
}

/// The memory of ended entries is used again. What is left to allocate belongs to the epochs.
#[test]
fn handles_that_come_and_go_allocate_little() {
    const HANDLES: u64 = 20_000;

    let _turn = turn();
    let registry = BlockRegistry::new();
    let churn = |from: u64| {
        for content in from..from + HANDLES {
            drop(registry.register_sequence_hash(hash(content)));
        }
    };
    churn(0);
    let ((), tally) = tally(|| churn(HANDLES));
    println!("{} allocations for {HANDLES} handles", tally.allocations);
    assert!(tally.allocations < HANDLES / 4, "{tally:?}");
    flush(&registry);
}

/// While a thread is preempted *inside* an operation, the garbage of all threads accumulates until
/// it runs again. From time to time, the threads therefore meet outside of operations. Almost no
/// garbage may be left then, whatever they have done.
#[test]
fn garbage_is_bounded_while_handles_churn() {
    const THREADS: u64 = 4;
    const MEETINGS: u64 = 20;
    const TURNS: u64 = 5_000;
    /// The garbage that threads keep to themselves until they have more of it.
    const OWN: u64 = 64;

    let _turn = turn();
    let registry = BlockRegistry::new();
    let most = AtomicU64::new(0);
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        let churn = |thread| {
            let (registry, most, barrier) = (&registry, &most, &barrier);
            scope.spawn(move || {
                for turn in 0..MEETINGS * TURNS {
                    // Half of the hashes belong to this thread, the other half to all.
                    let owner = thread * (turn % 2) + 1;
                    drop(registry.register_sequence_hash(hash(owner << 32 | turn)));
                    if turn % 64 == 0 {
                        most.fetch_max(registry.pending_garbage(), Relaxed);
                    }
                    if turn % TURNS == 0 {
                        if barrier.wait().is_leader() {
                            let left = registry.flush_garbage();
                            assert!(left < THREADS * OWN, "{left} pieces left");
                        }
                        barrier.wait();
                    }
                }
            })
        };
        let threads: Vec<_> = (0..THREADS).map(churn).collect();
        // Leaving the scope waits for the closures only, but threads hand over their garbage when
        // they exit.
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
    let left = registry.pending_garbage();
    println!("at most {most:?} pending, {left} in the end");
    flush(&registry);
}
