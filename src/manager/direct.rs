//! The methods that allocate nothing: results go to the caller's buffers.

use crate::SequenceHash;
use crate::blocks::{BlockMetadata, CompleteBlock, ImmutableBlock, MutableBlock};

use super::BlockManager;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Allocates one block. As [`allocate_blocks`](Self::allocate_blocks),
    /// without the vector.
    #[inline]
    pub fn allocate_one(&self) -> Option<MutableBlock<T>> {
        let mut block = None;
        self.reserve(1)?
            .take(|slot| block = Some(MutableBlock::new(slot)), |_evicted| {});
        self.tell_if_low();
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
        reserved.take(|slot| blocks.push(MutableBlock::new(slot)), evicted);
        self.tell_if_low();
        true
    }

    /// Drops all of `blocks`, in their order, and leaves the vector empty. As
    /// `blocks.clear()`, cheaper for several blocks: what threads share is written
    /// once for all of them.
    ///
    /// Until this returns none of them counts as available.
    pub fn release_from(&self, blocks: &mut Vec<ImmutableBlock<T>>) {
        // A guard of another manager goes its own way.
        let slots = blocks
            .drain(..)
            .filter_map(|block| block.into_slot_of(&self.store));
        self.store.unpin_all(slots);
    }

    /// Drops all of `blocks`, which makes them free, and leaves the vector empty. As
    /// `blocks.clear()`, cheaper for several blocks: what threads share is written
    /// once for all of them.
    ///
    /// Until this returns none of them counts as available.
    pub fn free_from(&self, blocks: &mut Vec<MutableBlock<T>>) {
        // A guard of another manager goes its own way.
        let slots = blocks
            .drain(..)
            .filter_map(|block| block.into_slot_of(&self.store));
        self.store.free_all(slots);
    }

    /// Finds the block of one hash. As [`match_blocks`](Self::match_blocks),
    /// without the vector.
    #[inline]
    pub fn match_one(&self, seq_hash: SequenceHash) -> Option<ImmutableBlock<T>> {
        let block = self.store.match_one(seq_hash).map(ImmutableBlock::new);
        let hashes = [seq_hash];
        self.count_match(1, &hashes[..usize::from(block.is_some())]);
        self.tell_if_low();
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
            .match_prefix(seq_hashes, |slot| blocks.push(ImmutableBlock::new(slot)));
        self.count_match(seq_hashes.len(), &seq_hashes[..matched]);
        self.tell_if_low();
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
        let blocks = blocks.into_iter();
        registered.reserve(blocks.size_hint().0);
        let before = registered.len();
        registered.extend(blocks.map(|block| self.register(block)));
        let count = registered.len() - before;
        // Callers read this count as a watermark: not before all can be matched.
        self.metrics.inc_registrations_by(count as u64);
        self.tell_if_low();
        count
    }
}
