//! Events: beside those of `kvbm-logical`, on the wire, and under contention.
//!
//! * [`streams`]: generated operations of one thread; both crates' subscribers get
//!   the same events in the same order, and lose the same ones.
//! * [`wire`]: messages are the same bytes, and each crate reads the other's.
//! * [`batches`]: the same batches of the same events, and when they are complete.
//! * [`races`]: pairs stay exact, and sleeping subscribers are woken, when threads
//!   register the same hashes.
//! * [`directed`]: what else the documentation says.

mod batches;
mod directed;
mod races;
mod streams;
mod wire;

use futures::{FutureExt, Stream, StreamExt};
use kvbm_lockfree::SequenceHash;

/// A hash of its own at each position.
fn hash(position: u64) -> SequenceHash {
    SequenceHash::new(1000 + position, None, position)
}

/// What a stream has now.
fn available<S: Stream + Unpin>(stream: &mut S) -> Vec<S::Item> {
    std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
}
