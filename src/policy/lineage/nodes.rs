//! The nodes of the lineage graph, and the index that finds them by key.
//!
//! A node stands for one key: it is where the blocks listed under that key and their
//! children meet. Nodes are stored in one array. The index is a hash table whose chains run
//! through the nodes themselves, so that taking a node into use or giving it back changes a
//! few numbers and allocates nothing. Finding, making and freeing a node are O(1) expected.
//!
//! # How does the table grow?
//!
//! One bucket at a time (W. Litwin: *Linear hashing: a new tool for file and table addressing*,
//! VLDB 1980). When a node has to be made because none is vacant, the next buckets in turn are
//! [split](SPLITS), each into itself and a new one behind all others. So no call hashes many keys
//! again, and the table touches no more memory than the nodes that have been in use at the same
//! time account for. Buckets are not merged again: neither do the nodes go away.
//!
//! # What decides the bucket of a key?
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

/// The number of buckets that are split when a node is added to the array: as long as no more
/// nodes are in use than blocks can be listed, which is half of those that there is room for, there
/// are two buckets per node.
const SPLITS: usize = 2;

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
    /// The first node of each bucket. There are at least two.
    buckets: Vec<u32>,
    /// One less than the number of buckets, rounded up to a power of two.
    mask: usize,
    /// The number of nodes, and of buckets, that there is room for from the start.
    reserved: usize,
    /// Random; the second is odd.
    seeds: [u64; 2],
    /// The vacant node to use next.
    vacant: u32,
}

impl Nodes {
    /// Creates an index without nodes, and with room for `capacity` of them.
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity < NIL as usize, "too many nodes: {capacity}");
        let mut buckets = Vec::with_capacity(capacity.max(2));
        buckets.extend([NIL; 2]);
        let random = RandomState::new();
        Self {
            nodes: Vec::with_capacity(capacity),
            mask: buckets.len() - 1,
            buckets,
            reserved: capacity,
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

    /// Returns the number of buckets.
    #[cfg(test)]
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Verifies that the index finds every node in use, and that all others are vacant.
    pub(super) fn check(&self) -> Result<(), String> {
        let (buckets, mask) = (self.buckets.len(), self.mask);
        ensure(buckets.next_power_of_two() == mask + 1, || {
            format!("{buckets} buckets, but the mask is {mask}")
        })?;
        ensure(buckets <= 2 + SPLITS * self.nodes.len(), || {
            format!("{buckets} buckets for {} nodes", self.nodes.len())
        })?;
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
        let bucket = self.hash(key) & self.mask;
        if bucket < self.buckets.len() {
            bucket
        } else {
            self.unsplit(bucket)
        }
    }

    /// Returns the bucket that has yet to be split into itself and `bucket`.
    #[cold]
    fn unsplit(&self, bucket: usize) -> usize {
        bucket & self.mask >> 1
    }

    #[inline]
    fn hash(&self, key: u64) -> usize {
        let product = u128::from(key ^ self.seeds[0]) * u128::from(self.seeds[1]);
        // Of keys that count up, both halves do, too. So both are mixed once more.
        let folded = product as u64 ^ (product >> 64) as u64;
        ((folded ^ folded >> 32).wrapping_mul(self.seeds[1]) >> 32) as usize
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

    /// Adds a node behind the others, and as many buckets as are due. The arrays are moved if the
    /// room reserved at the start is used up.
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
        for _ in 0..SPLITS {
            if self.buckets.len() < self.reserved.max(self.nodes.len()) {
                self.split();
            }
        }
        number as u32
    }

    /// Adds a bucket, with the nodes of another one that belong there.
    fn split(&mut self) {
        let new = self.buckets.len();
        if new > self.mask {
            self.mask = 2 * self.mask + 1;
        }
        let old = new & self.mask >> 1;
        let (mut kept, mut moved) = (NIL, NIL);
        let mut at = self.buckets[old];
        while at != NIL {
            let is_moved = self.hash(self[at].key) & self.mask == new;
            let chain = if is_moved { &mut moved } else { &mut kept };
            at = std::mem::replace(&mut self[at].chain, std::mem::replace(chain, at));
        }
        self.buckets[old] = kept;
        self.buckets.push(moved);
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
    use crate::policy::testing::Random;

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
        assert_eq!(nodes.buckets(), 100);
        for (key, node) in (0..).zip(made) {
            assert_eq!(nodes.obtain(key, []), node);
        }
    }

    #[test]
    fn the_buckets_are_short_at_every_size() {
        let mut random = Random::new(8);
        let mut any = || random.below(1 << 32) << 32 | random.below(1 << 32);
        let at_random: Vec<u64> = (0..1_000).map(|_| any()).collect();
        // Keys that count up, from any bit on.
        let counted = (0..54).map(|shift| (0..1_000).map(|key| key << shift).collect());
        for keys in [at_random].into_iter().chain(counted) {
            let mut nodes = Nodes::new(2_000);
            for (number, key) in (1..).zip(keys) {
                nodes.obtain(key, []);
                if number % 100 == 0 {
                    nodes.check().unwrap();
                    let length = |&first: &u32| {
                        let some = |node: u32| (node != NIL).then_some(node);
                        let next = |&node: &u32| some(nodes[node].chain);
                        std::iter::successors(some(first), next).count()
                    };
                    let longest = nodes.buckets.iter().map(length).max();
                    assert!(longest.unwrap() <= 16, "{longest:?} of {number}");
                }
                assert_eq!(nodes.buckets(), (2 + 2 * number).min(2_000));
            }
        }
    }
}
