//! The buckets of the entry table: how many there are, and the markers at which they begin.
//!
//! Markers are stored in segments: the first has 64, and each further one as many as all
//! before it. A segment is allocated when the table grows into it. A marker is linked when
//! its bucket is first used; until then, the bucket it was split from serves in its place.
//! No thread waits for another that is linking a marker.
//!
//! The number of buckets is one word, with a flag that keeps it from changing while the
//! table [shrinks](super::shrinking).

use std::ptr;

use crate::sync::canary;
use crate::sync::epoch::Guard;
use crate::sync::limits::{BUCKET_SEGMENTS, FIRST_BUCKETS, SPARSE_BUCKETS};
use crate::sync::step;
use crate::sync::zeroed;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

use super::chain;
use super::node::{LINKED, Node, NodeLink, marker_order};

/// Set in a table's size while the table shrinks. Until it is cleared, the size does not
/// change.
const SHRINKING: u64 = 1;

/// The largest factor by which the table shrinks at once.
const SHRINK_BY: u64 = 4;

/// The markers of all buckets, and the number of buckets in use.
pub(super) struct Markers {
    segments: [AtomicPtr<Node>; BUCKET_SEGMENTS],
    /// The number of buckets in use, a power of two, and [`SHRINKING`].
    size: AtomicU64,
}

impl Markers {
    pub(super) fn new() -> Self {
        let markers = Self {
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            size: AtomicU64::new(FIRST_BUCKETS as u64),
        };
        markers
            .marker(0)
            .order
            .store(marker_order(0) | LINKED, Ordering::Release);
        markers
    }

    /// Returns the number of buckets in use.
    #[cfg(all(test, not(kvbm_loom)))]
    pub(super) fn buckets(&self) -> usize {
        (self.size.load(Ordering::Relaxed) & !SHRINKING) as usize
    }

