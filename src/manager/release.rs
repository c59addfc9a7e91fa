//! Letting go of many blocks at once.

use crate::blocks::{BlockMetadata, ImmutableBlock, MutableBlock};

use super::BlockManager;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Drops all of `blocks`, in their order, and leaves the vector empty. As
    /// `blocks.clear()`, cheaper for several blocks: what threads share is written
    /// once for all of them.
    ///
    /// Until this returns none of them counts as available.
    pub fn release_from(&self, blocks: &mut Vec<ImmutableBlock<T>>) {
        let holds = blocks.drain(..).map(ImmutableBlock::into_hold);
        self.store.unpin_all(holds).settle();
    }

    /// Drops all of `blocks`, which makes them free, and leaves the vector empty. As
    /// `blocks.clear()`, cheaper for several blocks: what threads share is written
    /// once for all of them.
    ///
    /// Until this returns none of them counts as available.
    pub fn free_from(&self, blocks: &mut Vec<MutableBlock<T>>) {
        self.store
            .free_all(blocks.drain(..).map(MutableBlock::into_hold));
    }
}
