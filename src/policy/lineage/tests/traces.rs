//! Blocks that can come and go without a trace.

use super::{Checked, chain, hash, relative};
use crate::SequenceHash;
use crate::policy::lineage::model::{LeafOrder, Model};
use crate::policy::lineage::tick::TickLeaves;
use crate::policy::slot_policy::SlotPolicy;
use crate::policy::testing::Random;

/// Listing blocks that leave no trace, and taking them out again in any order, changes nothing
/// that comes after.
#[test]
fn what_leaves_no_trace_leaves_none() {
    let mut tried = 0;
    for seed in 0..40 {
        let slots = 4 + seed % 20;
        let mut random = Random::new(seed);
        let mut visited = Checked::<TickLeaves>::new(slots as usize);
        let mut model = Model::new(LeafOrder::Tick);
        let mut hashes: Vec<SequenceHash> =
            (0..slots).map(|slot| hash(900 + slot, 800, 7)).collect();
        for _ in 0..600 {
            let slot = random.below(slots) as u32;
            match random.below(6) {
                0..=2 => {
                    let hash = relative(&mut random, false, 0);
                    if hashes.contains(&hash) && hashes[slot as usize] != hash {
                        continue;
                    }
                    hashes[slot as usize] = hash;
                    model.insert(slot, hash);
                    visited.insert(slot, hash);
                }
                3 => {
                    model.remove(slot);
                    visited.remove(slot);
                }
                4 => assert_eq!(visited.pop(), model.pop()),
                _ => {
                    let first = random.below(slots) as u32;
                    let mut guests: Vec<u32> = (first..slots as u32).chain(0..first).collect();
                    guests.retain(|&slot| visited.0.leaves_no_trace(slot, hashes[slot as usize]));
                    tried += guests.len();
                    for &slot in &guests {
                        visited.insert(slot, hashes[slot as usize]);
                    }
                    if random.below(2) == 0 {
                        guests.reverse();
                    }
                    for slot in guests {
                        visited.remove(slot);
                    }
                }
            }
        }
        while let Some(victim) = model.pop() {
            assert_eq!(visited.pop(), Some(victim));
        }
        assert!(visited.drain().is_empty());
    }
    assert!(tried > 5_000, "{tried}");
}

#[test]
fn a_ghost_made_by_a_child_would_keep_a_trace() {
    let chain = chain(10, 3);
    let mut lineage = Checked::<TickLeaves>::new(4);
    let traceless = |lineage: &Checked<TickLeaves>, slot: u32| {
        lineage.0.leaves_no_trace(slot, chain[slot as usize])
    };
    assert!((0..3).all(|slot| traceless(&lineage, slot)));
    lineage.insert(2, chain[2]);
    assert!(traceless(&lineage, 0));
    assert!(!traceless(&lineage, 1));
    assert!(!traceless(&lineage, 2));
    lineage.insert(1, chain[1]);
    lineage.remove(1);
    assert!(traceless(&lineage, 1));
    // The root has no parent to link to.
    assert!(traceless(&lineage, 0));
}
