//! The nodes of the lineage graph, and the index that finds them by key.
//!
//! A node stands for one key: it is where the blocks listed under that key and their
//! children meet. Nodes are stored in one array. The index is a hash table whose chains run
//! through the nodes themselves, so that taking a node into use or giving it back changes a
//! few numbers and allocates nothing. Finding, making and freeing a node are O(1) expected.
//!
//! The keys derive from user input, so the buckets are chosen by a hash with random seeds.
//! The hash is one folded multiplication; a general hasher does more than one word needs.
//! (The upper half of the product alone would do for random keys, but keys that count up
//! could then share few buckets.)
//!
//! Blocks are released and matched in chains, so the node needed next is often one that was
//! used just before. Lookups therefore take guesses, and a guess that has the key saves the
//! walk through the table.

use crate::policy::containers::{NIL, ensure};
use ahash::RandomState;
use std::ops::{Index, IndexMut};

/// The key of a node that is not in use. No block has this key: one with both top bits set ends
/// in a slot number.
const VACANT: u64 = u64::MAX;

/// A place in the graph. Without residents, it is a ghost.
///
/// Aligned to its size, so that no node straddles two cache lines.
#[repr(align(32))]
pub(super) struct LineageNode {
    key: u64,
    /// The next node in the same bucket, or the next vacant node.
    chain: u32,
    /// The resident that was listed first; `NIL` for a ghost. The others follow in the ring
    /// of twins.
    pub(super) resident: u32,
    /// The number of listed blocks and ghosts whose parent is this node.
    pub(super) children: u32,
    /// The parent of a ghost. Residents have a link each, and while there are any, this is
    /// `NIL`.
    pub(super) parent: u32,
    /// The number of residents besides the first.
    pub(super) twins: u32,
}

pub(super) struct Nodes {
    nodes: Vec<LineageNode>,
    /// The first node of each bucket. The number of buckets is a power of two, at least two.
    buckets: Box<[u32]>,
    /// The right shift that turns a 64-bit hash into a bucket number.
    shift: u32,
    /// Random; the second is odd.
    seeds: [u64; 2],
    /// The vacant node to use next.
    vacant: u32,
}

