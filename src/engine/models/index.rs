//! Models of the index: links, unlinks and walks of one chain.
//!
//! A hash has one primary; a slot that stays linked is found whatever happens around it; a
//! slot that is pinned from the word with which it was found has the hash that was looked for;
//! and once all threads are done, the chains hold the primaries and nothing else.
//!
//! Under loom, links have two bits of version, so they wrap around at the fourth change of a
//! cell. That is intended: no walk in these models sees a cell change more than three times. No
//! number of bits covers a walker that is suspended for exactly as many changes of one cell as
//! there are versions: 2^32 of them in production.

use std::sync::Arc;

use super::{Contents, explore, hash, key, spawn};
use crate::engine::parts::index::Index;
use crate::engine::parts::slot::Slot;
use crate::engine::parts::word::State;

struct Chains {
    index: Index,
    slots: Vec<Slot>,
    content: Contents,
}

impl Chains {
    /// Creates slots. The first ones hold the hashes `linked`, each with its bucket, and are
    /// linked in this order. The others are free.
    fn new(linked: &[(u64, u64)], slots: u32) -> Arc<Self> {
        let chains = Self {
            index: Index::new(2),
            slots: (0..slots).map(|id| Slot::new(id, false)).collect(),
            content: Contents::new(slots as usize),
        };
        for (at, &(n, bucket)) in linked.iter().enumerate() {
            assert!(chains.register(at, n, bucket));
        }
        Arc::new(chains)
    }

    /// Links a pending slot. Returns whether that has made it the primary.
    fn link(&self, at: usize, n: u64, bucket: u64) -> bool {
        let slot = &self.slots[at];
        self.content.write(slot.id(), n);
        slot.set_key(key(n, bucket));
        slot.begin();
        match self.index.link(&self.slots, key(n, bucket), slot) {
            Ok(()) => true,
            Err((primary, seen)) => {
                assert!(seen.is_primary() && primary.id() != slot.id());
                slot.settle(State::Exclusive);
                false
            }
        }
    }

    /// Registers a slot, or leaves it exclusive if its hash has a primary.
    fn register(&self, at: usize, n: u64, bucket: u64) -> bool {
        let is_primary = self.link(at, n, bucket);
        if is_primary {
            self.slots[at].promote(self.slots[at].word());
        }
        is_primary
    }

    /// Ends the tenancy of a slot that no other thread holds, and unlinks it.
    fn evict(&self, at: usize) {
        let slot = &self.slots[at];
        let mut seen = slot.word();
        while let Err(now) = slot.vacate(seen, false) {
            seen = now;
        }
        self.index
            .unlink(&self.slots, slot.key().keyed, &self.slots[at]);
    }

    fn is_found(&self, n: u64, bucket: u64) -> bool {
        self.index.find(&self.slots, key(n, bucket)).is_some()
    }

    /// Checks that the chains hold the primaries, once each, and that these have the expected
    /// hashes.
    fn finish(&self, mut expected: Vec<u64>) {
        let mut linked = Vec::new();
        self.index.for_each(&self.slots, |bucket, slot| {
            assert!(slot.word().is_primary(), "slot {} is linked", slot.id());
            assert!(self.index.is_home(bucket, slot.key()));
            linked.push(self.content.read(slot.id()));
        });
        linked.sort_unstable();
        expected.sort_unstable();
        assert_eq!(linked, expected);
    }
}

#[test]
fn one_of_two_registrations_wins() {
    explore(|| {
        let chains = Chains::new(&[], 2);
        let other = spawn(&chains, |chains| chains.register(0, 1, 0));
        let own = chains.register(1, 1, 0);
        assert!(own != other.join().unwrap());
        chains.finish(vec![1]);
    });
}

/// The loser returns the winner, whose owner is suspended after linking it.
#[test]
fn a_registration_is_completed_by_another() {
    explore(|| {
        let chains = Chains::new(&[], 2);
        let sleeper = spawn(&chains, |chains| chains.link(0, 1, 0));
        let own = chains.register(1, 1, 0);
        let sleeper = sleeper.join().unwrap();
        assert!(own != sleeper);
        assert!(chains.is_found(1, 0), "completed by the loser");
        chains.finish(vec![1]);
    });
}

/// A thread that sets out to complete a registration may be so late that the slot is already
/// in another one.
#[test]
fn a_late_helper_leaves_the_next_registration_alone() {
    explore(|| {
        let chains = Chains::new(&[], 2);
        let helper = spawn(&chains, |chains| chains.register(1, 1, 0));
        let is_primary = chains.register(0, 1, 0);
        if is_primary {
            chains.evict(0);
            chains.slots[0].set_key(key(2, 0));
            chains.slots[0].begin();
        }
        let is_helper_primary = helper.join().unwrap();
        if is_primary {
            assert_eq!(chains.slots[0].word().state(), State::Pending);
        } else {
            assert!(is_helper_primary);
        }
    });
}

