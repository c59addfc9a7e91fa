//! Walking the entry table's list: how an entry is found, and how dead nodes are unlinked.
//!
//! This is the list of Harris (2001) and Michael (2002): a node is marked dead in its own
//! link, and then unlinked by the next thread that walks past. Nodes are reached only under
//! an epoch guard and freed only after it is dropped, which also keeps the exchanges free of
//! ABA.

use std::ptr;

use crate::SequenceHash;
use crate::sync::epoch::Guard;

use super::entry::Entry;
use super::node::{Node, NodeLink};

/// Where a search ended. `before` links to `at`, and every node up to `before` is ordered
/// before the key.
pub(super) struct Position<'g> {
    pub(super) before: &'g Node,
    pub(super) at: NodeLink,
    /// The entry searched for, if it is at `at`.
    pub(super) found: Option<&'g Entry>,
}

/// Returns the entry of `hash` that has this order, if there is one behind `start`.
///
/// Only reads, and passes over dead nodes: a node that dies while the walk stands on it still
/// leads to all nodes that were behind it then. An entry that is missed because of that has been
/// linked since the walk began.
#[inline]
pub(super) fn find<'g>(
    start: &'g Node,
    order: u64,
    hash: SequenceHash,
    guard: &'g Guard,
) -> Option<&'g Entry> {
    let mut at = start.next();
    loop {
        // SAFETY: read under `guard` from a node of the table.
        let node = unsafe { at.node(guard) }?;
        at = node.next();
        let reached = node.order();
        if reached < order {
            continue;
        }
        if reached > order {
            return None;
        }
        // SAFETY: only entries have an entry's order, and `order` is one. `node` is the first
        // field of a `repr(C)` entry.
        let entry = unsafe { &*ptr::from_ref(node).cast::<Entry>() };
        if entry.hash() == hash && !at.is_dead() {
            return Some(entry);
        }
    }
}

/// Walks from `start` to the entry of `hash` that has this order. If there is none, walks
/// past the last node of this order. Unlinks the dead nodes on its way.
pub(super) fn seek<'g>(
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
                // SAFETY: only entries have an entry's order, and searches by hash use only
                // such orders. `node` is the first field of a `repr(C)` entry.
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
