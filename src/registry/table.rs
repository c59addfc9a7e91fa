//! The registry's hash table: a split-ordered list under epochs.
//!
//! All entries stand in one linked list, sorted by their *split order*: the bits
//! of the keyed hash reversed (Shalev and Shavit, "Split-Ordered Lists:
//! Lock-Free Extensible Hash Tables", J. ACM 53(3), 2006). A bucket is a marker
//! node in that list, placed where its entries begin, and doubling the number of
//! buckets only adds markers between entries that stay where they are. So the
//! table grows without moving anything and without stopping a reader, and it
//! shrinks by taking markers out again.
//!
//! The list itself is Harris's and Michael's: a node is marked dead in its own
//! link, then unlinked by whoever comes by. Nodes are reached only under an
//! epoch guard and freed only after it, which is also what makes the exchanges
//! free of ABA.
//!
//! # Buckets
//!
//! Markers are stored in segments, the first of 64 and each further one as
//! large as all before it. A segment is allocated when the table grows into it;
//! a marker is linked when its bucket is first used, and until it is, the bucket
//! it was split from serves instead. Nobody waits for a thread that is linking
//! a marker.
//!
//! The table doubles when it holds more entries than buckets and shrinks when it
//! holds fewer than an eighth. Shrinking publishes the smaller size, lets a
//! grace period pass, so that nobody starts at the upper markers any more, unlinks
//! them, lets another pass, and frees their segments. Meanwhile the table does not
//! change its size again; it stays correct at any size. That is done in small steps, with
//! the registry's [upkeep](super::upkeep).

use std::ptr;

use crate::SequenceHash;
use crate::key::Key;
use crate::sync::canary::{self, Canary};
use crate::sync::epoch::Guard;
use crate::sync::step;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

use super::entry::Entry;
use super::grace::{Grace, Graces};

/// Set in a table's size while it is shrinking, during which it keeps its size.
const SHRINKING: u64 = 1;

/// A model's table is small enough to grow and shrink in a few steps.
const IS_MODEL: bool = cfg!(any(kvbm_loom, kvbm_shuttle));
/// Buckets of the first segment, and the fewest a table has. At least two: the
/// lowest bit of the size is [`SHRINKING`].
const FIRST: usize = if IS_MODEL { 2 } else { 64 };
/// Segments of a full directory: up to 2^32 buckets.
const SEGMENTS: usize = if IS_MODEL { 3 } else { 27 };
/// The table shrinks when it has more buckets than this for every entry.
const SPARSE: u64 = if IS_MODEL { 2 } else { 8 };

/// By how much the table shrinks at once, at most.
const SHRINK_BY: u64 = 4;

/// What bucket markers and entries have in common.
#[repr(C)]
pub(super) struct Node {
    /// The next node; see [`Link`].
    next: AtomicPtr<Node>,
    /// The split-order key. Zero: a marker that nobody has claimed yet.
    order: AtomicU64,
    canary: Canary,
}

// Low bits of a split-order key. An entry's are above those of its bucket's
// marker, claimed or linked.
const ENTRY: u64 = 0b111;
const MARKER: u64 = 0b100;
/// Set in a marker's key once it is linked.
const LINKED: u64 = 0b001;

impl Node {
    pub(super) fn entry(key: u64) -> Self {
        Self {
            next: AtomicPtr::new(ptr::null_mut()),
            order: AtomicU64::new(entry_order(key)),
            canary: Canary::new(),
        }
    }

    fn marker() -> Self {
        Self {
            next: AtomicPtr::new(ptr::null_mut()),
            order: AtomicU64::new(0),
            canary: Canary::new(),
        }
    }

    /// The node's canary; see [`canary`].
    #[inline(always)]
    pub(super) fn canary(&self) -> &Canary {
        &self.canary
    }

    fn order(&self) -> u64 {
        self.canary.check();
        // Acquire: pairs with the release that announces a marker as linked.
        self.order.load(Ordering::Acquire)
    }

    fn next(&self) -> Link {
        self.canary.check();
        // Acquire: pairs with the release in `exchange_next`.
        Link(self.next.load(Ordering::Acquire))
    }

    fn exchange_next(&self, seen: Link, new: Link) -> bool {
        self.canary.check();
        // Release: a link publishes the node it leads to. Acquire: a link moved
        // past a dead node passes on what that node's link had acquired.
        self.next
            .compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Marks the node dead; does nothing if it is.
    fn kill(&self) {
        loop {
            let next = self.next();
            if next.is_dead() || self.exchange_next(next, next.dead()) {
                return;
            }
        }
    }
}

fn entry_order(key: u64) -> u64 {
    key.reverse_bits() | ENTRY
}

fn marker_order(bucket: usize) -> u64 {
    (bucket as u64).reverse_bits() | MARKER
}

/// A link: the next node, and in the lowest bit whether the node that holds the
/// link is dead.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Link(*mut Node);

impl Link {
    fn to(node: &Node) -> Self {
        Self(ptr::from_ref(node).cast_mut())
    }

