//! Shrinking the entry table, step by step.
//!
//! The table shrinks when it holds fewer than an eighth as many entries as it has buckets.
//! The smaller size is published first; a grace period later nobody starts at the upper
//! markers any more, and they are unlinked; another one later nobody stands on them, and
//! their segments are freed. Until then the table keeps its size. It is correct at any size.

use std::ptr;

use crate::sync::epoch::Guard;

use super::grace::{Grace, Graces};
use crate::sync::limits::{BUCKET_SEGMENTS, FIRST_BUCKETS};

use super::markers::{Markers, free_segment};
use super::node::Node;

/// How far a table is with its shrinking. Advanced by whoever holds the registry's upkeep.
pub(super) enum Shrinking {
    Not,
    /// The smaller size is published; there may be threads that started at the upper markers.
    Published {
        size: usize,
        grace: Grace,
    },
    /// The markers of the segments are unlinked, the upper ones first: their parents, where
    /// each search starts, are then still linked, and near. `offset` markers of the segment
    /// are done.
    Unlinking {
        size: usize,
        segment: usize,
        offset: usize,
        unlinked: Segments,
    },
    /// The segments are out of the directory; there may be threads that stand on a marker.
    Unlinked {
        unlinked: Segments,
        grace: Grace,
    },
}

impl Shrinking {
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self, Self::Not)
    }

    /// Takes the next step, which looks at up to `max` markers. Begins if `len` entries are
    /// too few for the table.
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
                // One at a time: to give a large one back takes the system its time.
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

/// Segments out of the directory.
pub(super) struct Segments([*mut Node; BUCKET_SEGMENTS]);

// SAFETY: whoever has the segments owns them alone.
unsafe impl Send for Segments {}

impl Segments {
    /// Frees one of them. Returns whether there was one.
    ///
    /// # Safety
    ///
    /// A grace period has passed since they were unlinked, or nobody is left who could be
    /// looking.
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
    /// For a registry that ends while its table shrinks.
    fn drop(&mut self) {
        // SAFETY: nobody is left who could be looking.
        while unsafe { self.free_one() } {}
    }
}
