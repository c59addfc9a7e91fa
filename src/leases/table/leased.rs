//! How many blocks are leased.

use crate::BlockId;

/// The number of leases that hold each block, and of blocks that any lease holds.
#[derive(Default)]
pub(super) struct LeasedBlocks {
    /// By block. Empty before the first lease: it costs no memory to who has no leases, and no pass
    /// over it, since new memory is zero.
    leases: Vec<u32>,
    blocks: usize,
}

impl LeasedBlocks {
    /// Counts the blocks of a new lease. The manager has `block_count` blocks.
    pub(super) fn add(&mut self, blocks: impl Iterator<Item = BlockId>, block_count: usize) {
        if self.leases.is_empty() {
            self.leases = vec![0; block_count];
        }
        for block in blocks {
            let leases = &mut self.leases[block];
            *leases += 1;
            self.blocks += usize::from(*leases == 1);
        }
    }

    /// Counts blocks that a lease no longer holds.
    pub(super) fn remove(&mut self, blocks: impl Iterator<Item = BlockId>) {
        for block in blocks {
            let leases = &mut self.leases[block];
            *leases -= 1;
            self.blocks -= usize::from(*leases == 0);
        }
    }

    /// Returns the number of leased blocks. A block with several leases counts once.
    pub(super) fn count(&self) -> usize {
        self.blocks
    }
}
