//! Scenes in which another thread holds the policy plane and does not run.
//!
//! A signal stops that thread in the middle of what it does, and it stays in the signal's handler.
//! What it does is to evict, so it is often stopped while it holds the plane.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{AuditError, BlockManager};

use crate::Tier;
use crate::meter::Meter;
use crate::ours::{cached, full, request, stage};
use crate::workload::{BATCH, chain};

/// Whether a thread that gets the signal stays in its handler.
static STOPS: AtomicBool = AtomicBool::new(false);
/// Whether a thread is in the handler.
static IS_STOPPED: AtomicBool = AtomicBool::new(false);

extern "C" fn stop(_signal: libc::c_int) {
    IS_STOPPED.store(true, Ordering::SeqCst);
    while STOPS.load(Ordering::SeqCst) {
        // SAFETY: `usleep` has no preconditions, and may be called by a signal handler.
        unsafe { libc::usleep(1_000) };
    }
    IS_STOPPED.store(false, Ordering::SeqCst);
}

/// Calls `f` while another thread holds the manager's policy plane.
fn beside_a_holder(manager: &BlockManager<Tier>, f: impl FnOnce()) {
    // SAFETY: the handler uses only atomics and a function that is safe in signal handlers.
    let set = unsafe { libc::signal(libc::SIGUSR1, stop as *const () as libc::sighandler_t) };
    assert_ne!(set, libc::SIG_ERR);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let ends = &ends;
        // Also if the scene panics.
        let _release = Release(ends);
        // Threads get their shards in turn, and there are two: with this one in between, the holder
        // has the shard of the caller, and mostly holds its plane.
        scope.spawn(|| {
            drop(manager.allocate_one());
            while !ends.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
            }
        });
        thread::sleep(Duration::from_millis(100));
        scope.spawn(move || {
            // SAFETY: it has no preconditions.
            sender
                .send(unsafe { libc::pthread_self() })
                .expect("is received");
            let (mut fresh, mut held) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
            let mut number = 1 << 40;
            while !ends.load(Ordering::SeqCst) {
                let hashes = chain(number);
                number += 1;
                // Without memory from the heap, whose locks it might otherwise be stopped with.
                assert!(manager.allocate_into(BATCH, &mut fresh));
                let staged = fresh
                    .drain(..)
                    .zip(hashes)
                    .map(|(block, hash)| block.stage(hash, 16).expect("of this size"));
                manager.register_into(staged, &mut held);
                manager.release_from(&mut held);
            }
        });
        let holder = receiver.recv().expect("is sent");
        // No other thread uses the manager, so an audit finds the planes free unless this one has one.
        let is_held = || matches!(manager.audit(), Err(AuditError::Busy));
        loop {
            STOPS.store(true, Ordering::SeqCst);
            // SAFETY: the thread lives until the scope ends.
            unsafe { libc::pthread_kill(holder, libc::SIGUSR1) };
            while !IS_STOPPED.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(100));
            }
            if is_held() {
                break;
            }
            STOPS.store(false, Ordering::SeqCst);
            while IS_STOPPED.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(100));
            }
            thread::sleep(Duration::from_micros(500));
        }
        f();
    });
}

/// Ends the holder when it is dropped.
struct Release<'a>(&'a AtomicBool);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
        STOPS.store(false, Ordering::SeqCst);
    }
}

/// Nearly all blocks are inactive.
pub fn held_plane(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    meter.begin();
    beside_a_holder(&manager, || {
        let state = "another thread holds the policy and does not run";
        for at in 0..64 {
            let hashes = chain(1 + at);
            let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
            meter.call("drop 32", state, || drop(held));
            let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
            meter.call("drop 32", state, || drop(held));
            let block = meter.call("allocate 1, evicting", state, || manager.allocate_one());
            let block = block.expect("available").stage(hashes[0], 16);
            let block = block.expect("of this size");
            let guard = meter.call("register 1, a duplicate", state, || {
                manager.register_block(block)
            });
            meter.call("drop 1", state, || drop(guard));
        }
        // The holder may have evicted what was cached before.
        let chains = 10_000..10_000 + (blocks / BATCH / 2) as u64;
        let state = "the same, and half of the pool gets new content";
        for number in chains.clone() {
            let held = request(
                &manager,
                &chain(number),
                "allocate 32, evicting",
                state,
                meter,
            );
            meter.call("drop 32", state, || drop(held));
        }
        let state = "the same, and half of the pool is matched and released";
        for number in chains.clone() {
            let hashes = chain(number);
            let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
            meter.call("drop 32", state, || drop(held));
        }
        let state = "the same, and half of the pool gets a directive";
        let low = Retention::new(Priority::LOWEST);
        for number in chains.clone() {
            let hashes = chain(number);
            meter.call("set_retention of 32", state, || {
                manager.set_retention(&hashes, .., low)
            });
        }
        for number in 1_000..1_064 {
            let hashes = chain(number);
            let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
            meter.call("drop 32", state, || drop(held));
        }
    });
    let state = "the policy is free again";
    for number in 2_000..2_256 {
        let hashes = chain(number);
        let held = request(&manager, &hashes, "allocate 32, evicting", state, meter);
        meter.call("drop 32", state, || drop(held));
        let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
        meter.call("drop 32", state, || drop(held));
        let hashes = chain(10_000 + number % (blocks / BATCH / 2) as u64);
        let held = meter.call("match 32", state, || manager.match_blocks(&hashes));
        meter.call("drop 32", state, || drop(held));
    }
}

/// Nearly all blocks are held.
pub fn held_plane_scarce(policy: &str, blocks: usize, meter: &mut Meter) {
    let manager = full(policy, blocks);
    // The last ones are released.
    let mut held: Vec<_> = (0..blocks / BATCH)
        .map(|at| manager.match_blocks(&cached(at)))
        .collect();
    held.truncate(blocks / BATCH - 32);
    meter.begin();
    beside_a_holder(&manager, || {
        let state = "another thread holds the policy, and few blocks are inactive";
        for at in 0..64 {
            let hashes = chain(1 + at);
            // Only the slots say which blocks are inactive: see `engine/parts/sweep.rs`.
            let fresh = meter.visit("allocate 32, sweeping", state, || {
                manager.allocate_blocks(BATCH)
            });
            let staged = stage(fresh.expect("available"), &hashes);
            let held = meter.call("register 32", state, || manager.register_blocks(staged));
            meter.call("drop 32", state, || drop(held));
            let block = meter.visit("allocate 1, sweeping", state, || manager.allocate_one());
            let block = block.expect("available").stage(chain(1_000 + at)[0], 16);
            drop(manager.register_block(block.expect("of this size")));
        }
    });
}
