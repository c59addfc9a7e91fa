//! An eviction policy as a user might write it.

use std::collections::VecDeque;

use kvbm_lockfree::BlockId;
use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};

/// Evicts in the order of release. Skips blocks that have been used again since.
#[derive(Default)]
pub struct Fifo {
    order: VecDeque<(BlockId, u64)>,
    /// The current release of each block, or 0 if there is none.
    releases: Vec<u64>,
    last: u64,
}

impl EvictionPolicy for Fifo {
    fn insert(&mut self, block: InactiveBlock) {
        self.last += 1;
        if self.releases.len() <= block.block_id {
            self.releases.resize(block.block_id + 1, 0);
        }
        self.releases[block.block_id] = self.last;
        self.order.push_back((block.block_id, self.last));
    }

    fn remove(&mut self, block_id: BlockId) {
        self.releases[block_id] = 0;
    }

    fn pop(&mut self) -> Option<BlockId> {
        loop {
            let (block_id, release) = self.order.pop_front()?;
            if self.releases[block_id] == release {
                self.releases[block_id] = 0;
                return Some(block_id);
            }
        }
    }
}
