//! Models of a victim cache: its holder, which fills it and pops from it; a thread of another
//! shard that pops; and a release of a prefetched block.
//!
//! A block is evicted once, and none is lost: a block that is inactive in the end is in the
//! policy's order, or in the victim cache that its slot names.

use std::sync::Arc;

use super::plane::PlaneBlocks;
use super::{explore, key, make_inactive, make_primary, spawn};
use crate::engine::parts::victim_cache::VictimCache;

struct Shard {
    blocks: PlaneBlocks,
    victim_cache: VictimCache,
}

impl Shard {
    /// Creates inactive blocks that have been popped from the order.
    fn new(count: u32) -> Arc<Self> {
        let blocks = PlaneBlocks::new(count);
        for slot in &blocks.slots {
            make_primary(slot, key(u64::from(slot.id()), 0));
            make_inactive(slot);
        }
        Arc::new(Self {
            blocks,
            victim_cache: VictimCache::new(0),
        })
    }

    /// Fills the empty victim cache. Returns whether no other thread held it.
    fn fill(&self, victims: &[u32]) -> bool {
        let prefetched = self.victim_cache.try_hold();
        let is_held = prefetched.is_some();
        if let Some(mut prefetched) = prefetched {
            prefetched.fill(&self.blocks.slots, victims);
        }
        is_held
    }

    /// Evicts the next block of the victim cache. Returns how many it has evicted: one or none.
    fn evict(&self) -> usize {
        let Some(mut prefetched) = self.victim_cache.try_hold() else {
            return 0;
        };
        while let Some(slot) = prefetched.pop(&self.blocks.slots) {
            if slot.vacate_unheld(false).is_some() {
                return 1;
            }
        }
        0
    }

    /// Pins a block and releases it again.
    fn use_once(&self, at: usize) {
        let slot = &self.blocks.slots[at];
        if self.blocks.pin(slot) {
            self.blocks.unpin(slot);
        }
    }

    /// Checks that every block was evicted, or can still be found.
    fn finish(&self, evicted: usize) {
        let listed = self.blocks.finish();
        let mut prefetched = Vec::new();
        self.victim_cache
            .try_hold()
            .unwrap()
            .for_each(&self.blocks.slots, |slot| prefetched.push(slot));
        let mut inactive = 0;
        for slot in &self.blocks.slots {
            if slot.word().is_inactive() {
                inactive += 1;
                let is_prefetched =
                    prefetched.contains(&slot.id()) && slot.victim_cache() == Some(0);
                assert!(
                    listed.contains_key(&slot.id()) || is_prefetched,
                    "block {} is lost",
                    slot.id()
                );
            }
        }
        assert_eq!(evicted + inactive, self.blocks.slots.len());
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
        // Otherwise the other thread held the victim cache, and the blocks are in no list.
        if is_filled {
            shard.finish(own + away);
        }
    });
}