    fn is_dead(self) -> bool {
        self.0.addr() & 1 != 0
    }

    fn dead(self) -> Self {
        Self(self.0.map_addr(|addr| addr | 1))
    }

    fn alive(self) -> Self {
        Self(self.0.map_addr(|addr| addr & !1))
    }

    /// The node the link leads to.
    ///
    /// # Safety
    ///
    /// The link was read under `_guard` from a node of the table.
    unsafe fn node(self, _guard: &Guard) -> Option<&Node> {
        // SAFETY: a node reached under a guard is not freed before the guard is
        // dropped: it was linked when the guard was already there, and is freed
        // through a deferral made after it was unlinked.
        unsafe { self.alive().0.as_ref() }
    }
}

/// Where a search ended: `before` links to `at`, and every node up to `before`
/// is ordered before the key.
struct Position<'g> {
    before: &'g Node,
    at: Link,
    /// The entry searched for, if it is at `at`.
    found: Option<&'g Entry>,
}

/// See the module documentation.
pub(super) struct Table {
    segments: [AtomicPtr<Node>; SEGMENTS],
    /// Buckets in use, a power of two, and [`SHRINKING`].
    size: AtomicU64,
}

impl Table {
    pub(super) fn new() -> Self {
        let table = Self {
            segments: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            size: AtomicU64::new(FIRST as u64),
        };
        table
            .marker(0)
            .order
            .store(marker_order(0) | LINKED, Ordering::Release);
        table
    }

    /// The entry of a hash.
    pub(super) fn find<'g>(&'g self, key: Key, guard: &'g Guard) -> Option<&'g Entry> {
        let start = self.start(key.keyed, guard);
        self.seek(start, entry_order(key.keyed), Some(key.hash), guard)
            .found
    }

