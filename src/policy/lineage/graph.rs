//! The graph of listed blocks, which distinguishes leaves from other blocks.
//!
//! Parent and child meet at a [key](super::key), and each key in use has a
//! [node](super::nodes):
//!
//! - A node has *residents*, the blocks listed under its key. Normally there is one. Two
//!   hashes can share a key, and so can two blocks with the same hash; such blocks are
//!   *twins*. It is unknown which of them a child belongs to, so none of them is a leaf
//!   while the key has children. Each twin has its own position in the order and its own
//!   link to its parent.
//! - A node without residents is a *ghost*. It stands in for a parent that is not listed
//!   while its children are. It keeps the last resident's link to its parent, so that the
//!   ancestors further up are not leaves. A ghost that was made because a child arrived
//!   first does not know its parent; it is linked when a resident arrives. A ghost without
//!   children is freed, and so on up the chain.
//!
//! The children of a node are never needed one by one, so a node *counts* them. With a list of
//! children, taking a block out would be linear in the number of its siblings, of which a shared
//! system prompt has many.
//!
//! # What does it cost?
//!
//! Listing a block is O(1) expected. Taking it out is O(1) plus one step for each ghost that
//! is freed with it, and each ghost is freed once. (Twins that share a parent add a step each
//! when that parent stops being a leaf or becomes one.) The slot leads to its node without a
//! lookup. Listing needs the nodes of two keys: if blocks arrive in chain order, one of them
//! is known; if the block left a ghost when it was taken out, both are.
//!
//! # How much memory does it need?
//!
//! There is room for two nodes per block of the store. A ghost either waits for its block,
//! which is in use and still occupies its slot, or was made by a child that arrived first; a
//! block makes at most one of the latter. So residents and ghosts of the first kind are at
//! most one per slot, and ghosts of the second kind at most one for each of them.
//!
//! Only blocks that are *reset* while their children are listed break this argument, because
//! they leave a ghost and free the slot. Dropping such ghosts would lose the fact that the
//! ancestors above have descendants, so the nodes grow instead.

use super::key::Keys;
use super::leaves::Leaves;
use super::nodes::{LineageNode, Nodes};
use super::residents::{Resident, Residents};
use super::retained::RetainedLeaves;
use crate::SequenceHash;
use crate::policy::containers::NIL;
use crate::policy::containers::bands::Bands;
use crate::policy::slot_policy::{First, PlainPolicy, PrioritizedPolicy, SlotPolicy};
use crate::retention::Priority;

/// Evicts only blocks none of whose children are listed, in the order `L`.
pub(crate) struct Lineage<L> {
    pub(super) residents: Residents,
    pub(super) nodes: Nodes,
    pub(super) leaves: L,
    /// The nodes of the block listed last and of its parent: when a chain is released from
    /// either end, one of them is needed next.
    recent: u32,
    recent_parent: u32,
}

impl<L: Leaves> Lineage<L> {
    pub(crate) fn new(block_count: usize) -> Self {
        Self::with_leaves(block_count, L::new(block_count))
    }

    pub(crate) fn with_leaves(block_count: usize, leaves: L) -> Self {
        Self {
            residents: Residents::new(block_count),
            nodes: Nodes::new(2 * block_count),
            leaves,
            recent: NIL,
            recent_parent: NIL,
        }
    }

    /// Returns the node of `parent`, with one more child.
    ///
    /// `inherited` is the link of the ghost whose key the child takes over. It almost always
    /// leads to the same parent, where the child is then already counted. It leads elsewhere
    /// if the ghost was left by a twin.
    #[inline(always)]
    fn link_parent(&mut self, parent: Option<u64>, inherited: u32) -> u32 {
        let Some(key) = parent else {
            // All residents of a key have the same position.
            debug_assert_eq!(inherited, NIL);
            return NIL;
        };
        if inherited != NIL && self.nodes.is(inherited, key) {
            return inherited;
        }
        let node = self.nodes.obtain(key, [self.recent]);
        self.attach(node);
        self.detach(inherited);
        node
    }

    /// Counts one more child at `node`, whose residents are then not leaves.
    #[inline(always)]
    fn attach(&mut self, node: u32) {
        let at = &mut self.nodes[node];
        let children = at.children;
        at.children = children + 1;
        if children == 0 {
            self.tell_residents(node, L::demote);
        }
    }

    /// Counts one child fewer at `node`, which may be `NIL`. If it was the last child, the
    /// residents become leaves again; a ghost is freed, and counts as one child fewer at its
    /// own parent.
    #[inline(always)]
    fn detach(&mut self, node: u32) {
        if node == NIL {
            return;
        }
        let at = &mut self.nodes[node];
        at.children -= 1;
        if at.children == 0 && !self.tell_residents(node, L::add) {
            self.free_ghosts(node);
        }
    }

    /// Frees the childless ghost `node`, and each ghost above it that becomes childless.
    #[inline(never)]
    fn free_ghosts(&mut self, mut node: u32) {
        loop {
            let parent = std::mem::replace(&mut self.nodes[node].parent, NIL);
            self.nodes.free(node);
            if parent == NIL {
                return;
            }
            let at = &mut self.nodes[parent];
            at.children -= 1;
            if at.children > 0 || self.tell_residents(parent, L::add) {
                return;
            }
            node = parent;
        }
    }

    /// Tells the order about each resident of `node`, in order of listing. Returns whether
    /// there are any.
    #[inline(always)]
    fn tell_residents(&mut self, node: u32, tell: fn(&mut L, u32)) -> bool {
        let LineageNode {
            resident, twins, ..
        } = self.nodes[node];
        if resident == NIL {
            return false;
        }
        tell(&mut self.leaves, resident);
        if twins > 0 {
            self.tell_twins(resident, tell);
        }
        true
    }

