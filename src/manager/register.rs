//! Registration: making the content of blocks matchable.

use crate::blocks::{BlockMetadata, CompleteBlock, ImmutableBlock};
use crate::engine::Registered;
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::user_code::Panics;

use super::BlockManager;

/// Registration.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Registers blocks under their hashes, in the order of the input, and returns a guard for
    /// each of them in the same order.
    ///
    /// Each block is treated as by [`register_block`](Self::register_block). The metric
    /// `registrations` counts the blocks after all of them have become matchable.
    ///
    /// # Panics
    ///
    /// Panics if a block belongs to another manager. The blocks before it have been registered;
    /// the others are freed.
    pub fn register_blocks(&self, blocks: Vec<CompleteBlock<T>>) -> Vec<ImmutableBlock<T>> {
        let mut registered = Vec::new();
        self.register_into(blocks, &mut registered);
        registered
    }

    /// Registers blocks under their hashes, appends the guards to `registered` in the same
    /// order, and returns their number.
    ///
    /// This is [`register_blocks`](Self::register_blocks) without vectors of its own: `blocks`
    /// may be a [`Vec::drain`], and as long as `registered` has capacity, nothing is allocated
    /// on the heap.
    ///
    /// # Panics
    ///
    /// Panics if a block belongs to another manager. The blocks before it have been registered,
    /// and their guards are in `registered`.
    pub fn register_into(
        &self,
        blocks: impl IntoIterator<Item = CompleteBlock<T>>,
        registered: &mut Vec<ImmutableBlock<T>>,
    ) -> usize {
        let before = registered.len();
        let mut leftovers = Leftovers::new();
        let mut panics = Panics::new();
        // The iterator is user code and may panic.
        panics.catch(|| {
            let blocks = blocks.into_iter();
            registered.reserve(blocks.size_hint().0);
            registered.extend(blocks.map(|block| self.register(block, &mut leftovers)));
        });
        let count = registered.len() - before;
        // Users read this counter as "so many blocks can be matched": count after the last one.
        self.store.count(Counter::Registrations, count as u64);
        self.notify_if_low();
        leftovers.catch(|| panics.resume());
        leftovers.settle();
        count
    }

    /// Registers a block under its hash, which makes it matchable.
    ///
    /// A hash that was not registered before counts as accessed. Lock-free; in a steady state,
    /// nothing is allocated on the heap.
    ///
    /// # What if another block has the same hash?
    ///
    /// The [duplication policy](crate::blocks::BlockDuplicationPolicy) decides. If it allows
    /// duplicates, the block becomes one, and the guard returned is the duplicate's. If it
    /// rejects them, the block is freed, and the guard returned is that of the other block; you
    /// can tell by its `block_id`.
    ///
    /// # Panics
    ///
    /// Panics if the block belongs to another manager. Nothing is registered then, and the
    /// block is freed.
    pub fn register_block(&self, block: CompleteBlock<T>) -> ImmutableBlock<T> {
        let mut leftovers = Leftovers::new();
        let block = self.register(block, &mut leftovers);
        self.store.count(Counter::Registrations, 1);
        self.notify_if_low();
        leftovers.settle();
        block
    }

    #[inline]
    fn register(&self, block: CompleteBlock<T>, leftovers: &mut Leftovers) -> ImmutableBlock<T> {
        assert!(
            block.is_of(&self.store),
            "block {} belongs to another manager",
            block.block_id()
        );
        let core = self.registry.core();
        let ticket = core.begin(block.key(), leftovers);
        let registered = self
            .store
            .register(block.into_hold(), self.duplication_policy, leftovers);
        let hold = match registered {
            Registered::Primary(hold, key) => {
                ticket.commit(key, &*self.store, leftovers);
                hold
            }
            Registered::Duplicate(hold) | Registered::Existing(hold) => {
                ticket.abandon(leftovers);
                hold
            }
        };
        ImmutableBlock::new(hold)
    }
}
