//! The lineage order, computed afresh rather than maintained.
//!
//! The model keeps only facts: which block is listed under which pair of position and
//! fragment, since when and with which parent; and which pairs are ghosts. Child counts,
//! leaves and the victim are computed afresh after each step.

use crate::SequenceHash;
use std::collections::BTreeMap;

/// Which of the two orders among leaves is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeafOrder {
    /// A block that becomes a leaf again has the position that its release gave it.
    Tick,
    /// A block that becomes a leaf again goes to the end.
    Fifo,
}

type ModelKey = (u64, u64);

struct Block {
    key: ModelKey,
    parent: Option<ModelKey>,
    released: u64,
}

pub(super) struct Model {
    order: LeafOrder,
    clock: u64,
    blocks: BTreeMap<u32, Block>,
    /// Each ghost, with its link to its parent.
    ghosts: BTreeMap<ModelKey, Option<ModelKey>>,
    /// The leaves, in the order in which they became leaves.
    leaves: Vec<u32>,
}

impl Model {
    pub(super) fn new(order: LeafOrder) -> Self {
        Self {
            order,
            clock: 0,
            blocks: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            leaves: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, slot: u32, hash: SequenceHash) {
        self.remove(slot);
        let (key, parent) = keys(slot, hash);
        self.ghosts.remove(&key);
        if let Some(parent) = parent
            && !self.blocks.values().any(|block| block.key == parent)
        {
            self.ghosts.entry(parent).or_insert(None);
        }
        self.clock += 1;
        let released = self.clock;
        self.blocks.insert(
            slot,
            Block {
                key,
                parent,
                released,
            },
        );
        self.settle();
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(Block { key, parent, .. }) = self.blocks.remove(&slot) else {
            return;
        };
        if !self.blocks.values().any(|block| block.key == key) {
            self.ghosts.insert(key, parent);
        }
        self.settle();
    }

    pub(super) fn pop(&mut self) -> Option<u32> {
        let victim = match self.order {
            LeafOrder::Fifo => self.leaves.first().copied(),
            LeafOrder::Tick => {
                let released = |slot: &&u32| self.blocks[slot].released;
                self.leaves.iter().min_by_key(released).copied()
            }
        }?;
        self.remove(victim);
        Some(victim)
    }

    /// Returns the blocks that can be evicted.
    pub(super) fn leaves(&self) -> &[u32] {
        &self.leaves
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        self.blocks.contains_key(&slot)
    }

    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Returns whether a listed block has the block that `hash` names as its parent.
    pub(super) fn has_listed_child(&self, slot: u32, hash: SequenceHash) -> bool {
        let (key, _) = keys(slot, hash);
        self.blocks.values().any(|block| block.parent == Some(key))
    }

    fn is_childless(&self, key: ModelKey) -> bool {
        let of_blocks = self.blocks.values().map(|block| block.parent);
        let of_ghosts = self.ghosts.values().copied();
        !of_blocks.chain(of_ghosts).any(|parent| parent == Some(key))
    }

    /// Drops the ghosts that nothing depends on, and updates the leaves.
    fn settle(&mut self) {
        while let Some(key) = self
            .ghosts
            .keys()
            .copied()
            .find(|&key| self.is_childless(key))
        {
            self.ghosts.remove(&key);
        }
        let mut leaves: Vec<u32> = self.blocks.keys().copied().collect();
        leaves.retain(|slot| self.is_childless(self.blocks[slot].key));
        leaves.sort_by_key(|slot| self.blocks[slot].released);
        self.leaves.retain(|slot| leaves.contains(slot));
        leaves.retain(|slot| !self.leaves.contains(slot));
        self.leaves.extend(leaves);
    }
}

fn keys(slot: u32, hash: SequenceHash) -> (ModelKey, Option<ModelKey>) {
    if hash.mode() == 3 {
        return ((u64::MAX, u64::from(slot)), None);
    }
    let position = hash.position();
    let own = (
        position,
        hash.parent_fragment_for_child_position(position + 1),
    );
    let parent = (position > 0).then(|| (position - 1, hash.parent_hash_fragment()));
    (own, parent)
}