/// Neighbours are unlinked at the same time, in front of a slot that stays.
#[test]
fn two_neighbours_are_unlinked() {
    explore(|| {
        let chains = Chains::new(&[(1, 0), (2, 0), (3, 0)], 3);
        let evictor = spawn(&chains, |chains| chains.evict(1));
        chains.evict(2);
        evictor.join().unwrap();
        chains.finish(vec![1]);
    });
}

/// A walker that went past the first dead slot would follow the second to where it moves.
#[test]
fn a_walk_past_two_that_are_unlinked() {
    explore(|| {
        let chains = Chains::new(&[(1, 0), (2, 0), (3, 0)], 3);
        let evictor = spawn(&chains, |chains| {
            chains.evict(2);
            chains.evict(1);
            assert!(chains.register(1, 4, 1));
        });
        assert!(chains.is_found(1, 0));
        evictor.join().unwrap();
        chains.finish(vec![1, 4]);
    });
}

#[test]
fn a_link_and_an_unlink_in_one_bucket() {
    explore(|| {
        let chains = Chains::new(&[(1, 0), (2, 0)], 3);
        let evictor = spawn(&chains, |chains| chains.evict(1));
        let registrant = spawn(&chains, |chains| chains.register(2, 3, 0));
        assert!(chains.is_found(1, 0));
        evictor.join().unwrap();
        assert!(registrant.join().unwrap());
        chains.finish(vec![1, 3]);
    });
}

/// A hash is registered again while its primary is evicted.
#[test]
fn a_hash_changes_its_slot() {
    explore(|| {
        let chains = Chains::new(&[(1, 0), (2, 0)], 3);
        let evictor = spawn(&chains, |chains| chains.evict(1));
        let is_primary = chains.register(2, 2, 0);
        evictor.join().unwrap();
        chains.finish(if is_primary { vec![1, 2] } else { vec![1] });
    });
}

/// The slot on which a walker stands moves to another bucket.
#[test]
fn a_slot_moves_under_a_walker() {
    explore(|| {
        let chains = Chains::new(&[(1, 0), (2, 0), (4, 1)], 3);
        let mover = spawn(&chains, |chains| {
            chains.evict(1);
            assert!(chains.register(1, 3, 1));
        });
        assert!(chains.is_found(1, 0));
        assert!(chains.is_found(4, 1));
        mover.join().unwrap();
        chains.finish(vec![1, 3, 4]);
    });
}

/// The slot is linked where it was before, but for another hash.
#[test]
fn a_slot_comes_back_for_another_hash() {
    explore(|| {
        let chains = Chains::new(&[(1, 0), (2, 0)], 2);
        let mover = spawn(&chains, |chains| {
            chains.evict(1);
            assert!(chains.register(1, 3, 0));
        });
        assert!(chains.is_found(1, 0));
        mover.join().unwrap();
        chains.finish(vec![1, 3]);
    });
}

/// The head leads where it did when the walk began, but the hash was linked in between. Only
/// the version tells.
#[test]
fn the_head_comes_back() {
    explore(|| {
        let chains = Chains::new(&[(1, 0)], 3);
        let other = spawn(&chains, |chains| chains.register(2, 2, 0));
        chains.evict(0);
        let own = chains.register(1, 2, 0);
        assert!(chains.register(0, 3, 0));
        assert!(own != other.join().unwrap());
        chains.finish(vec![2, 3]);
    });
}

/// A slot that is pinned from the word it had when it was found has the hash, and its content.
#[test]
fn what_is_found_can_be_pinned() {
    explore(|| {
        let chains = Chains::new(&[(1, 0), (2, 0)], 2);
        let slot = &chains.slots[1];
        slot.unpin_last(slot.word()).unwrap();
        let evictor = spawn(&chains, |chains| {
            let slot = &chains.slots[1];
            let is_vacated = slot.vacate_unheld(false).is_some();
            if is_vacated {
                chains.index.unlink(&chains.slots, 0, slot);
                assert!(chains.register(1, 3, 0));
            }
            is_vacated
        });
        for n in [2, 3] {
            if let Some((slot, seen)) = chains.index.find(&chains.slots, key(n, 0))
                && slot.pin(seen, false).is_ok()
            {
                assert_eq!(slot.hash(), hash(n));
                assert_eq!(chains.content.read(slot.id()), n);
            }
        }
        let is_vacated = evictor.join().unwrap();
        chains.finish(vec![1, if is_vacated { 3 } else { 2 }]);
    });
}