    #[cold]
    fn tell_twins(&mut self, first: u32, tell: fn(&mut L, u32)) {
        let mut slot = self.residents.get(first).next;
        while slot != first {
            tell(&mut self.leaves, slot);
            slot = self.residents.get(slot).next;
        }
    }

    /// Takes the listed `slot` out of the graph and out of the order.
    #[inline(always)]
    fn take_out(&mut self, slot: u32) {
        // The order must hear that a leaf is gone before it hears about its parent, which is
        // then the newest leaf.
        self.leaves.unlist(slot);
        let Resident {
            node: number,
            parent,
            next,
            ..
        } = self.residents.get(slot);
        if next != slot {
            self.leave_twins(slot);
            return self.detach(parent);
        }
        self.residents.set_next(slot, NIL);
        let node = &mut self.nodes[number];
        node.resident = NIL;
        if node.children > 0 {
            // The ghost takes the block's place as a child of its parent.
            node.parent = parent;
        } else {
            self.nodes.free(number);
            self.detach(parent);
        }
    }

    /// Puts `slot` at the end of the ring that starts at `first`.
    #[cold]
    fn join_twins(&mut self, slot: u32, first: u32) {
        let last = self.residents.replace_prev(first, slot);
        self.residents.set_next(last, slot);
        self.residents.replace_prev(slot, last);
        self.residents.set_next(slot, first);
        let node = self.residents.get(slot).node;
        self.nodes[node].twins += 1;
    }

    /// Takes `slot` out of its ring, in which there are others.
    #[cold]
    fn leave_twins(&mut self, slot: u32) {
        let left = self.residents.get(slot);
        self.residents.set_next(slot, NIL);
        self.residents.set_next(left.prev, left.next);
        self.residents.replace_prev(left.next, left.prev);
        let node = &mut self.nodes[left.node];
        node.twins -= 1;
        if node.resident == slot {
            node.resident = left.next;
        }
    }
}

impl<L: Leaves> SlotPolicy for Lineage<L> {
    fn insert(&mut self, slot: u32, hash: SequenceHash, _level: u8) {
        let before = self.residents.get(slot);
        if before.next != NIL {
            self.remove(slot);
        }
        let keys = Keys::of(hash, slot);
        let guesses = [before.node, self.recent_parent];
        let node = self.nodes.obtain(keys.own, guesses);
        let at = &mut self.nodes[node];
        let first = at.resident;
        let inherited = std::mem::replace(&mut at.parent, NIL);
        if first == NIL {
            at.resident = slot;
        }
        let leaf = at.children == 0;
        // The order must hear that the parent is no longer a leaf before it hears about the
        // new leaf: in a chain that is released from its root, the parent was the newest
        // leaf until now.
        let parent = self.link_parent(keys.parent(), inherited);
        self.leaves.list(slot, hash, leaf);

        let resident = Resident {
            node,
            parent,
            next: slot,
            prev: slot,
        };
        self.residents.set(slot, resident);
        if first != NIL {
            self.join_twins(slot, first);
        }
        self.recent = node;
        self.recent_parent = parent;
    }

    fn remove(&mut self, slot: u32) {
        if self.contains(slot) {
            self.take_out(slot);
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<u32> {
        let slot = self.leaves.first()?;
        self.take_out(slot);
        self.leaves.evicted(slot);
        Some(slot)
    }

    #[inline]
    fn first(&mut self) -> Option<First> {
        let slot = self.leaves.first()?;
        Some(First::of(slot, self.leaves.priority(slot), 0))
    }

    fn contains(&self, slot: u32) -> bool {
        self.residents.is_listed(slot)
    }

    fn len(&self) -> usize {
        self.residents.listed()
    }

    /// True if it does not matter when a block became a leaf. The ghosts that exist after
    /// some blocks have been taken out, and their links, are the same for any order of
    /// taking out. (Twins may be an exception, which does no harm.)
    fn resurrections_commute(&self) -> bool {
        L::COMMUTES
    }

    /// A block without a ghost takes everything with it that it made. A block whose ghost is
    /// linked takes over the link and gives it back. But a block whose ghost was made by a
    /// child would leave the ghost with a link it did not have before.
    fn leaves_no_trace(&self, slot: u32, hash: SequenceHash) -> bool {
        let resident = self.residents.has(slot).then(|| self.residents.get(slot));
        if !L::IS_TRACELESS || resident.is_some_and(|resident| resident.next != NIL) {
            return false;
        }
        let keys = Keys::of(hash, slot);
        let guess = resident.map_or(NIL, |resident| resident.node);
        let Some(node) = self.nodes.find(keys.own, guess) else {
            return true;
        };
        let node = &self.nodes[node];
        let links_alike = || {
            keys.parent()
                .is_none_or(|key| self.nodes.is(node.parent, key))
        };
        node.resident == NIL && links_alike()
    }

    fn check(&self) -> Result<(), String> {
        self.check_graph()
    }
}

impl<L: Leaves> PlainPolicy for Lineage<L> {
    fn with_priorities(self: Box<Self>, bands: Bands) -> Box<dyn PrioritizedPolicy> {
        let Self {
            residents,
            nodes,
            leaves,
            recent,
            recent_parent,
        } = *self;
        Box::new(Lineage {
            residents,
            nodes,
            leaves: RetainedLeaves::of(leaves, bands),
            recent,
            recent_parent,
        })
    }
}

impl<L: Leaves> PrioritizedPolicy for Lineage<RetainedLeaves<L>> {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        if self.contains(slot) {
            self.leaves.set_priority(slot, priority);
        }
    }

    fn first_of_low(&self) -> Option<u32> {
        self.leaves.first_of_low()
    }
}
