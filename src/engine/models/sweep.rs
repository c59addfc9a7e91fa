//! Models of sweeps against pins, unpins and each other.
//!
//! A pinned block is never taken, and no block is taken twice.

use std::sync::Arc;

use super::{Contents, explore, key, make_inactive, make_primary, spawn};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::sweep::Sweep;
use crate::engine::parts::word::State;

struct Swept {
    slots: Vec<Slot>,
    content: Contents,
    sweep: Sweep,
    /// Whether the sweep is leaf-first. If so, the second block is the child of the first.
    leaf_first: bool,
}

impl Swept {
    /// Creates inactive blocks.
    fn new(blocks: u32, leaf_first: bool) -> Self {
        let slots: Vec<_> = (0..blocks).map(|id| Slot::new(id, false)).collect();
        for slot in &slots {
            make_primary(slot, key(u64::from(slot.id()), 0));
            make_inactive(slot);
        }
        Self {
            slots,
            content: Contents::new(blocks as usize),
            sweep: Sweep::new(leaf_first),
            leaf_first,
        }
    }

    /// Sweeps for up to `max` blocks. Returns how many it took.
    fn evict(&self, max: usize) -> usize {
        let mut taken = 0;
        let evicted = self.sweep.evict(max, &self.slots, false, |slot, _| {
            assert_eq!(self.content.read(slot.id()), 0, "taken once");
            self.content.write(slot.id(), 1);
            if self.leaf_first && slot.id() == 0 {
                assert!(!self.slots[1].word().is_inactive(), "the child first");
            }
            taken += 1;
        });
        assert_eq!(evicted, taken);
        evicted
    }

    /// Pins a block if it has not been taken. Returns whether it is pinned.
    fn pin(&self, at: usize) -> bool {
        let slot = &self.slots[at];
        let mut seen = slot.word();
        while seen.is_primary() {
            match slot.pin(seen, false) {
                Ok(()) => {
                    assert_eq!(self.content.read(slot.id()), 0, "not taken");
                    return true;
                }
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Checks that as many blocks are exclusive as were evicted.
    fn finish(&self, evicted: usize) {
        let exclusive = |slot: &&Slot| slot.word().state() == State::Exclusive;
        assert_eq!(self.slots.iter().filter(exclusive).count(), evicted);
    }
}

#[test]
fn a_sweep_and_a_pin() {
    explore(|| {
        let swept = Arc::new(Swept::new(2, false));
        let pinner = spawn(&swept, |swept| swept.pin(1));
        let evicted = swept.evict(2);
        let is_pinned = pinner.join().unwrap();
        assert_eq!(evicted, if is_pinned { 1 } else { 2 });
        swept.finish(evicted);
    });
}

#[test]
fn two_sweeps_a_pin_and_its_unpin() {
    explore(|| {
        let swept = Arc::new(Swept::new(2, false));
        let user = spawn(&swept, |swept| {
            if swept.pin(0) {
                let slot = &swept.slots[0];
                slot.unpin_last(slot.word())
                    .expect("no other thread pins it");
            }
        });
        let other = spawn(&swept, |swept| swept.evict(1));
        let evicted = swept.evict(2);
        user.join().unwrap();
        swept.finish(evicted + other.join().unwrap());
    });
}

/// Both blocks are taken, the child before its parent, whichever sweep takes which.
#[test]
fn two_leaf_first_sweeps() {
    explore(|| {
        let mut swept = Swept::new(0, true);
        swept.content = Contents::new(2);
        for (id, hash) in [
            crate::SequenceHash::new(1, None, 0),
            crate::SequenceHash::new(2, Some(1), 1),
        ]
        .into_iter()
        .enumerate()
        {
            let slot = Slot::new(id as u32, false);
            make_primary(&slot, crate::key::Key { hash, keyed: 0 });
            make_inactive(&slot);
            swept.slots.push(slot);
        }
        let swept = Arc::new(swept);
        let other = spawn(&swept, |swept| swept.evict(1));
        let evicted = swept.evict(1);
        assert_eq!(evicted + other.join().unwrap(), 2);
        swept.finish(2);
    });
}
