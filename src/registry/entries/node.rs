//! The nodes of the entry table's list: entries and bucket markers.
//!
//! A node is marked dead in its own link, and from then on nothing is linked behind it. A
//! node's split-order key says where it stands in the list, and what it is: only entries
//! have an entry's key, which makes the cast from a node to its entry sound.

use std::ptr;

use crate::sync::canary::Canary;
use crate::sync::epoch::Guard;
use crate::sync::zeroed::Zeroable;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// A node: the part that bucket markers and entries have in common.
#[repr(C)]
pub(super) struct Node {
    /// The next node; see [`NodeLink`].
    pub(super) next: AtomicPtr<Node>,
    /// The split-order key, or zero for a marker that no thread has claimed yet.
    pub(super) order: AtomicU64,
    canary: Canary,
}

// SAFETY: an atomic has the representation of its value. A null pointer and the order zero are those
// of a marker that no thread has claimed yet. A canary has no bytes. (In a model these have other
// representations, but then `zeroed::array` does not rely on them.)
unsafe impl Zeroable for Node {
    #[cfg(any(kvbm_loom, kvbm_shuttle))]
    fn zero() -> Self {
        Self {
            next: AtomicPtr::new(ptr::null_mut()),
            order: AtomicU64::new(0),
            canary: Canary::new(),
        }
    }
}

// The low bits of a split-order key. An entry's are greater than those of its bucket's
// marker, whether that is only claimed or linked.
pub(super) const ENTRY: u64 = 0b111;
const MARKER: u64 = 0b100;
/// Set in a marker's key once it is linked.
pub(super) const LINKED: u64 = 0b001;

impl Node {
    /// Creates an entry's node. It must be linked before any thread can reach it.
    pub(super) fn entry(key: u64) -> Self {
        Self {
            next: AtomicPtr::new(ptr::null_mut()),
            order: AtomicU64::new(entry_order(key)),
            canary: Canary::new(),
        }
    }

    /// Makes the node of a spare entry one for this keyed hash. It must be linked before any thread
    /// can reach it.
    pub(super) fn renew(&self, key: u64) {
        self.canary.revive();
        // Relaxed: the link that leads to the entry publishes it.
        self.order.store(entry_order(key), Ordering::Relaxed);
    }

    /// Returns the node's canary; see [`canary`](crate::sync::canary).
    #[inline(always)]
    pub(super) fn canary(&self) -> &Canary {
        &self.canary
    }

    /// Returns the split-order key.
    #[inline]
    pub(super) fn order(&self) -> u64 {
        self.canary.check();
        // Acquire: pairs with the release that announces a marker as linked.
        self.order.load(Ordering::Acquire)
    }

    /// Returns the link to the next node.
    #[inline]
    pub(super) fn next(&self) -> NodeLink {
        self.canary.check();
        // Acquire: pairs with the release in `exchange_next`.
        NodeLink(self.next.load(Ordering::Acquire))
    }

    /// Replaces the link to the next node if it is still `seen`.
    #[inline]
    pub(super) fn exchange_next(&self, seen: NodeLink, new: NodeLink) -> bool {
        self.canary.check();
        // Release: a link publishes the node it leads to. Acquire: a link that is moved past
        // a dead node passes on what that node's link had acquired.
        self.next
            .compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Marks the node dead. Does nothing if it already is.
    pub(super) fn kill(&self) {
        loop {
            let next = self.next();
            if next.is_dead() || self.exchange_next(next, next.dead()) {
                return;
            }
        }
    }
}

/// Returns the order of entries with this keyed hash.
#[inline]
pub(super) fn entry_order(key: u64) -> u64 {
    key.reverse_bits() | ENTRY
}

/// Returns the order of a bucket's marker before it is linked.
pub(super) fn marker_order(bucket: usize) -> u64 {
    (bucket as u64).reverse_bits() | MARKER
}

/// A link: the next node and, in the lowest bit, whether the node that owns the link is
/// dead.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeLink(pub(super) *mut Node);

impl NodeLink {
    /// Creates the link of a live node to another.
    #[inline]
    pub(super) fn to(node: &Node) -> Self {
        Self(ptr::from_ref(node).cast_mut())
    }

    #[inline]
    pub(super) fn is_dead(self) -> bool {
        self.0.addr() & 1 != 0
    }

    #[inline]
    pub(super) fn dead(self) -> Self {
        Self(self.0.map_addr(|addr| addr | 1))
    }

    #[inline]
    pub(super) fn alive(self) -> Self {
        Self(self.0.map_addr(|addr| addr & !1))
    }

    /// Returns the node the link leads to.
    ///
    /// # Safety
    ///
    /// The link was read under `_guard` from a node of the table.
    #[inline]
    pub(super) unsafe fn node(self, _guard: &Guard) -> Option<&Node> {
        // SAFETY: a node reached under a guard is not freed before the guard is dropped: it
        // was linked when the guard already existed, and is freed by a deferral made after
        // it was unlinked.
        unsafe { self.alive().0.as_ref() }
    }
}