impl Nodes {
    /// Creates an index without nodes, and with room for `capacity` of them.
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity < NIL as usize, "too many nodes: {capacity}");
        let buckets = capacity.next_power_of_two().max(2);
        let random = RandomState::new();
        Self {
            nodes: Vec::with_capacity(capacity),
            buckets: vec![NIL; buckets].into_boxed_slice(),
            shift: u64::BITS - buckets.ilog2(),
            seeds: [random.hash_one(0), random.hash_one(1) | 1],
            vacant: NIL,
        }
    }

    /// Returns the node of `key`, which is made as a childless ghost if there is none. Looks
    /// at `guesses` first; each is the number of some node, vacant or not, or `NIL`.
    #[inline(always)]
    pub(super) fn obtain<const N: usize>(&mut self, key: u64, guesses: [u32; N]) -> u32 {
        for guess in guesses {
            if self.is(guess, key) {
                return guess;
            }
        }
        let bucket = self.bucket(key);
        match self.find_in(bucket, key) {
            Some(node) => node,
            None => self.make(bucket, key),
        }
    }

    /// Returns the node of `key`, if there is one. Looks at `guess` first.
    pub(super) fn find(&self, key: u64, guess: u32) -> Option<u32> {
        if self.is(guess, key) {
            return Some(guess);
        }
        self.find_in(self.bucket(key), key)
    }

    /// Returns whether `node`, the number of some node or `NIL`, has this key.
    #[inline(always)]
    pub(super) fn is(&self, node: u32, key: u64) -> bool {
        let node = self.nodes.get(node as usize);
        node.is_some_and(|node| node.key == key)
    }

    /// Takes `node`, a childless ghost without a parent, out of the index and makes it
    /// vacant.
    #[inline(always)]
    pub(super) fn free(&mut self, node: u32) {
        let freed = &mut self.nodes[node as usize];
        let key = std::mem::replace(&mut freed.key, VACANT);
        let chain = std::mem::replace(&mut freed.chain, self.vacant);
        self.vacant = node;
        let bucket = self.bucket(key);
        let first = &mut self.buckets[bucket];
        if *first == node {
            *first = chain;
            return;
        }
        let mut before = *first;
        while self[before].chain != node {
            before = self[before].chain;
        }
        self[before].chain = chain;
    }

    /// Returns the nodes in use, with their numbers.
    pub(super) fn in_use(&self) -> impl Iterator<Item = (u32, &LineageNode)> {
        (0..)
            .zip(&self.nodes)
            .filter(|(_, node)| node.key != VACANT)
    }

    /// Returns one more than the largest number that a node has had.
    pub(super) fn bound(&self) -> usize {
        self.nodes.len()
    }

    /// Verifies that the index finds every node in use, and that all others are vacant.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut used = 0;
        for (number, node) in self.in_use() {
            used += 1;
            let found = self.find_in(self.bucket(node.key), node.key);
            ensure(found == Some(number), || {
                format!("node {number} is in use, but its key leads to {found:?}")
            })?;
        }
        let mut vacant = 0;
        let mut at = self.vacant;
        while at != NIL && vacant <= self.nodes.len() {
            let node = &self[at];
            ensure(node.key == VACANT, || {
                format!("node {at} is in use and vacant")
            })?;
            let links = [node.resident, node.parent];
            ensure(
                links == [NIL; 2] && [node.children, node.twins] == [0; 2],
                || format!("vacant node {at} is not blank"),
            )?;
            vacant += 1;
            at = self[at].chain;
        }
        ensure(used + vacant == self.nodes.len(), || {
            format!(
                "{used} nodes in use, {vacant} vacant, {} made",
                self.nodes.len()
            )
        })
    }

    #[inline]
    fn bucket(&self, key: u64) -> usize {
        let product = u128::from(key ^ self.seeds[0]) * u128::from(self.seeds[1]);
        ((product as u64 ^ (product >> 64) as u64) >> self.shift) as usize
    }

    #[inline]
    fn find_in(&self, bucket: usize, key: u64) -> Option<u32> {
        let mut at = self.buckets[bucket];
        while at != NIL {
            let node = &self[at];
            if node.key == key {
                return Some(at);
            }
            at = node.chain;
        }
        None
    }

    /// A vacant node is blank except for its chain, so linking it is enough.
    #[inline(always)]
    fn make(&mut self, bucket: usize, key: u64) -> u32 {
        let number = self.vacant;
        let Some(node) = self.nodes.get_mut(number as usize) else {
            return self.push(bucket, key);
        };
        node.key = key;
        self.vacant = std::mem::replace(&mut node.chain, self.buckets[bucket]);
        self.buckets[bucket] = number;
        number
    }

    /// Adds a node behind the others. Grows the array and the table if the room reserved at
    /// the start is used up.
    #[cold]
    fn push(&mut self, bucket: usize, key: u64) -> u32 {
        let number = self.nodes.len();
        assert!(number < NIL as usize, "too many nodes");
        self.nodes.push(LineageNode {
            key,
            chain: std::mem::replace(&mut self.buckets[bucket], number as u32),
            resident: NIL,
            children: 0,
            parent: NIL,
            twins: 0,
        });
        if self.nodes.len() > self.buckets.len() {
            self.grow_table();
        }
        number as u32
    }

    /// Doubles the table. Every node is in use, since a node is added only if none is
    /// vacant.
    fn grow_table(&mut self) {
        self.buckets = vec![NIL; 2 * self.buckets.len()].into_boxed_slice();
        self.shift -= 1;
        for number in 0..self.nodes.len() as u32 {
            let bucket = self.bucket(self[number].key);
            self[number].chain = std::mem::replace(&mut self.buckets[bucket], number);
        }
    }
}

impl Index<u32> for Nodes {
    type Output = LineageNode;

    fn index(&self, node: u32) -> &LineageNode {
        &self.nodes[node as usize]
    }
}

impl IndexMut<u32> for Nodes {
    fn index_mut(&mut self, node: u32) -> &mut LineageNode {
        &mut self.nodes[node as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_it_made() {
        let mut nodes = Nodes::new(8);
        let made: Vec<u32> = (0..8).map(|key| nodes.obtain(key, [])).collect();
        for key in 0..8 {
            assert_eq!(nodes.obtain(key, []), made[key as usize]);
            assert!(nodes.is(made[key as usize], key));
        }
        nodes.check().unwrap();
    }

    #[test]
    fn reuses_freed_nodes() {
        let mut nodes = Nodes::new(8);
        for round in 0..100 {
            let made: Vec<u32> = (0..8)
                .map(|key| nodes.obtain(round * 8 + key, []))
                .collect();
            nodes.check().unwrap();
            for node in made {
                nodes.free(node);
                nodes.check().unwrap();
            }
        }
        assert_eq!(nodes.bound(), 8);
    }

    #[test]
    fn a_guess_is_believed_only_if_it_holds_the_key() {
        let mut nodes = Nodes::new(8);
        let a = nodes.obtain(1, [NIL, 5]);
        let b = nodes.obtain(2, [a]);
        assert_ne!(a, b);
        assert_eq!(nodes.obtain(1, [b, a]), a);
        nodes.free(a);
        let c = nodes.obtain(3, [a]);
        assert!(nodes.is(c, 3));
        assert_ne!(nodes.obtain(1, [a]), c);
        nodes.check().unwrap();
    }

    #[test]
    fn grows_past_the_room_asked_for() {
        let mut nodes = Nodes::new(2);
        let made: Vec<u32> = (0..100).map(|key| nodes.obtain(key, [])).collect();
        nodes.check().unwrap();
        for (key, node) in (0..).zip(made) {
            assert_eq!(nodes.obtain(key, []), node);
        }
    }
}
