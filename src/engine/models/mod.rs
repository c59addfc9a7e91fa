//! Loom models of the engine's parts, one file per part.
//!
//! [`crate::models`] says how to run them, and which faults each of them catches.

#![expect(
    clippy::arc_with_non_send_sync,
    reason = "loom runs all threads of a model on one"
)]

mod credits;
mod freelist;
mod index;
mod plane;
mod release_log;
mod shards;
mod slot;
mod sweep;
mod try_lock;
mod watermark;

use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use crate::SequenceHash;
use crate::models::explore;
use crate::sync::UnsafeCell;

use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::Word;
use crate::key::Key;

/// Starts a thread of the model.
fn spawn<S: 'static, T: 'static>(
    state: &Arc<S>,
    run: impl FnOnce(&S) -> T + 'static,
) -> JoinHandle<T> {
    let state = Arc::clone(state);
    thread::spawn(move || run(&state))
}

/// Waits for threads of the model, and returns their results.
fn join<T, const N: usize>(threads: [JoinHandle<T>; N]) -> [T; N] {
    threads.map(|thread| thread.join().unwrap())
}

/// Returns the `n`th hash. Both of its halves differ from those of all others.
fn hash(n: u64) -> SequenceHash {
    SequenceHash::new(n, Some(n + 100), 1)
}

/// Returns the key of the `n`th hash, in this bucket.
fn key(n: u64, bucket: u64) -> Key {
    Key {
        hash: hash(n),
        keyed: bucket,
    }
}

/// Makes an exclusive slot the primary of a hash, with one pin.
fn make_primary(slot: &Slot, key: Key) {
    slot.set_key(key);
    let word = slot.begin();
    slot.promote(word);
}

/// Takes one of several pins off.
fn unpin_shared(slot: &Slot, seen: Word) -> Result<(), Word> {
    // SAFETY: the caller owns the pin, and a model's slots outlive its threads.
    unsafe { Slot::unpin_shared(NonNull::from(slot), seen) }
}

/// Takes the last pin off a slot that no other thread uses, and leaves it unqueued.
fn make_inactive(slot: &Slot) {
    slot.unpin_last(slot.word()).unwrap();
    slot.unmark_queued();
}

/// The contents of blocks, one value per block. Loom fails a run in which a write is not
/// ordered with every other access.
struct Contents(Vec<UnsafeCell<u64>>);

impl Contents {
    fn new(blocks: usize) -> Self {
        Self((0..blocks).map(|_| UnsafeCell::new(0)).collect())
    }

    fn read(&self, block: u32) -> u64 {
        // SAFETY: loom has just checked that no other thread writes the value meanwhile.
        self.0[block as usize].with(|value| unsafe { *value })
    }

    fn write(&self, block: u32, new: u64) {
        // SAFETY: loom has just checked that no other thread accesses the value meanwhile.
        self.0[block as usize].with_mut(|value| unsafe { *value = new });
    }
}