    /// The entry of a hash with a new handle, made if there is none. Returns
    /// whether it was made.
    pub(super) fn find_or_insert<'g>(&'g self, key: Key, guard: &'g Guard) -> (&'g Entry, bool) {
        let start = self.start(key.keyed, guard);
        let mut made: Option<Box<Entry>> = None;
        loop {
            let position = self.seek(start, entry_order(key.keyed), Some(key.hash), guard);
            if let Some(entry) = position.found {
                if entry.try_acquire() {
                    return (entry, false);
                }
                // Dead, and whoever killed it may sleep: finish the removal.
                entry.node.kill();
                continue;
            }
            let new = Box::into_raw(made.take().unwrap_or_else(|| Box::new(Entry::new(key))));
            // Entries are freed by their address, which is all that is left of
            // the pointer where it has been a reference.
            new.expose_provenance();
            // SAFETY: the box's, and the caller's alone until it is linked.
            let entry: &'g Entry = unsafe { &*new };
            entry.node.next.store(position.at.0, Ordering::Relaxed);
            if position.before.exchange_next(position.at, Link(new.cast())) {
                return (entry, true);
            }
            // SAFETY: it was not linked, so the box is still the caller's alone.
            made = Some(unsafe { Box::from_raw(new) });
        }
    }

    /// Calls `visit` with every entry.
    pub(super) fn for_each<'g>(&'g self, guard: &'g Guard, mut visit: impl FnMut(&'g Entry)) {
        let mut at = self.marker(0).next();
        // SAFETY: read under `guard` from a node of the table.
        while let Some(node) = unsafe { at.node(guard) } {
            at = node.next();
            if node.order() & ENTRY == ENTRY && !at.is_dead() {
                // SAFETY: only entries have an entry's order; see `seek`.
                visit(unsafe { &*ptr::from_ref(node).cast::<Entry>() });
            }
        }
    }

    /// Unlinks a dead entry. When this returns, nobody who is not already under a guard can reach it.
    pub(super) fn remove(&self, entry: &Entry, guard: &Guard) {
        entry.node.kill();
        let order = entry.node.order();
        let start = self.start(order.reverse_bits(), guard);
        // Passes every entry of this order, and unlinks the dead among them.
        self.seek(start, order, None, guard);
    }

    /// How many buckets are in use.
    #[cfg(all(test, not(any(fuzzing, kvbm_loom, kvbm_shuttle))))]
    pub(super) fn buckets(&self) -> usize {
        (self.size.load(Ordering::Relaxed) & !SHRINKING) as usize
    }

    /// Doubles the number of buckets if `len` entries are too many for it.
    pub(super) fn grow_for(&self, len: u64) {
        let size = self.size.load(Ordering::Relaxed);
        if len <= size || size & SHRINKING != 0 {
            return;
        }
        let last = (size * 2).ilog2() as usize - FIRST.ilog2() as usize;
        if last < SEGMENTS {
            self.segment(last);
            // Release: pairs with the acquire in `start`. An exchange, since
            // another thread may have been first.
            let _ =
                self.size
                    .compare_exchange(size, size * 2, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// Whether `len` entries are so few that the table should shrink.
    pub(super) fn is_too_large_for(&self, len: u64) -> bool {
        let size = self.size.load(Ordering::Relaxed);
        size & SHRINKING == 0 && size > FIRST as u64 && len < size / SPARSE
    }

    /// Publishes the size for `len` entries. Returns it, if it is smaller than before.
    fn publish_smaller(&self, len: u64) -> Option<usize> {
        let before = self.size.load(Ordering::Acquire);
        // Not by much at once: until the upper markers are unlinked, whoever starts at a lower
        // one walks past them.
        let after = (len.max(1) * 2)
            .next_power_of_two()
            .max(before / SHRINK_BY)
            .max(FIRST as u64);
        if before & SHRINKING != 0 || after >= before {
            return None;
        }
        // The flag is part of the word: a thread that was about to double the
        // size, however long ago it looked, fails until the markers are gone.
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

    /// Unlinks a marker. After a grace period in which nobody started at it.
    fn unlink_marker(&self, marker: &Node, parent: usize, guard: &Guard) {
        let order = marker.order();
        if order & LINKED != 0 {
            marker.kill();
            self.seek(self.nearest_linked(parent), order, None, guard);
        }
    }

    /// The marker of a bucket, or the nearest linked one before it.
    fn nearest_linked(&self, mut bucket: usize) -> &Node {
        loop {
            let marker = self.marker(bucket);
            if marker.order() & LINKED != 0 {
                return marker;
            }
            bucket &= !(1 << bucket.ilog2());
        }
    }

    /// How many buckets a segment has.
    fn segment_len(at: usize) -> usize {
        if at == 0 { FIRST } else { FIRST << (at - 1) }
    }

    /// A segment, allocated if need be.
    fn segment(&self, at: usize) -> *mut Node {
        let segment = self.segments[at].load(Ordering::Acquire);
        if !segment.is_null() {
            return segment;
        }
        let new: Box<[Node]> = (0..Self::segment_len(at)).map(|_| Node::marker()).collect();
        let new = Box::into_raw(new);
        match self.segments[at].compare_exchange(
            ptr::null_mut(),
            new.cast(),
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => new.cast(),
            Err(existing) => {
                // SAFETY: `new` came from `Box::into_raw` above and was not
                // published.
                drop(unsafe { Box::from_raw(new) });
                existing
            }
        }
    }

    fn marker(&self, bucket: usize) -> &Node {
        let (at, offset) = if bucket < FIRST {
            (0, bucket)
        } else {
            let log = bucket.ilog2();
            ((log - FIRST.ilog2()) as usize + 1, bucket - (1 << log))
        };
        debug_assert!(offset < Self::segment_len(at));
        // SAFETY: the segment has more than `offset` nodes. It is freed only
        // after the size has been below `bucket` for two grace periods, and the
        // caller read a size above `bucket` under its guard.
        unsafe { &*self.segment(at).add(offset) }
    }

    /// The linked marker to start from for a key.
    fn start<'g>(&'g self, key: u64, guard: &'g Guard) -> &'g Node {
        // Acquire: pairs with the releases of the size, made when the segment
        // was there.
        let size = self.size.load(Ordering::Acquire) & !SHRINKING;
        self.linked_marker((key & (size - 1)) as usize, guard)
    }

    /// The marker of a bucket, linked now if it was not, or the nearest linked
    /// one before it while another thread is at it.
    fn linked_marker<'g>(&'g self, bucket: usize, guard: &'g Guard) -> &'g Node {
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
            let position = self.seek(parent, order, None, guard);
            marker.next.store(position.at.0, Ordering::Relaxed);
            if position.before.exchange_next(position.at, Link::to(marker)) {
                step!(MarkerLinked);
                // Release: whoever starts here finds it linked.
                marker.order.store(order | LINKED, Ordering::Release);
                return marker;
            }
        }
    }

    /// Walks from `start` to the entry of `hash` with this order or, if there is
    /// none, past the last node of this order. Unlinks the dead nodes it meets.
    fn seek<'g>(
        &self,
        start: &'g Node,
        order: u64,
        hash: Option<SequenceHash>,
        guard: &'g Guard,
    ) -> Position<'g> {
        'again: loop {
            let mut before = start;
            let mut at = before.next().alive();
            loop {
                // SAFETY: read under `guard` from a node of the table.
                let Some(node) = (unsafe { at.node(guard) }) else {
                    return Position {
                        before,
                        at,
                        found: None,
                    };
                };
                let next = node.next();
                if next.is_dead() {
                    if !before.exchange_next(at, next.alive()) {
                        continue 'again;
                    }
                    at = next.alive();
                    continue;
                }
                let reached = node.order();
                if reached > order {
                    return Position {
                        before,
                        at,
                        found: None,
                    };
                }
                if reached == order && hash.is_some() {
                    // SAFETY: only entries have an entry's order, and only
                    // entries are searched for by hash; `node` is the first
                    // field of a `repr(C)` entry.
                    let entry = unsafe { &*ptr::from_ref(node).cast::<Entry>() };
                    if Some(entry.hash()) == hash {
                        return Position {
                            before,
                            at,
                            found: Some(entry),
                        };
                    }
                }
                before = node;
                at = next;
            }
        }
    }
}

