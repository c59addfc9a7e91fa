//! The graph by example and against the model.
//!
//! | file | idea |
//! |---|---|
//! | `graph` | which blocks are leaves, and which leaf is evicted |
//! | `priorities` | leaves with priorities |
//! | `traces` | blocks that can come and go without a trace |

mod graph;
mod priorities;
mod traces;

use super::graph::Lineage;
use super::leaves::Leaves;
use super::retained::RetainedLeaves;
use crate::SequenceHash;
use crate::policy::slot_policy::{PrioritizedPolicy, SlotPolicy};
use crate::policy::testing::relative;
use crate::retention::Priority;

fn hash(current: u64, parent: u64, position: u64) -> SequenceHash {
    SequenceHash::new(current, Some(parent), position)
}

/// Returns a chain whose block at position `p` has the sequence hash `base + p`.
fn chain(base: u64, length: u64) -> Vec<SequenceHash> {
    (0..length)
        .map(|position| hash(base + position, (base + position).wrapping_sub(1), position))
        .collect()
}

/// A lineage that checks itself after each step.
struct Checked<L>(Lineage<L>);

impl<L: Leaves> Checked<RetainedLeaves<L>> {
    fn set_priority(&mut self, slot: u32, priority: Priority) {
        self.0.set_priority(slot, priority);
        self.0.check().unwrap();
    }
}

impl<L: Leaves> Checked<L> {
    fn new(block_count: usize) -> Self {
        Self(Lineage::new(block_count))
    }

    fn insert(&mut self, slot: u32, hash: SequenceHash) {
        self.0.insert(slot, hash, 0);
        self.0.check().unwrap();
    }

    fn insert_all(&mut self, slots: impl IntoIterator<Item = u32>, hashes: &[SequenceHash]) {
        for (slot, &hash) in slots.into_iter().zip(hashes) {
            self.insert(slot, hash);
        }
    }

    fn remove(&mut self, slot: u32) {
        self.0.remove(slot);
        self.0.check().unwrap();
    }

    fn pop(&mut self) -> Option<u32> {
        let victim = self.0.pop();
        self.0.check().unwrap();
        victim
    }

    fn drain(&mut self) -> Vec<u32> {
        let order = std::iter::from_fn(|| self.pop()).collect();
        assert_eq!(self.nodes(), 0);
        order
    }

    fn nodes(&self) -> usize {
        self.0.nodes.in_use().count()
    }
}
