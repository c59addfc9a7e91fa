//! Shrinking the entry table, step by step.
//!
//! The table shrinks when it has fewer than an eighth as many entries as buckets. It first
//! publishes the smaller size. A grace period later, no thread starts at the upper markers
//! any more, and they are unlinked. Another grace period later, no thread stands on them,
//! and their segments are freed. Until then the table keeps its size. It is correct at any
//! size.

use std::ptr;

use crate::sync::epoch::Guard;

use super::grace::{Grace, Graces};
use crate::sync::limits::{BUCKET_SEGMENTS, FIRST_BUCKETS};

use super::markers::{Markers, free_segment};
use super::node::Node;

/// The progress of the table's shrinking. Advanced by the thread that holds the registry's
/// upkeep.
pub(super) enum Shrinking {
    Not,
    /// The smaller size is published. Some threads may have started at the upper markers.
    Published {
        size: usize,
        grace: Grace,
    },
    /// The segments' markers are being unlinked, the upper ones first, so that their
    /// parents, where each search starts, are still linked and nearby. `offset` markers of
    /// the segment are done.
    Unlinking {
        size: usize,
        segment: usize,
        offset: usize,
        unlinked: Segments,
    },
    /// The segments are out of the directory. Some threads may stand on one of their
    /// markers.
    Unlinked {
        unlinked: Segments,
        grace: Grace,
    },
}

impl Shrinking {
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self, Self::Not)
    }

    /// Takes the next step, which visits up to `max` markers. Begins to shrink if `len`
    /// entries are too few for the table.
    pub(super) fn step(
        &mut self,
        markers: &Markers,
        len: u64,
        max: usize,
        graces: &mut Graces,
        guard: &Guard,
    ) {
        match self {
            Self::Not => {
                if markers.is_too_large_for(len)
                    && let Some(size) = markers.publish_smaller(len)
                {
                    let grace = graces.begin(guard);
                    *self = Self::Published { size, grace };
                }
            }
            &mut Self::Published { size, grace } => {
                if graces.has_passed(grace) {
                    *self = Self::Unlinking {
                        size,
                        segment: BUCKET_SEGMENTS - 1,
                        offset: 0,
                        unlinked: Segments([ptr::null_mut(); BUCKET_SEGMENTS]),
                    };
                    self.unlink(markers, max, graces, guard);
                }
            }
            Self::Unlinking { .. } => self.unlink(markers, max, graces, guard),
            Self::Unlinked { unlinked, grace } => {
                // One at a time, because the system takes long to release a large one.
                // SAFETY: the grace period has passed.
                if graces.has_passed(*grace) && !unsafe { unlinked.free_one() } {
                    markers.end_shrinking();
                    *self = Self::Not;
                }
            }
        }
    }

    fn unlink(&mut self, markers: &Markers, max: usize, graces: &mut Graces, guard: &Guard) {
        let Self::Unlinking {
            size,
            segment,
            offset,
            unlinked,
        } = self
        else {
            return;
        };
        let first = size.ilog2() as usize - FIRST_BUCKETS.ilog2() as usize + 1;
        let mut left = max;
        while *segment >= first {
            let nodes = markers.existing_segment(*segment);
            if !nodes.is_null() {
                let len = Markers::segment_len(*segment);
                while *offset < len {
                    if left == 0 {
                        return;
                    }
                    left -= 1;
                    // SAFETY: the segment has `len` nodes, and is freed only after this.
                    let marker = unsafe { &*nodes.add(*offset) };
                    markers.unlink_marker(marker, *offset, guard);
                    *offset += 1;
                }
                markers.withdraw_segment(*segment);
                unlinked.0[*segment] = nodes;
            }
            *segment -= 1;
            *offset = 0;
        }
        let unlinked = std::mem::replace(unlinked, Segments([ptr::null_mut(); BUCKET_SEGMENTS]));
        let grace = graces.begin(guard);
        *self = Self::Unlinked { unlinked, grace };
    }
}

/// Segments that are out of the directory.
pub(super) struct Segments([*mut Node; BUCKET_SEGMENTS]);

// SAFETY: the segments have one owner, which alone uses them.
unsafe impl Send for Segments {}

impl Segments {
    /// Frees one of the segments. Returns whether there was one.
    ///
    /// # Safety
    ///
    /// A grace period has passed since they were unlinked, or no thread can be looking any more.
    unsafe fn free_one(&mut self) -> bool {
        let there_is = |(_, segment): &(usize, &mut *mut Node)| !segment.is_null();
        let Some((at, segment)) = self.0.iter_mut().enumerate().find(there_is) else {
            return false;
        };
        let segment = std::mem::replace(segment, ptr::null_mut());
        // SAFETY: it was taken out of the directory when it was unlinked, and out of these
        // just now. For the rest see the caller.
        unsafe { free_segment(at, segment) };
        true
    }
}

impl Drop for Segments {
    /// Runs when a registry goes away while its table shrinks.
    fn drop(&mut self) {
        // SAFETY: no thread can be looking any more.
        while unsafe { self.free_one() } {}
    }
}
