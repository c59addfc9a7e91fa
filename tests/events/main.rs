//! Events: beside those of `kvbm-logical`, on the wire, and under contention.
//!
//! * [`streams`]: generated operations of one thread; both crates' subscribers get
//!   the same events in the same order, and lose the same ones.
//! * [`wire`]: messages are the same bytes, and each crate reads the other's.
//! * [`batches`]: the same batches of the same events, and when they are complete.
//! * [`races`]: pairs stay exact, and sleeping subscribers are woken, when threads
//!   register the same hashes.
//! * [`wakers`]: wakers that panic, re-enter and are dropped.
//! * [`ends`]: when streams end, and what holds up nobody.
//! * [`publishers`]: what is sent, and publishers that refuse and panic.
//! * [`directed`]: what else the documentation says.

mod batches;
mod directed;
mod ends;
mod publishers;
mod races;
mod streams;
mod wakers;
mod wire;

use futures::{FutureExt, Stream, StreamExt};
use kvbm_lockfree::SequenceHash;
use kvbm_lockfree::events::KvCacheEvent;

/// A hash of its own at each position.
fn hash(position: u64) -> SequenceHash {
    SequenceHash::new(1000 + position, None, position)
}

fn create(position: u64) -> KvCacheEvent {
    KvCacheEvent::Create(hash(position))
}

fn remove(position: u64) -> KvCacheEvent {
    KvCacheEvent::Remove(hash(position))
}

/// What a stream has now.
fn available<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}
