//! Registration: a block's content can be matched from then on.

use crate::blocks::{BlockMetadata, CompleteBlock, ImmutableBlock};
use crate::engine::Registered;
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::user_code::Panics;

use super::BlockManager;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Registers blocks under their hashes, in the order of the input, and
    /// returns a guard for each in the same order. See
    /// [`register_block`](Self::register_block).
    ///
    /// The metric `registrations` counts the blocks once all of them can be
    /// matched.
    ///
    /// # Panics
    ///
    /// As [`register_block`](Self::register_block).
    pub fn register_blocks(&self, blocks: Vec<CompleteBlock<T>>) -> Vec<ImmutableBlock<T>> {
        let mut registered = Vec::new();
        self.register_into(blocks, &mut registered);
        registered
    }

    /// Registers blocks under their hashes, appends the guards to `registered` in
    /// the same order and returns how many they are. As
    /// [`register_blocks`](Self::register_blocks), without vectors of its own:
    /// `blocks` may be a `Vec::drain`.
    ///
    /// # Panics
    ///
    /// If a block is another manager's: the blocks before it are registered, and
    /// their guards are in `registered`.
    pub fn register_into(
        &self,
        blocks: impl IntoIterator<Item = CompleteBlock<T>>,
        registered: &mut Vec<ImmutableBlock<T>>,
    ) -> usize {
        let before = registered.len();
        let mut leftovers = Leftovers::new();
        let mut panics = Panics::new();
        // The iterator is the caller's.
        panics.catch(|| {
            let blocks = blocks.into_iter();
            registered.reserve(blocks.size_hint().0);
            registered.extend(blocks.map(|block| self.register(block, &mut leftovers)));
        });
        let count = registered.len() - before;
        // Callers read this count as a watermark: not before all can be matched.
        self.store.count(Counter::Registrations, count as u64);
        self.tell_if_low();
        leftovers.catch(|| panics.resume());
        leftovers.settle();
        count
    }

    /// Registers a block under its hash: from now on it can be matched.
    ///
    /// If another block of this manager holds the hash, the
    /// [duplication policy](crate::blocks::BlockDuplicationPolicy) decides: the guard returned is
    /// that of the block as a duplicate, or that of the other one, and the block
    /// is freed; its different `block_id` tells. A hash that was not registered
    /// counts as an access. Lock-free; no heap allocation in a steady state.
    ///
    /// # Panics
    ///
    /// If the block is another manager's; nothing has happened then.
    pub fn register_block(&self, block: CompleteBlock<T>) -> ImmutableBlock<T> {
        let mut leftovers = Leftovers::new();
        let block = self.register(block, &mut leftovers);
        self.store.count(Counter::Registrations, 1);
        self.tell_if_low();
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
