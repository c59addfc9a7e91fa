//! Leaves in order of release.
//!
//! A block keeps the position that its release gave it until it is taken out, however often
//! it stops being a leaf and becomes one again. A search tree over the positions would do,
//! but would allocate and cost a logarithm at every step.
//!
//! Here, all listed blocks are in a [ring](crate::policy::containers::ring) in order of release,
//! and a [`Bitmap`] marks the entries of the ring that belong to leaves. Adding or demoting a
//! leaf sets or clears a bit, and the victim is the first bit set. When the ring is compacted,
//! the bits move with the blocks.
//!
//! # The newest leaf
//!
//! In a chain that is released from its root, each block adds a leaf that the next block
//! demotes. In a chain that is evicted, each victim adds a leaf that is the next victim. The bit
//! of the leaf added last is therefore not set until another leaf is added. Usually it is never
//! set: by then the block has been demoted, or it is known to come before all others because its
//! child did.

use super::graph::Lineage;
use super::leaves::Leaves;
use crate::SequenceHash;
use crate::policy::containers::bitmap::Bitmap;
use crate::policy::containers::ring::ReleaseRing;
use crate::policy::containers::{NIL, ensure};
use crate::policy::slot_policy::PlainPolicy;
use crate::policy::spec::PolicySpec;

/// Leaf-first, in order of release.
pub(crate) struct ByTick;

impl PolicySpec for ByTick {
    fn name(&self) -> &'static str {
        "lineage-tick"
    }

    fn title(&self) -> &'static str {
        "lineage by tick"
    }

    fn summary(&self) -> &'static str {
        "Leaf-first: the leaf released longest ago goes first."
    }

    fn is_leaf_first(&self) -> bool {
        true
    }

    fn is_sharded(&self) -> bool {
        true
    }

    fn build(&self, block_count: usize) -> Box<dyn PlainPolicy> {
        Box::new(Lineage::<TickLeaves>::new(block_count))
    }
}

/// The number of entries, of blocks that are no leaves, by which the front of the ring may lag behind
/// the first leaf before it is made to catch up.
const LAG: u32 = if cfg!(test) { 4 } else { 64 };

/// See the module documentation.
pub(crate) struct TickLeaves {
    /// The listed blocks, leaves or not.
    order: ReleaseRing,
    /// The ring indices of leaves' entries.
    marked: Bitmap,
    /// A leaf that is not marked, or `NIL`.
    newest: u32,
    /// A position before which no leaf is marked. It is not before the front.
    low: u32,
}

/// Returns whether position `a` is before position `b`. They are less than a ring apart.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl TickLeaves {
    fn mark_newest(&mut self) {
        let position = self.order.position(self.newest);
        self.newest = NIL;
        self.marked.insert(self.order.index(position));
        if is_before(position, self.low) {
            self.low = position;
        }
    }

    /// Follows the front where it has moved, so that `low` does not fall behind by more than
    /// a ring.
    fn keep_up(&mut self) {
        if is_before(self.low, self.order.front()) {
            self.low = self.order.front();
        }
    }

    /// Returns the first marked leaf.
    #[inline(never)]
    fn first_marked(&mut self) -> Option<u32> {
        if self.low.wrapping_sub(self.order.front()) >= LAG {
            self.order.trim();
            self.keep_up();
        }
        let from = self.order.index(self.low);
        let index = self.marked.first_from(from);
        // Wraps around the end of the ring if there is none before it.
        let index = index.or_else(|| self.marked.first_from(0))?;
        let slot = self.order.at(index);
        self.low = self.order.position(slot);
        Some(slot)
    }
}

impl Leaves for TickLeaves {
    const COMMUTES: bool = true;

    fn new(block_count: usize) -> Self {
        let order = ReleaseRing::new(block_count);
        Self {
            marked: Bitmap::new(order.places() as usize),
            low: order.front(),
            order,
            newest: NIL,
        }
    }

    #[inline(always)]
    fn list(&mut self, slot: u32, _hash: SequenceHash, leaf: bool) {
        let (marked, low) = (&mut self.marked, &mut self.low);
        let places = self.order.places() - 1;
        let squeezed = self.order.push_and_move(slot, |from, to| {
            if marked.contains(from & places) {
                marked.remove(from & places);
                marked.insert(to & places);
                if is_before(to, *low) {
                    *low = to;
                }
            }
        });
        if squeezed {
            self.keep_up();
        }
        if leaf {
            self.add(slot);
        }
    }

