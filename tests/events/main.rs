//! Events: compared with `kvbm-logical`'s, on the wire, and under contention.
//!
//! * [`streams`]: under generated single-threaded operations, subscribers of both crates get the
//!   same events in the same order, and lose the same ones.
//! * [`wire`]: messages are the same bytes, and each crate reads the other's.
//! * [`batches`]: the same events make the same batches; when a batch is complete.
//! * [`races`]: when threads register the same hashes, pairs stay exact and waiting subscribers
//!   are woken.
//! * [`wakers`]: wakers that panic, re-enter or are dropped.
//! * [`ends`]: when streams end, and what must not delay that.
//! * [`publishers`]: what is sent, and publishers that refuse or panic.
//! * [`directed`]: everything else the documentation promises.

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

/// Returns the hash at a position, different for each.
fn hash(position: u64) -> SequenceHash {
    SequenceHash::new(1000 + position, None, position)
}

fn create(position: u64) -> KvCacheEvent {
    KvCacheEvent::Create(hash(position))
}

fn remove(position: u64) -> KvCacheEvent {
    KvCacheEvent::Remove(hash(position))
}

/// Returns everything that the stream yields without waiting.
fn available<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}
