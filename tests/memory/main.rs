//! How much memory is used, and how much is left behind, as counted by the allocator.
//!
//! The tests run one at a time, since some of them measure the heap of the whole process.

mod counting;
mod ends;
mod footprint;
mod manager;
#[path = "../policy/mod.rs"]
mod policy;
mod registry;
mod steady_state;

use std::sync::{Mutex, MutexGuard, PoisonError};

use kvbm_lockfree::SequenceHash;

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(content: u64) -> SequenceHash {
    SequenceHash::new(content, None, 0)
}

/// Returns the hashes of a request of `len` blocks that shares none with other requests.
fn chain(number: u64, len: usize) -> Vec<SequenceHash> {
    let content = |at: u64| (number << 20) + at;
    (0..len as u64)
        .map(|at| SequenceHash::new(content(at), at.checked_sub(1).map(content), at))
        .collect()
}

#[derive(Clone)]
struct Gpu;
