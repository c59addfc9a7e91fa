//! Stashes: a holder that fills and pops, a release that takes back, and an away
//! thread that pops.
//!
//! A block is evicted once, and none is lost: what is inactive in the end is in
//! the policy's order, or in the victim_cache whose number its slot has.

use std::sync::Arc;

use super::plane::Notes;
use super::{explore, key, make_inactive, make_primary, spawn};
use crate::engine::parts::victim_cache::VictimCache;

struct Shard {
    notes: Notes,
    victim_cache: VictimCache,
}

impl Shard {
    /// Inactive blocks that have been popped from the order.
    fn new(blocks: u32) -> Arc<Self> {
        let notes = Notes::new(blocks);
        for slot in &notes.slots {
            make_primary(slot, key(u64::from(slot.id()), 0));
            make_inactive(slot);
        }
        Arc::new(Self {
            notes,
            victim_cache: VictimCache::new(0),
        })
    }

    /// Fills the empty victim_cache. Returns whether nobody had it.
    fn fill(&self, blocks: &[u32]) -> bool {
        let queue = self.victim_cache.try_hold();
        let is_held = queue.is_some();
        if let Some(mut queue) = queue {
            queue.fill(&self.notes.slots, blocks);
        }
        is_held
    }

    /// Evicts the next block of the victim_cache. Returns how many.
    fn evict(&self) -> usize {
        let Some(mut queue) = self.victim_cache.try_hold() else {
            return 0;
        };
        while let Some(slot) = queue.pop(&self.notes.slots) {
            if slot.vacate_unheld(false).is_some() {
                return 1;
            }
        }
        0
    }

    fn use_once(&self, at: usize) {
        let slot = &self.notes.slots[at];
        if self.notes.pin(slot) {
            self.notes.unpin(slot);
        }
    }

    fn finish(&self, evicted: usize) {
        let listed = self.notes.finish();
        let mut prefetched = Vec::new();
        self.victim_cache
            .try_hold()
            .unwrap()
            .for_each(&self.notes.slots, |slot| prefetched.push(slot));
        let mut inactive = 0;
        for slot in &self.notes.slots {
            if slot.word().is_inactive() {
                inactive += 1;
                let is_stashed = prefetched.contains(&slot.id()) && slot.victim_cache() == Some(0);
                assert!(
                    listed.contains_key(&slot.id()) || is_stashed,
                    "block {} is lost",
                    slot.id()
                );
            }
        }
        assert_eq!(evicted + inactive, self.notes.slots.len());
    }
}

#[test]
fn a_release_takes_a_block_back() {
    explore(|| {
        let shard = Shard::new(2);
        assert!(shard.fill(&[0, 1]));
        let user = spawn(&shard, |shard| shard.use_once(0));
        let away = spawn(&shard, Shard::evict);
        let own = shard.evict();
        user.join().unwrap();
        let away = away.join().unwrap();
        shard.finish(own + away);
    });
}

#[test]
fn a_cache_is_filled_while_a_block_is_released() {
    explore(|| {
        let shard = Shard::new(2);
        let user = spawn(&shard, |shard| shard.use_once(1));
        let away = spawn(&shard, Shard::evict);
        let is_filled = shard.fill(&[1, 0]);
        let own = shard.evict();
        user.join().unwrap();
        let away = away.join().unwrap();
        // Else the away thread had the victim_cache, and the blocks are in no list.
        if is_filled {
            shard.finish(own + away);
        }
    });
}
