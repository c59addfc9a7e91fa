//! Leaves in order of release.
//!
//! Each release hands out the next *tick*, and a block keeps its tick until it
//! is taken out, however often it ceases to be a leaf and becomes one again.
//! A search tree over the ticks would do; it would also allocate and cost a
//! logarithm at every step.
//!
//! Here a tick is an index. `slots` says which block holds a tick and a
//! [`Bitmap`] which ticks belong to leaves, so that a leaf is added or demoted
//! by setting or clearing a bit, and the victim is the first bit set.
//!
//! # Running out of ticks
//!
//! Ticks are used up by blocks that come and go, so the ticks in use are moved
//! together from time to time. Doing it at once would stop everyone for the
//! time it takes to walk the whole store. Instead, once [`begin`] ticks are
//! handed out, each further release moves a few: `read` walks the ticks from
//! the front, and every one that is in use becomes tick `write`, in order.
//! Ticks below `write` and from `read` on are as they should be, those between
//! are free, so the order holds at every moment. When `read` has caught up
//! with `next`, the release goes on at `write`.
//!
//! That the ticks suffice, with `n` for the block count and four moves per
//! release: a pass that begins at `2n` meets four ticks while one is handed
//! out, so it is done after `2n / 3` releases (give or take one), when
//! `8n / 3` ticks are out; hence the array of `3n`. It has moved at most `n`
//! blocks that were listed at its beginning and one for each release since,
//! `5n / 3` in all: fewer than `2n`, so the next pass begins at `2n` again,
//! at least `n / 3` releases later.
//!
//! [`begin`]: TickLeaves::begin

use super::Leaves;
use super::bitmap::Bitmap;
use crate::policy::{NIL, ensure};

/// How many ticks a release looks at while a pass is under way.
const MOVES: u32 = 4;

pub(crate) struct TickLeaves {
    /// By slot: its tick, `NIL` while it is not listed.
    ticks: Box<[u32]>,
    /// By tick: the slot that holds it, `NIL` if none does.
    slots: Box<[u32]>,
    /// The ticks of leaves.
    leaves: Bitmap,
    /// The tick of the next release.
    next: u32,
    /// How many ticks are handed out before a pass begins.
    begin: u32,
    /// The tick a pass looks at next; 0 between passes.
    read: u32,
    /// The tick a pass gives to the next block it finds.
    write: u32,
}

impl TickLeaves {
    /// Does one release's share of a pass.
    fn advance_pass(&mut self) {
        for _ in 0..MOVES {
            if self.read == self.next {
                self.next = self.write;
                self.read = 0;
                self.write = 0;
                return;
            }
            let slot = self.slots[self.read as usize];
            if slot != NIL {
                self.move_tick(slot, self.read, self.write);
                self.write += 1;
            }
            self.read += 1;
        }
    }

    fn move_tick(&mut self, slot: u32, from: u32, to: u32) {
        if from == to {
            return;
        }
        self.slots[from as usize] = NIL;
        self.slots[to as usize] = slot;
        self.ticks[slot as usize] = to;
        if self.leaves.remove(from) {
            self.leaves.insert(to);
        }
    }
}

impl Leaves for TickLeaves {
    fn new(block_count: usize) -> Self {
        // The rounding in the argument above needs a few ticks to spare.
        let unit = block_count.max(8);
        let slots = 3 * unit;
        assert!(slots < NIL as usize, "too many slots: {block_count}");
        Self {
            ticks: vec![NIL; block_count].into_boxed_slice(),
            slots: vec![NIL; slots].into_boxed_slice(),
            leaves: Bitmap::new(slots),
            next: 0,
            begin: 2 * unit as u32,
            read: 0,
            write: 0,
        }
    }

    #[inline]
    fn list(&mut self, slot: u32, leaf: bool) {
        if self.next >= self.begin {
            self.advance_pass();
        }
        let tick = self.next;
        self.next += 1;
        self.slots[tick as usize] = slot;
        self.ticks[slot as usize] = tick;
        if leaf {
            self.leaves.insert(tick);
        }
    }

    #[inline]
    fn unlist(&mut self, slot: u32) {
        let tick = std::mem::replace(&mut self.ticks[slot as usize], NIL);
        self.slots[tick as usize] = NIL;
        self.leaves.remove(tick);
    }

    #[inline]
    fn add(&mut self, slot: u32) {
        self.leaves.insert(self.ticks[slot as usize]);
    }

    #[inline]
    fn demote(&mut self, slot: u32) {
        self.leaves.remove(self.ticks[slot as usize]);
    }

    #[inline]
    fn first(&self) -> Option<u32> {
        self.leaves.first().map(|tick| self.slots[tick as usize])
    }

    fn contains(&self, slot: u32) -> bool {
        let tick = self.ticks[slot as usize];
        tick != NIL && self.leaves.contains(tick)
    }

    fn check(&self) -> Result<usize, String> {
        self.leaves.check()?;
        let mut held = 0;
        for (tick, &slot) in (0..).zip(&self.slots) {
            if slot == NIL {
                ensure(!self.leaves.contains(tick), || {
                    format!("tick {tick} is a leaf's and nobody's")
                })?;
                continue;
            }
            held += 1;
            let moved = self.write..self.read;
            ensure(tick < self.next && !moved.contains(&tick), || {
                format!("tick {tick} is held outside the ticks in use")
            })?;
            let back = self.ticks[slot as usize];
            ensure(back == tick, || {
                format!("tick {tick} is held by slot {slot}, whose tick is {back}")
            })?;
        }
        let ticking = self.ticks.iter().filter(|&&tick| tick != NIL).count();
        ensure(held == ticking, || {
            format!("{held} ticks are held, {ticking} slots have one")
        })?;
        Ok(self.leaves.count())
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

    /// Long enough for many passes, with listed blocks ranging from none to
    /// all; the ticks running out would panic.
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

    /// The tightest case for the number of ticks: every block stays listed and
    /// every release is a block's next.
    #[test]
    fn ticks_suffice_when_everything_is_listed() {
        for block_count in [1, 8, 9, 10, 11, 64, 1000] {
            let mut leaves = TickLeaves::new(block_count);
            for slot in 0..block_count as u32 {
                leaves.list(slot, false);
            }
            for step in 0..20 * block_count {
                // The block released last, or the one released first.
                let slot = [block_count - 1, step % block_count][step / (5 * block_count) % 2];
                leaves.unlist(slot as u32);
                leaves.list(slot as u32, false);
            }
            assert_eq!(leaves.check(), Ok(0));
        }
    }
}