/// How far a table is with its shrinking: see "Buckets". Taken further by whoever has the
/// registry's upkeep in hand.
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

    /// Goes on, looking at up to `max` markers. Begins if `len` entries are too few for the
    /// table.
    pub(super) fn step(
        &mut self,
        table: &Table,
        len: u64,
        max: usize,
        graces: &mut Graces,
        guard: &Guard,
    ) {
        match self {
            Self::Not => {
                if table.is_too_large_for(len)
                    && let Some(size) = table.publish_smaller(len)
                {
                    let grace = graces.begin(guard);
                    *self = Self::Published { size, grace };
                }
            }
            &mut Self::Published { size, grace } => {
                if graces.has_passed(grace) {
                    *self = Self::Unlinking {
                        size,
                        segment: SEGMENTS - 1,
                        offset: 0,
                        unlinked: Segments([ptr::null_mut(); SEGMENTS]),
                    };
                    self.unlink(table, max, graces, guard);
                }
            }
            Self::Unlinking { .. } => self.unlink(table, max, graces, guard),
            Self::Unlinked { unlinked, grace } => {
                // One at a time: to give a large one back takes the system its time.
                if graces.has_passed(*grace) && !unlinked.free_one() {
                    table.size.fetch_and(!SHRINKING, Ordering::Release);
                    *self = Self::Not;
                }
            }
        }
    }

    fn unlink(&mut self, table: &Table, max: usize, graces: &mut Graces, guard: &Guard) {
        let Self::Unlinking {
            size,
            segment,
            offset,
            unlinked,
        } = self
        else {
            return;
        };
        let first = size.ilog2() as usize - FIRST.ilog2() as usize + 1;
        let mut left = max;
        while *segment >= first {
            let nodes = table.segments[*segment].load(Ordering::Acquire);
            if !nodes.is_null() {
                let len = Table::segment_len(*segment);
                while *offset < len {
                    if left == 0 {
                        return;
                    }
                    left -= 1;
                    // SAFETY: the segment has `len` nodes, and is freed only after this.
                    let marker = unsafe { &*nodes.add(*offset) };
                    table.unlink_marker(marker, *offset, guard);
                    *offset += 1;
                }
                table.segments[*segment].store(ptr::null_mut(), Ordering::Release);
                unlinked.0[*segment] = nodes;
            }
            *segment -= 1;
            *offset = 0;
        }
        let unlinked = std::mem::replace(unlinked, Segments([ptr::null_mut(); SEGMENTS]));
        let grace = graces.begin(guard);
        *self = Self::Unlinked { unlinked, grace };
    }
}

/// Segments out of the directory.
pub(super) struct Segments([*mut Node; SEGMENTS]);

// SAFETY: whoever has the segments owns them alone.
unsafe impl Send for Segments {}

impl Segments {
    /// Frees one of them. After a grace period, or with nobody left who could be looking.
    /// Returns whether there was one.
    fn free_one(&mut self) -> bool {
        let there_is = |(_, segment): &(usize, &mut *mut Node)| !segment.is_null();
        let Some((at, segment)) = self.0.iter_mut().enumerate().find(there_is) else {
            return false;
        };
        free_segment(at, std::mem::replace(segment, ptr::null_mut()));
        true
    }
}

impl Drop for Segments {
    /// Where the registry goes while its table shrinks.
    fn drop(&mut self) {
        while self.free_one() {}
    }
}

fn free_segment(at: usize, segment: *mut Node) {
    let nodes = ptr::slice_from_raw_parts_mut(segment, Table::segment_len(at));
    // SAFETY: `segment` came from `Box::into_raw` of a slice of this length in
    // `Table::segment`, and was taken out of the directory by the only caller.
    let nodes = unsafe { Box::from_raw(nodes) };
    nodes.iter().for_each(|node| node.canary.kill());
    canary::free(nodes);
}

impl Drop for Table {
    fn drop(&mut self) {
        for (at, segment) in self.segments.iter().enumerate() {
            let segment = segment.load(Ordering::Relaxed);
            if !segment.is_null() {
                free_segment(at, segment);
            }
        }
    }
}
