//! Models of the slot word: pins against claims, and the fields against the next tenancy.
//!
//! Covers Primary(0) and Primary(1) against a claim, Primary(2) against two unpins and a
//! claim, a reader of the fields against the next tenancy, the generation's wrap-around, and a
//! reset on the last unpin against a pin. To *claim* is to vacate an inactive block.

use std::sync::Arc;

use super::{Contents, explore, hash, key, make_inactive, make_primary, spawn, unpin_shared};
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::{State, Word};

struct Block {
    slot: Slot,
    content: Contents,
    /// The generation of the first tenancy. Its content is 1, and that of the next is 2.
    first: u32,
}

impl Block {
    /// Creates a primary with one pin.
    fn new(first: u32) -> Self {
        let block = Self {
            slot: Slot::of_generation(0, first),
            content: Contents::new(1),
            first,
        };
        block.content.write(0, 1);
        make_primary(&block.slot, key(1, 0));
        block
    }

    /// Creates an inactive block.
    fn inactive(first: u32) -> Arc<Self> {
        let block = Self::new(first);
        make_inactive(&block.slot);
        Arc::new(block)
    }

    /// Returns the number of the tenancy to which a word belongs.
    fn tenancy(&self, word: Word) -> u64 {
        u64::from(word.generation().wrapping_sub(self.first)) + 1
    }

    /// Pins the block in its current tenancy. Returns the tenancy's number.
    fn pin(&self) -> Option<u64> {
        let mut seen = self.slot.word();
        while seen.is_primary() {
            match self.slot.pin(seen, false) {
                Ok(()) => return Some(self.tenancy(seen)),
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Checks what a holder relies on: the hash and the content are those of its tenancy.
    fn assert_holds(&self, tenancy: u64) {
        assert_eq!(self.slot.hash(), hash(tenancy));
        assert_eq!(self.content.read(0), tenancy);
    }

    /// Takes a pin off. Returns whether it was the last.
    fn unpin(&self) -> bool {
        loop {
            let seen = self.slot.word();
            let is_last = seen.count() == 1;
            let unpinned = if is_last {
                self.slot.unpin_last(seen)
            } else {
                unpin_shared(&self.slot, seen)
            };
            if unpinned.is_ok() {
                return is_last;
            }
        }
    }

    /// Claims the block if it is inactive, and registers it again. Returns whether it did.
    fn reuse(&self) -> bool {
        let claimed = self.slot.vacate_unheld(false).is_some();
        if claimed {
            self.content.write(0, 2);
            make_primary(&self.slot, key(2, 0));
        }
        claimed
    }
}

#[test]
fn a_pin_or_a_claim_wins() {
    for first in [0, u32::MAX] {
        explore(move || {
            let block = Block::inactive(first);
            let evictor = spawn(&block, Block::reuse);
            let pinned = block.pin();
            if let Some(tenancy) = pinned {
                block.assert_holds(tenancy);
            }
            assert_eq!(evictor.join().unwrap(), pinned != Some(1));
        });
    }
}

#[test]
fn two_pins_and_a_claim() {
    explore(|| {
        let block = Block::inactive(0);
        let matcher = spawn(&block, |block| {
            let pinned = block.pin();
            if let Some(tenancy) = pinned {
                block.assert_holds(tenancy);
                block.unpin();
            }
            pinned
        });
        let evictor = spawn(&block, Block::reuse);
        let pinned = block.pin();
        if let Some(tenancy) = pinned {
            block.assert_holds(tenancy);
        }
        matcher.join().unwrap();
        assert_eq!(evictor.join().unwrap(), pinned != Some(1));
    });
}

/// The content is overwritten only after every holder has read it.
#[test]
fn holders_release_before_a_claim() {
    explore(|| {
        let block = Block::new(0);
        block.slot.pin_again();
        let block = Arc::new(block);
        let release = |block: &Block| {
            block.assert_holds(1);
            block.unpin()
        };
        let other = spawn(&block, release);
        let evictor = spawn(&block, Block::reuse);
        let was_last = release(&block);
        assert!(was_last != other.join().unwrap(), "one of them is the last");
        let is_reused = evictor.join().unwrap();
        assert_eq!(block.slot.word().is_inactive(), !is_reused);
    });
}

/// A hash that is read within a tenancy is that tenancy's, and is not torn.
#[test]
fn a_reader_tells_tenancies_apart() {
    for first in [0, u32::MAX] {
        explore(move || {
            let block = Block::inactive(first);
            let evictor = spawn(&block, Block::reuse);
            let seen = block.slot.word();
            if seen.is_primary() {
                let read = block.slot.hash();
                if block.slot.is_tenancy(seen) {
                    assert_eq!(read, hash(block.tenancy(seen)));
                }
            }
            assert!(evictor.join().unwrap());
        });
    }
}

/// A block that is marked for reset belongs to its last holder, unless it is pinned first.
#[test]
fn a_reset_or_a_pin_wins() {
    explore(|| {
        let block = Arc::new(Block::new(0));
        block.slot.set_reset(true);
        let holder = spawn(&block, |block| {
            block.assert_holds(1);
            loop {
                let seen = block.slot.word();
                if seen.count() > 1 {
                    if unpin_shared(&block.slot, seen).is_ok() {
                        return false;
                    }
                } else if block.slot.vacate(seen, false).is_ok() {
                    block.content.write(0, 2);
                    return true;
                }
            }
        });
        let pinned = block.pin();
        if let Some(tenancy) = pinned {
            block.assert_holds(tenancy);
        }
        assert_eq!(holder.join().unwrap(), pinned.is_none());
        let state = block.slot.word().state();
        assert_eq!(state == State::Primary, pinned.is_some());
    });
}
