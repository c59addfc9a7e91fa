//! What each shard has published of its eviction order, to be compared with others.
//!
//! | word | written by | when |
//! |---|---|---|
//! | `queued`: a key that is no larger than that of any block queued on the shard's log | a thread that pushes onto the log, by an exchange for the minimum | after the push, unless the key there is small enough |
//! | `first`: a key that is no larger than that of any block listed by the order, or in the hands of a drain | the holder of the plane | before it clears `queued`: the smaller of the two; and before it releases the plane: the key of the first victim |
//! | `queued`: none | the holder of the plane | before it takes slots off the log |
//!
//! So whatever is listed or queued has a key, once the thread that has pushed it has published that. A
//! thread that looks at both words reads `queued` first, because blocks go from there to `first`. The
//! holder of a plane sees its order itself, so to it keys are only hints.
//!
//! # Can a log lose its key?
//!
//! A drain clears `queued`, and then takes slots off the log by an exchange of its head, even if there
//! seem to be none, provided that there was a key. A push exchanges the head, too, and looks at `queued`
//! afterwards. If the push came first, the drain takes its slot. If it came later, its exchange has
//! acquired the clearing, so that it sees no key, and publishes one.
//!
//! # What is a key?
//!
//! The class of a block (its priority and, among blocks of the default priority, its level), and then
//! the *tick* at which the log that the block came from began to fill, on a clock that all shards share.
//! What is queued has the lowest class that it may have. So of two blocks of the same class that wait in
//! the order of their releases, the one that was released first goes first, unless both logs had
//! something queued at the time.

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
        let least = if may_be_low {
            Priority::LOWEST
        } else {
            Priority::DEFAULT
        };
        let class = First::of(0, least, 0).class;
        let queued = &self.shards[shard].queued;
        // Relaxed: see "Can a log lose its key?" for what this load sees.
        let seen = queued.load(Ordering::Relaxed);
        if seen >> TICK_BITS > u64::from(class) {
            let tick = match seen {
                NONE => self.next_tick(),
                seen => tick_of(seen),
            };
            // Release: whoever sees the key sees the push.
            queued.fetch_min(key(class, tick), Ordering::Release);
        }
    }

    /// Moves the key of what is queued on the log of a shard, which is about to be drained, to what is
    /// listed. Returns the key, if there was one. Only for the holder of the plane.
    #[inline]
    pub(super) fn take_queued(&self, shard: usize) -> Option<u64> {
        let Published { first, queued } = &self.shards[shard];
        let key = queued.load(Ordering::Relaxed);
        if key == NONE {
            return None;
        }
        if key < first.load(Ordering::Relaxed) {
            first.store(key, Ordering::Relaxed);
        }
        // Release: whoever sees that there is no key here sees the one there.
        queued.store(NONE, Ordering::Release);
        Some(key)
    }

    /// Records that a drain has left something on the log of a shard, which had this key.
    #[cold]
    pub(super) fn put_back_queued(&self, shard: usize, key: u64) {
        self.shards[shard].queued.fetch_min(key, Ordering::Release);
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
    /// set in `except`, nor what is queued on the logs of those in `drained`; `None` if there is nothing
    /// else.
    #[inline]
    pub(super) fn first(&self, except: u64, drained: u64) -> Option<(usize, u64)> {
        let mut first = None;
        let mut smallest = NONE;
        for (shard, published) in self.shards.iter().enumerate() {
            let queued = published.queued.load(Ordering::Acquire);
            let mut key = published.first.load(Ordering::Acquire);
            if drained & 1 << shard == 0 {
                key = key.min(queued);
            }
            if key < smallest && except & 1 << shard == 0 {
                (first, smallest) = (Some(shard), key);
            }
        }
        first.map(|shard| (shard, smallest))
    }

    /// Returns whether something is listed or queued in a shard.
    pub(super) fn has_any(&self, shard: usize) -> bool {
        let Published { first, queued } = &self.shards[shard];
        queued.load(Ordering::Acquire) != NONE || first.load(Ordering::Acquire) != NONE
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn what_was_queued_first_goes_first() {
        let keys = Keys::new(3);
        assert_eq!(keys.first(0, 0), None);
        for shard in [1, 2, 0, 1] {
            keys.note_queued(shard, false);
        }
        let shard = |except| keys.first(except, 0).map(|(shard, _)| shard);
        assert_eq!(shard(0), Some(1));
        assert_eq!(shard(0b010), Some(2));
        assert_eq!(shard(0b111), None);
        assert_eq!(keys.first(0, 0b111), None);
        let tick = keys.tick(keys.take_queued(1));
        keys.publish_first(1, Some(key(First::of(0, Priority::DEFAULT, 1).class, tick)));
        assert_eq!(shard(0), Some(2), "the level comes before the tick");
        assert!(keys.take_queued(2) < keys.take_queued(0));
        keys.publish_first(0, None);
        keys.publish_first(2, None);
        assert_eq!(shard(0), Some(1));
        keys.note_queued(0, true);
        assert_eq!(shard(0), Some(0), "it may be of low priority");
        keys.publish_first(1, None);
        assert_eq!(shard(0b001), None);
    }

    #[test]
    fn a_key_gets_smaller_only() {
        let keys = Keys::new(1);
        keys.note_queued(0, false);
        let (_, of_default) = keys.first(0, 0).unwrap();
        keys.note_queued(0, true);
        let (_, of_lowest) = keys.first(0, 0).unwrap();
        assert!(of_lowest < of_default);
        assert_eq!(tick_of(of_lowest), tick_of(of_default));
        keys.note_queued(0, false);
        keys.put_back_queued(0, of_default);
        assert_eq!(keys.first(0, 0), Some((0, of_lowest)));
        assert_eq!(keys.take_queued(0), Some(of_lowest));
        assert_eq!(
            keys.first(0, 0),
            Some((0, of_lowest)),
            "in the hands of a drain"
        );
        keys.publish_first(0, None);
        assert!(!keys.has_any(0));
    }
}
