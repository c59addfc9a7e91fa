//! Leaves in order of release.
//!
//! A block keeps the position its release gave it until it is taken out, however
//! often it ceases to be a leaf and becomes one again. A search tree over the
//! positions would do; it would also allocate and cost a logarithm at every step.
//!
//! Here all listed blocks stand in a [ring](crate::policy::ring) in order of
//! release, and a [`Bitmap`] says which places of the ring are leaves': a leaf is
//! added or demoted by setting or clearing a bit, and the victim is the first bit
//! from the front of the ring on. Where the ring squeezes out what is gone, the
//! bits move with the blocks.

use super::Leaves;
use super::bitmap::Bitmap;
use crate::policy::ensure;
use crate::policy::ring::ReleaseRing;

pub(crate) struct TickLeaves {
    /// The listed blocks, leaves or not.
    order: ReleaseRing,
    /// The places of leaves.
    leaves: Bitmap,
}

impl Leaves for TickLeaves {
    fn new(block_count: usize) -> Self {
        let order = ReleaseRing::new(block_count);
        Self {
            leaves: Bitmap::new(order.places()),
            order,
        }
    }

    #[inline]
    fn list(&mut self, slot: u32, leaf: bool) {
        self.order.trim();
        let leaves = &mut self.leaves;
        self.order.push_and_move(slot, |from, to| {
            if leaves.remove(from) {
                leaves.insert(to);
            }
        });
        if leaf {
            self.add(slot);
        }
    }

    #[inline]
    fn unlist(&mut self, slot: u32) {
        self.demote(slot);
        self.order.remove(slot);
    }

    #[inline]
    fn add(&mut self, slot: u32) {
        self.leaves.insert(self.order.place_of(slot));
    }

    #[inline]
    fn demote(&mut self, slot: u32) {
        self.leaves.remove(self.order.place_of(slot));
    }

    #[inline]
    fn first(&self) -> Option<u32> {
        let place = self.leaves.first_from(self.order.front());
        // Around the end of the ring, if there is none before it.
        let place = place.or_else(|| self.leaves.first_from(0))?;
        Some(self.order.slot_at(place))
    }

    fn contains(&self, slot: u32) -> bool {
        self.order.contains(slot) && self.leaves.contains(self.order.place_of(slot))
    }

    fn check(&self) -> Result<usize, String> {
        self.order.check()?;
        self.leaves.check()?;
        let marked = self.leaves.count();
        let leaves = self.order.listed().filter(|&slot| self.contains(slot));
        let listed = leaves.count();
        ensure(marked == listed, || {
            format!("{marked} places are marked as leaves', {listed} are")
        })?;
        Ok(marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Random;

    #[test]
    fn a_leaf_again_has_its_old_place() {
        let mut leaves = TickLeaves::new(3);
        for slot in 0..3 {
            leaves.list(slot, true);
        }
        leaves.demote(0);
        assert_eq!(leaves.first(), Some(1));
        leaves.add(0);
        assert_eq!(leaves.first(), Some(0));
        leaves.unlist(0);
        leaves.list(0, true);
        assert_eq!(leaves.first(), Some(1));
        assert_eq!(leaves.check(), Ok(3));
    }

    /// Long enough for many passes, with listed blocks ranging from none to all.
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
                    leaves.list(slot, false);
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
