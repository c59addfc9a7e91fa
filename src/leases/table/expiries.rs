//! When do leases expire, and how many blocks do those hold that have expired?
//!
//! A treap (Seidel and Aragon, 1996): a search tree by expiry whose nodes are also in heap order
//! of a pseudorandom weight, which keeps it balanced. Each node knows the number of blocks in its
//! subtree, so the blocks of all leases that expire by a time are summed up along one path. Every
//! operation takes O(log leases) expected time; inserting allocates a node.

use super::LeaseId;

/// When a lease expires, and which: no two leases have the same key.
pub(super) type Key = (u64, LeaseId);

/// The leases that expire, earliest first, and how many blocks each of them holds.
#[derive(Default)]
pub(super) struct Expiries {
    root: Link,
}

type Link = Option<Box<Node>>;

struct Node {
    key: Key,
    weight: u64,
    /// The number of blocks of this lease.
    blocks: usize,
    /// The number of blocks of all leases in this subtree.
    total: usize,
    earlier: Link,
    later: Link,
}

impl Node {
    fn new(key: Key, blocks: usize) -> Self {
        Self {
            key,
            weight: weight(key.1),
            blocks,
            total: blocks,
            earlier: None,
            later: None,
        }
    }

    /// Computes the total anew, after a subtree has changed.
    fn add_up(&mut self) {
        self.total = self.blocks + total(&self.earlier) + total(&self.later);
    }
}

impl Expiries {
    /// Adds a lease.
    pub(super) fn insert(&mut self, key: Key, blocks: usize) {
        let (earlier, later) = split(self.root.take(), key);
        let node = Some(Box::new(Node::new(key, blocks)));
        self.root = merge(merge(earlier, node), later);
    }

    /// Removes a lease, if it is there.
    pub(super) fn remove(&mut self, key: Key) {
        let (earlier, rest) = split(self.root.take(), key);
        let (_removed, later) = split(rest, (key.0, LeaseId(key.1.0 + 1)));
        self.root = merge(earlier, later);
    }

    /// Returns the lease that expires first.
    pub(super) fn first(&self) -> Option<Key> {
        let mut node = self.root.as_deref()?;
        while let Some(earlier) = node.earlier.as_deref() {
            node = earlier;
        }
        Some(node.key)
    }

    /// Returns the number of blocks of all leases that have expired by `now`.
    pub(super) fn blocks_until(&self, now: u64) -> usize {
        let mut blocks = 0;
        let mut next = self.root.as_deref();
        while let Some(node) = next {
            if node.key.0 <= now {
                blocks += node.blocks + total(&node.earlier);
                next = node.later.as_deref();
            } else {
                next = node.earlier.as_deref();
            }
        }
        blocks
    }
}

fn total(link: &Link) -> usize {
    link.as_ref().map_or(0, |node| node.total)
}

/// Returns the weight of a lease's node: ids are consecutive, weights are not.
fn weight(id: LeaseId) -> u64 {
    let mixed = (id.0 ^ id.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Joins two trees, all of whose keys are in order.
fn merge(earlier: Link, later: Link) -> Link {
    match (earlier, later) {
        (None, tree) | (tree, None) => tree,
        (Some(mut earlier), Some(mut later)) => {
            if earlier.weight > later.weight {
                earlier.later = merge(earlier.later.take(), Some(later));
                earlier.add_up();
                Some(earlier)
            } else {
                later.earlier = merge(Some(earlier), later.earlier.take());
                later.add_up();
                Some(later)
            }
        }
    }
}

/// Separates what comes before `key` from the rest.
fn split(tree: Link, key: Key) -> (Link, Link) {
    let Some(mut node) = tree else {
        return (None, None);
    };
    if node.key < key {
        let (earlier, later) = split(node.later.take(), key);
        node.later = earlier;
        node.add_up();
        (Some(node), later)
    } else {
        let (earlier, later) = split(node.earlier.take(), key);
        node.earlier = later;
        node.add_up();
        (earlier, Some(node))
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn depth(tree: &Link) -> usize {
        let under = |node: &Node| depth(&node.earlier).max(depth(&node.later));
        tree.as_deref().map_or(0, |node| 1 + under(node))
    }

    #[test]
    fn agrees_with_a_map() {
        let mut state = 3_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005) + 1;
            (state >> 33) % bound
        };
        let mut expiries = Expiries::default();
        let mut model: BTreeMap<Key, usize> = BTreeMap::new();
        for id in 0..5_000 {
            let key = (below(50), LeaseId(id));
            if below(2) == 0 {
                let blocks = below(9) as usize;
                expiries.insert(key, blocks);
                model.insert(key, blocks);
            } else if let Some(&key) = model.keys().nth(below(10) as usize) {
                expiries.remove(key);
                model.remove(&key);
            } else {
                expiries.remove(key);
            }
            assert_eq!(expiries.first(), model.keys().next().copied());
            let now = below(50);
            let due = model.range(..=(now, LeaseId(u64::MAX)));
            let due: usize = due.map(|(_, blocks)| blocks).sum();
            assert_eq!(expiries.blocks_until(now), due);
        }
    }

    /// In the order in which leases usually come: each of them expires later than the one before.
    #[test]
    fn stays_shallow() {
        let mut expiries = Expiries::default();
        for n in 0..100_000 {
            expiries.insert((n, LeaseId(1 << 40 | n)), 1);
        }
        assert!(depth(&expiries.root) < 60, "{}", depth(&expiries.root));
        assert_eq!(expiries.blocks_until(49_999), 50_000);
    }
}
