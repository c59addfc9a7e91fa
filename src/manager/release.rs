//! Release: dropping many guards at once.

use crate::blocks::{BlockMetadata, ImmutableBlock, MutableBlock};
use crate::engine::buffer;

use super::BlockManager;

/// Release.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Drops all of `blocks` in order and leaves the vector empty, with its capacity.
    ///
    /// This does what `blocks.clear()` does, but is cheaper for several blocks, since memory
    /// shared between threads is written once for all of them. None of the blocks counts as
    /// available before this returns.
    pub fn release_from(&self, blocks: &mut Vec<ImmutableBlock<T>>) {
        let holds = buffer::drain(blocks, ImmutableBlock::into_hold);
        self.store.unpin_all(holds).settle();
    }

    /// Drops all of `blocks`, which frees them, and leaves the vector empty, with its capacity.
    ///
    /// This does what `blocks.clear()` does, but is cheaper for several blocks, since memory
    /// shared between threads is written once for all of them. None of the blocks counts as
    /// available before this returns.
    pub fn free_from(&self, blocks: &mut Vec<MutableBlock<T>>) {
        self.store
            .free_all(blocks.drain(..).map(MutableBlock::into_hold));
    }
}