    /// Doubles the number of buckets if there are more than that many entries.
    pub(super) fn grow_for(&self, len: u64) {
        let size = self.size.load(Ordering::Relaxed);
        if len <= size || size & SHRINKING != 0 {
            return;
        }
        let last = (size * 2).ilog2() as usize - FIRST_BUCKETS.ilog2() as usize;
        if last < BUCKET_SEGMENTS {
            self.segment(last);
            // Release: pairs with the acquire in `start`. An exchange, since another thread
            // may have been first.
            let _ =
                self.size
                    .compare_exchange(size, size * 2, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Returns whether `len` entries are so few that the table should shrink.
    pub(super) fn is_too_large_for(&self, len: u64) -> bool {
        let size = self.size.load(Ordering::Relaxed);
        size & SHRINKING == 0 && size > FIRST_BUCKETS as u64 && len < size / SPARSE_BUCKETS
    }

    /// Publishes the size for `len` entries and returns it, if it is smaller than before.
    pub(super) fn publish_smaller(&self, len: u64) -> Option<usize> {
        let before = self.size.load(Ordering::Acquire);
        // Bounded, because until the upper markers are unlinked, a walk that starts at a
        // lower one passes over them.
        let after = (len.max(1) * 2)
            .next_power_of_two()
            .max(before / SHRINK_BY)
            .max(FIRST_BUCKETS as u64);
        if before & SHRINKING != 0 || after >= before {
            return None;
        }
        // The flag is part of the word, so a thread that was about to double the size,
        // however long ago it looked, fails until the markers are gone.
        self.size
            .compare_exchange(
                before,
                after | SHRINKING,
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .is_ok()
            .then_some(after as usize)
    }

    /// Unlinks a marker, after a grace period in which no thread started at it.
    pub(super) fn unlink_marker(&self, marker: &Node, parent: usize, guard: &Guard) {
        let order = marker.order();
        if order & LINKED != 0 {
            marker.kill();
            chain::seek(self.nearest_linked(parent), order, None, guard);
        }
    }

    /// Returns the marker of a bucket, or the nearest linked one before it.
    fn nearest_linked(&self, mut bucket: usize) -> &Node {
        loop {
            let marker = self.marker(bucket);
            if marker.order() & LINKED != 0 {
                return marker;
            }
            bucket &= !(1 << bucket.ilog2());
        }
    }

    /// Returns the number of buckets in a segment.
    #[inline]
    pub(super) fn segment_len(at: usize) -> usize {
        if at == 0 {
            FIRST_BUCKETS
        } else {
            FIRST_BUCKETS << (at - 1)
        }
    }

    /// Allows the table to change its size again.
    pub(super) fn end_shrinking(&self) {
        self.size.fetch_and(!SHRINKING, Ordering::Release);
    }

    /// Returns a segment, or null if it is not allocated.
    #[inline]
    pub(super) fn existing_segment(&self, at: usize) -> *mut Node {
        self.segments[at].load(Ordering::Acquire)
    }

    /// Takes a segment out of the directory. The caller then owns its memory.
    pub(super) fn withdraw_segment(&self, at: usize) {
        self.segments[at].store(ptr::null_mut(), Ordering::Release);
    }

    /// Returns a segment, and allocates it if need be.
    #[inline]
    fn segment(&self, at: usize) -> *mut Node {
        let segment = self.existing_segment(at);
        if segment.is_null() {
            self.make_segment(at)
        } else {
            segment
        }
    }

    #[cold]
    fn make_segment(&self, at: usize) -> *mut Node {
        // Zeros are markers that no thread has claimed yet.
        let new: Box<[Node]> = zeroed::array(Self::segment_len(at));
        let new = Box::into_raw(new);
        match self.segments[at].compare_exchange(
            ptr::null_mut(),
            new.cast(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => new.cast(),
            Err(existing) => {
                // SAFETY: `new` came from `Box::into_raw` above and was not published.
                drop(unsafe { Box::from_raw(new) });
                existing
            }
        }
    }

    /// Returns the marker of a bucket below the size.
    #[inline]
    pub(super) fn marker(&self, bucket: usize) -> &Node {
        // The first segment begins at zero, and each other one at a power of two.
        let at = ((bucket | (FIRST_BUCKETS - 1)).ilog2() + 1 - FIRST_BUCKETS.ilog2()) as usize;
        let start = if at == 0 { 0 } else { 1 << bucket.ilog2() };
        let offset = bucket - start;
        debug_assert!(offset < Self::segment_len(at));
        // SAFETY: the segment has more than `offset` nodes. It is freed only after the size
        // has been below `bucket` for two grace periods, and the caller read a size above
        // `bucket` under its guard.
        unsafe { &*self.segment(at).add(offset) }
    }

    /// Returns the linked marker at which a walk to `key` starts.
    #[inline]
    pub(super) fn start<'g>(&'g self, key: u64, guard: &'g Guard) -> &'g Node {
        // Acquire: pairs with the releases of the size, which follow the segment's
        // allocation.
        let size = self.size.load(Ordering::Acquire) & !SHRINKING;
        self.linked_marker((key & (size - 1)) as usize, guard)
    }

    /// Returns the marker of a bucket, and links it if need be. While another thread is
    /// linking it, returns the nearest linked marker before it.
    #[inline]
    fn linked_marker<'g>(&'g self, bucket: usize, guard: &'g Guard) -> &'g Node {
        let marker = self.marker(bucket);
        if marker.order() & LINKED != 0 {
            marker
        } else {
            self.link_marker(bucket, guard)
        }
    }

    /// Links the marker of a bucket and returns it, or the nearest linked marker before it while
    /// another thread is linking it.
    #[cold]
    fn link_marker<'g>(&'g self, bucket: usize, guard: &'g Guard) -> &'g Node {
        let marker = self.marker(bucket);
        let claimed = marker.order();
        if claimed & LINKED != 0 {
            return marker;
        }
        let parent = self.linked_marker(bucket & !(1 << bucket.ilog2()), guard);
        let order = marker_order(bucket);
        // Acquire and release: see `order`.
        if claimed != 0
            || marker
                .order
                .compare_exchange(0, order, Ordering::AcqRel, Ordering::Acquire)
                .is_err()
        {
            return parent;
        }
        step!(MarkerClaimed);
        loop {
            let position = chain::seek(parent, order, None, guard);
            marker.next.store(position.at.0, Ordering::Relaxed);
            if position
                .before
                .exchange_next(position.at, NodeLink::to(marker))
            {
                step!(MarkerLinked);
                // Release: a thread that starts here finds the marker linked.
                marker.order.store(order | LINKED, Ordering::Release);
                return marker;
            }
        }
    }
}

/// Frees a segment that is out of the directory.
///
/// # Safety
///
/// The segment was at this place in a directory, only the caller has taken it out, and no thread
/// can reach its nodes any more.
pub(super) unsafe fn free_segment(at: usize, segment: *mut Node) {
    let nodes = ptr::slice_from_raw_parts_mut(segment, Markers::segment_len(at));
    // SAFETY: the segment came from `Box::into_raw` of a slice of this length in
    // `Markers::segment`, and only the caller took it out of the directory.
    let nodes = unsafe { Box::from_raw(nodes) };
    nodes.iter().for_each(|node| node.canary().kill());
    canary::free(nodes);
}

impl Drop for Markers {
    fn drop(&mut self) {
        for (at, segment) in self.segments.iter().enumerate() {
            let segment = segment.load(Ordering::Relaxed);
            if !segment.is_null() {
                // SAFETY: the directory is about to be dropped, so no thread walks the table.
                unsafe { free_segment(at, segment) };
            }
        }
    }
}