    #[inline(always)]
    fn unlist(&mut self, slot: u32) {
        self.demote(slot);
        self.order.remove(slot);
    }

    #[inline(always)]
    fn add(&mut self, slot: u32) {
        if self.newest != NIL {
            self.mark_newest();
        }
        self.newest = slot;
    }

    #[inline(always)]
    fn demote(&mut self, slot: u32) {
        if self.newest == slot {
            self.newest = NIL;
        } else {
            let position = self.order.position(slot);
            self.marked.remove(self.order.index(position));
        }
    }

    #[inline(always)]
    fn first(&mut self) -> Option<u32> {
        if self.newest != NIL {
            if is_before(self.order.position(self.newest), self.low) {
                return Some(self.newest);
            }
            self.mark_newest();
        }
        self.first_marked()
    }

    fn contains(&self, slot: u32) -> bool {
        let is_marked = || {
            self.marked
                .contains(self.order.index(self.order.position(slot)))
        };
        self.order.contains(slot) && (slot == self.newest || is_marked())
    }

    fn check(&self) -> Result<usize, String> {
        self.order.check()?;
        self.marked.check()?;
        let (low, front) = (self.low, self.order.front());
        ensure(!is_before(low, front), || {
            format!("no leaf is marked before {low}, which is before the front, {front}")
        })?;
        let mut leaves = 0;
        for slot in self.order.listed().filter(|&slot| self.contains(slot)) {
            leaves += 1;
            let position = self.order.position(slot);
            ensure(
                slot == self.newest || !is_before(position, self.low),
                || format!("leaf {slot} is marked before {}", self.low),
            )?;
        }
        let marked = self.marked.count() + usize::from(self.newest != NIL);
        ensure(marked == leaves, || {
            format!("{marked} leaves are marked or newest, {leaves} are listed")
        })?;
        Ok(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Random;
    use crate::policy::testing::any_hash;

    #[test]
    fn a_leaf_again_has_its_old_place() {
        let mut leaves = TickLeaves::new(3);
        for slot in 0..3 {
            leaves.list(slot, any_hash(), true);
        }
        leaves.demote(0);
        assert_eq!(leaves.first(), Some(1));
        leaves.add(0);
        assert_eq!(leaves.first(), Some(0));
        leaves.unlist(0);
        leaves.list(0, any_hash(), true);
        assert_eq!(leaves.first(), Some(1));
        assert_eq!(leaves.check(), Ok(3));
    }

    #[test]
    fn order_survives_times_without_leaves() {
        let mut leaves = TickLeaves::new(3);
        for round in 0..200 {
            for slot in 0..3 {
                leaves.list(slot, any_hash(), true);
            }
            for slot in 0..3 {
                assert_eq!(leaves.first(), Some(slot), "round {round}");
                assert!(leaves.check().is_ok());
                leaves.unlist(slot);
            }
            for _ in 0..round {
                leaves.list(1, any_hash(), true);
                leaves.unlist(1);
                assert_eq!(leaves.first(), None);
            }
        }
    }

    /// Long enough for many passes, with the number of listed blocks ranging from none to
    /// all.
    #[test]
    fn order_survives_the_moves() {
        for block_count in [1, 2, 7, 8, 9, 50] {
            let mut random = Random::new(block_count);
            let mut leaves = TickLeaves::new(block_count as usize);
            // In order of release, with whether the block is a leaf.
            let mut model: Vec<(u32, bool)> = Vec::new();
            for step in 0..8_000 {
                let slot = random.below(block_count) as u32;
                let at = model.iter().position(|&(listed, _)| listed == slot);
                let keep = random.below(10) < if step / 500 % 2 == 0 { 9 } else { 2 };
                if let Some(at) = at {
                    model.remove(at);
                    leaves.unlist(slot);
                }
                if keep {
                    leaves.list(slot, any_hash(), false);
                    model.push((slot, false));
                }
                if !model.is_empty() {
                    let at = random.below(model.len() as u64) as usize;
                    let (slot, leaf) = &mut model[at];
                    *leaf = !*leaf;
                    if *leaf {
                        leaves.add(*slot)
                    } else {
                        leaves.demote(*slot)
                    }
                }
                let first = model.iter().find(|&&(_, leaf)| leaf).map(|&(slot, _)| slot);
                assert_eq!(leaves.first(), first);
                let count = model.iter().filter(|&&(_, leaf)| leaf).count();
                assert_eq!(leaves.check(), Ok(count));
            }
        }
    }
}
