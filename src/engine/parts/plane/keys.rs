//! What each shard has published of its eviction order, to be compared with others.
//!
//! | word | written by | when |
//! |---|---|---|
//! | `first`: the key of the first victim of the order | the holder of the plane | when it has changed the order, before it releases the plane |
//! | `queued`: a key that is no larger than that of any block that is queued on the shard's log | a thread that pushes onto the log | after the push, if there is no such key |
//! | `queued`: no key | the holder of the plane | before it drains the log |
//!
//! So whatever is listed or queued has a key, once those that are in the middle of these steps have
//! taken them. The keys are hints all the same: whoever holds a plane learns what its order has.
//!
//! # What is a key?
//!
//! The class of a block (its priority and, among blocks of the default priority, its level), and then
//! the *tick* at which the log that the block came from began to fill, on a clock that all shards share.
//! So of two blocks of the same class, the one that was released first goes first, unless they were
//! released while both logs had something queued.

use crossbeam_utils::CachePadded;

use crate::policy::First;
use crate::retention::Priority;
use crate::sync::{AtomicU64, Ordering};

/// The key of what is empty.
const NONE: u64 = u64::MAX;

/// The bits of a key that hold a tick.
const TICK_BITS: u32 = 48;

/// The keys of all shards; see the module documentation.
pub(super) struct Keys {
    shards: Box<[Published]>,
    clock: CachePadded<AtomicU64>,
}

/// The keys of one shard. Four to a cache line: they are compared more often than they change.
#[repr(align(16))]
struct Published {
    first: AtomicU64,
    queued: AtomicU64,
}

/// Returns the key of a block of this class and tick.
pub(super) fn key(class: u16, tick: u64) -> u64 {
    u64::from(class) << TICK_BITS | tick
}

/// Returns the tick of a key.
fn tick_of(key: u64) -> u64 {
    key & ((1 << TICK_BITS) - 1)
}

impl Keys {
    pub(super) fn new(shards: usize) -> Self {
        let published = |_| Published {
            first: AtomicU64::new(NONE),
            queued: AtomicU64::new(NONE),
        };
        Self {
            shards: (0..shards).map(published).collect(),
            clock: CachePadded::new(AtomicU64::new(0)),
        }
    }

    fn next_tick(&self) -> u64 {
        // Relaxed: a tick says nothing about other memory.
        tick_of(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    /// Records that something has been pushed onto the log of a shard. `may_be_low` says whether a
    /// queued block may have another priority than the default.
    #[inline]
    pub(super) fn note_queued(&self, shard: usize, may_be_low: bool) {
        let queued = &self.shards[shard].queued;
        // A thread that drains the log after this push has yet to clear the word. One that has drained
        // it before has cleared it, and this load sees that: the push has acquired the drain.
        if queued.load(Ordering::Relaxed) == NONE {
            let least = if may_be_low {
                Priority::LOWEST
            } else {
                Priority::DEFAULT
            };
            // Release: whoever sees the key sees the push.
            queued.store(
                key(First::of(0, least, 0).class, self.next_tick()),
                Ordering::Release,
            );
        }
    }

    /// Records that the log of a shard is about to be drained. Returns the key that it had. Only for the
    /// holder of the plane.
    #[inline]
    pub(super) fn take_queued(&self, shard: usize) -> Option<u64> {
        let queued = &self.shards[shard].queued;
        let key = queued.load(Ordering::Relaxed);
        if key == NONE {
            return None;
        }
        queued.store(NONE, Ordering::Relaxed);
        Some(key)
    }

    /// Records that a drain has left something on the log of a shard, which had this key.
    #[cold]
    pub(super) fn put_back_queued(&self, shard: usize, key: u64) {
        self.shards[shard].queued.store(key, Ordering::Release);
    }

    /// Returns the tick of a log that had this key before it was drained.
    #[inline]
    pub(super) fn tick(&self, key: Option<u64>) -> u64 {
        // If there is none, a push has not been recorded yet.
        key.map_or_else(|| self.next_tick(), tick_of)
    }

    /// Publishes the key of the first victim of a shard, or that there is none. Only for the holder of
    /// the plane.
    #[inline]
    pub(super) fn publish_first(&self, shard: usize, first: Option<u64>) {
        let published = &self.shards[shard].first;
        let key = first.unwrap_or(NONE);
        // Relaxed: only the holder of the plane writes it.
        if published.load(Ordering::Relaxed) != key {
            // Release: whoever sees the key sees what led to it.
            published.store(key, Ordering::Release);
        }
    }

    /// Returns the shard with the smallest key, and that key, not counting the shards whose bits are
    /// set in `except`; `None` if nothing is listed or queued in the others.
    #[inline]
    pub(super) fn first(&self, except: u64) -> Option<(usize, u64)> {
        let mut first = None;
        let mut smallest = NONE;
        for (shard, published) in self.shards.iter().enumerate() {
            let listed = published.first.load(Ordering::Acquire);
            let queued = published.queued.load(Ordering::Acquire);
            let key = listed.min(queued);
            if key < smallest && except & 1 << shard == 0 {
                (first, smallest) = (Some(shard), key);
            }
        }
        first.map(|shard| (shard, smallest))
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_was_queued_first_goes_first() {
        let keys = Keys::new(3);
        assert_eq!(keys.first(0), None);
        for shard in [1, 2, 0, 1] {
            keys.note_queued(shard, false);
        }
        let shard = |except| keys.first(except).map(|(shard, _)| shard);
        assert_eq!(shard(0), Some(1));
        assert_eq!(shard(0b010), Some(2));
        assert_eq!(shard(0b111), None);
        let tick = keys.tick(keys.take_queued(1));
        keys.publish_first(1, Some(key(First::of(0, Priority::DEFAULT, 1).class, tick)));
        assert_eq!(shard(0), Some(2), "the level comes before the tick");
        assert!(keys.take_queued(2) < keys.take_queued(0));
        assert_eq!(shard(0), Some(1));
        keys.note_queued(0, true);
        assert_eq!(shard(0), Some(0), "it may be of low priority");
        keys.publish_first(1, None);
        assert_eq!(shard(0b001), None);
    }
}
