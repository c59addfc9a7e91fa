//! The methods that allocate nothing: results go to the caller's buffers.

use crate::SequenceHash;
use crate::blocks::{BlockMetadata, CompleteBlock, ImmutableBlock, MutableBlock};
use crate::metrics::Counter;
use crate::registry::Leftovers;
use crate::user_code::Panics;

use super::BlockManager;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Allocates one block. As [`allocate_blocks`](Self::allocate_blocks),
    /// without the vector.
    #[inline]
    pub fn allocate_one(&self) -> Option<MutableBlock<T>> {
        let mut block = None;
        let leftovers = self
            .reserve(1)?
            .take(|hold| block = Some(MutableBlock::new(hold)), |_evicted| {});
        self.tell_if_low();
        leftovers.settle();
        block
    }

    /// Allocates `count` blocks and appends them to `blocks`, or none and
    /// returns `false`. As [`allocate_blocks`](Self::allocate_blocks), without a
    /// vector of its own.
    #[inline]
    pub fn allocate_into(&self, count: usize, blocks: &mut Vec<MutableBlock<T>>) -> bool {
        self.allocate_onto(count, blocks, |_evicted| {})
    }

    /// As [`allocate_into`](Self::allocate_into), and appends the hashes of the
    /// blocks that were evicted for it to `evicted`, in their order.
    ///
    /// They are those of the last blocks appended: the free ones come first.
    pub fn allocate_into_with_evictions(
        &self,
        count: usize,
        blocks: &mut Vec<MutableBlock<T>>,
        evicted: &mut Vec<SequenceHash>,
    ) -> bool {
        self.allocate_onto(count, blocks, |hash| evicted.push(hash))
    }

    #[inline]
    fn allocate_onto(
        &self,
        count: usize,
        blocks: &mut Vec<MutableBlock<T>>,
        evicted: impl FnMut(SequenceHash),
    ) -> bool {
        // Before there is memory for them: a count out of all reason is refused,
        // not attempted.
        let Some(reserved) = self.reserve(count) else {
            return false;
        };
        blocks.reserve(count);
        let leftovers = reserved.take(|hold| blocks.push(MutableBlock::new(hold)), evicted);
        self.tell_if_low();
        leftovers.settle();
        true
    }

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

    /// Finds the block of one hash. As [`match_blocks`](Self::match_blocks),
    /// without the vector.
    #[inline]
    pub fn match_one(&self, seq_hash: SequenceHash) -> Option<ImmutableBlock<T>> {
        let block = self.store.match_one(seq_hash).map(ImmutableBlock::new);
        let hashes = [seq_hash];
        self.finish_match(1, &hashes[..usize::from(block.is_some())]);
        block
    }

    /// Finds the longest prefix of `seq_hashes` whose blocks this manager has,
    /// appends their guards to `blocks` and returns how many they are. As
    /// [`match_blocks`](Self::match_blocks), without a vector of its own.
    #[inline]
    pub fn match_into(
        &self,
        seq_hashes: &[SequenceHash],
        blocks: &mut Vec<ImmutableBlock<T>>,
    ) -> usize {
        // More than there are blocks cannot be matched.
        blocks.reserve(seq_hashes.len().min(self.total_blocks()));
        let matched = self
            .store
            .match_prefix(seq_hashes, |hold| blocks.push(ImmutableBlock::new(hold)));
        self.finish_match(seq_hashes.len(), &seq_hashes[..matched]);
        matched
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
}
