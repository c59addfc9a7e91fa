//! Leaves in the order in which they became leaves.
//!
//! This is a list: a block that becomes a leaf, for the first time or again, is appended.
//! Every operation is O(1). Compared with [ticks](super::tick), this evicts several chains in
//! rotation, one block of each, rather than one whole chain after another. A leaf with a
//! [priority](super::retained) does not count as one here, and is appended when its priority
//! ends.

use super::graph::Lineage;
use super::leaves::Leaves;
use crate::SequenceHash;
use crate::policy::containers::list::Lists;
use crate::policy::slot_policy::PlainPolicy;
use crate::policy::spec::PolicySpec;

/// Leaf-first, in the order of becoming a leaf.
pub(crate) struct ByFifo;

impl PolicySpec for ByFifo {
    fn name(&self) -> &'static str {
        "lineage-fifo"
    }

    fn title(&self) -> &'static str {
        "lineage by FIFO"
    }

    fn summary(&self) -> &'static str {
        "Leaf-first: leaves go in the order in which they became leaves."
    }

    fn is_leaf_first(&self) -> bool {
        true
    }

    fn is_sharded(&self) -> bool {
        true
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        Box::new(Lineage::<FifoLeaves>::new(block_count))
    }
}

/// See the module documentation.
pub(crate) struct FifoLeaves {
    order: Lists,
}

impl Leaves for FifoLeaves {
    const COMMUTES: bool = false;

    fn new(block_count: usize) -> Self {
        Self {
            order: Lists::new(block_count, 1),
        }
    }

    #[inline]
    fn list(&mut self, slot: u32, _hash: SequenceHash, leaf: bool) {
        if leaf {
            self.order.push_back(0, slot);
        }
    }

    #[inline]
    fn unlist(&mut self, slot: u32) {
        self.order.unlink(slot);
    }

    #[inline]
    fn add(&mut self, slot: u32) {
        self.order.push_back(0, slot);
    }

    #[inline]
    fn demote(&mut self, slot: u32) {
        self.order.unlink(slot);
    }

    #[inline]
    fn first(&mut self) -> Option<u32> {
        self.order.first(0)
    }

    fn contains(&self, slot: u32) -> bool {
        self.order.contains(slot)
    }

    fn check(&self) -> Result<usize, String> {
        self.order.check()?;
        Ok(self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::any_hash;

    #[test]
    fn a_leaf_again_goes_to_the_end() {
        let mut leaves = FifoLeaves::new(3);
        for slot in 0..3 {
            leaves.list(slot, any_hash(), true);
        }
        leaves.demote(0);
        leaves.add(0);
        let mut order = Vec::new();
        while let Some(slot) = leaves.first() {
            leaves.unlist(slot);
            order.push(slot);
        }
        assert_eq!(order, [1, 2, 0]);
    }
}
