//! Matching: finding cached blocks by their hashes, and pinning them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::SequenceHash;
use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::engine::buffer;
use crate::metrics::Counter;
use crate::registry::Leftovers;

use super::BlockManager;

/// Matching.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Finds the longest prefix of `seq_hash` whose blocks this manager has, active or inactive,
    /// and returns a guard for each of them.
    ///
    /// Each block returned counts as one access. An inactive block may be missed while every
    /// available block is reserved for concurrent calls (allocations, matches, drops).
    ///
    /// Lock-free. The only heap allocation is the vector.
    #[must_use = "dropping the guards unpins the blocks"]
    pub fn match_blocks(&self, seq_hash: &[SequenceHash]) -> Vec<ImmutableBlock<T>> {
        let mut matched = Vec::new();
        // A vector is not allocated for a prompt of which there is nothing here.
        let may_match = seq_hash
            .first()
            .is_some_and(|&hash| self.store.may_match(hash));
        let room = if may_match {
            self.room_for(seq_hash)
        } else {
            0
        };
        self.match_up_to(room, seq_hash, &mut matched);
        tracing::debug!(
            num_hashes = seq_hash.len(),
            total_matched = matched.len(),
            "match_blocks"
        );
        matched
    }

    /// Finds the longest prefix of `seq_hashes` whose blocks this manager has, appends their
    /// guards to `blocks`, and returns their number.
    ///
    /// This is [`match_blocks`](Self::match_blocks) with a vector that you supply: as long as
    /// it has capacity, nothing is allocated on the heap.
    ///
    /// ```
    /// use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
    ///
    /// #[derive(Clone)]
    /// struct Gpu;
    ///
    /// let manager = BlockManager::<Gpu>::builder()
    ///     .block_count(8)
    ///     .block_size(16)
    ///     .registry(BlockRegistry::new())
    ///     .build()?;
    /// let root = SequenceHash::root(7);
    /// let prompt = [root, root.extend(8)];
    /// let block = manager.allocate_one().expect("8 blocks are free");
    /// drop(manager.register_block(block.stage(root, 16).expect("16 is the block size")));
    ///
    /// // Reuse the vector from request to request.
    /// let mut held = Vec::with_capacity(8);
    /// let cached = manager.match_into(&prompt, &mut held);
    /// assert_eq!(cached, 1);
    /// assert_eq!(prompt[cached..], [root.extend(8)]); // still to be computed
    ///
    /// manager.release_from(&mut held);
    /// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
    /// ```
    #[inline]
    pub fn match_into(
        &self,
        seq_hashes: &[SequenceHash],
        blocks: &mut Vec<ImmutableBlock<T>>,
    ) -> usize {
        self.match_up_to(self.room_for(seq_hashes), seq_hashes, blocks)
    }

    /// Returns for how many blocks a match of these hashes needs room. A prefix has no more blocks
    /// than the manager, unless it repeats hashes.
    #[inline]
    fn room_for(&self, seq_hashes: &[SequenceHash]) -> usize {
        seq_hashes.len().min(self.total_blocks())
    }

    /// Does what [`match_into`](Self::match_into) does, and gets room for `room` blocks first.
    #[inline]
    fn match_up_to(
        &self,
        room: usize,
        seq_hashes: &[SequenceHash],
        blocks: &mut Vec<ImmutableBlock<T>>,
    ) -> usize {
        let mut matched = self.append_prefix(room, seq_hashes, seq_hashes.len(), blocks);
        if room < seq_hashes.len() && matched == room && room > 0 {
            matched += self.match_rest(&seq_hashes[matched..], blocks);
        }
        self.finish_match(seq_hashes, matched);
        matched
    }

    /// Appends the guards of the rest of a prefix that has more blocks than the manager, because it
    /// repeats hashes.
    #[cold]
    fn match_rest(
        &self,
        seq_hashes: &[SequenceHash],
        blocks: &mut Vec<ImmutableBlock<T>>,
    ) -> usize {
        let mut matched = 0;
        loop {
            let rest = &seq_hashes[matched..];
            let room = self.room_for(rest);
            let found = self.append_prefix(room, rest, 0, blocks);
            matched += found;
            if found < room || matched == seq_hashes.len() {
                return matched;
            }
        }
    }

    /// Appends the guards of a prefix of `hashes`, at most `room` of them, and counts `requested`
    /// hashes.
    #[inline]
    fn append_prefix(
        &self,
        room: usize,
        hashes: &[SequenceHash],
        requested: usize,
        blocks: &mut Vec<ImmutableBlock<T>>,
    ) -> usize {
        buffer::append(blocks, room, ImmutableBlock::new, |room| {
            self.store.match_prefix(hashes, requested, room);
        })
    }

    /// Finds the block of one hash.
    ///
    /// This is [`match_blocks`](Self::match_blocks) without the vector: it allocates nothing on
    /// the heap.
    #[inline]
    #[must_use = "dropping the guard unpins the block"]
    pub fn match_one(&self, seq_hash: SequenceHash) -> Option<ImmutableBlock<T>> {
        let block = self.store.match_one(seq_hash).map(ImmutableBlock::new);
        let hits = usize::from(block.is_some());
        self.store.count_each([
            (Counter::MatchHashesRequested, 1),
            (Counter::MatchBlocksReturned, hits as u64),
        ]);
        self.finish_match(&[seq_hash], hits);
        block
    }

    /// Looks up every hash, without stopping at the first one that is missing.
    ///
    /// The result has one element per hash of the input, in the same order. Each block returned
    /// counts as one access; a repeated hash is matched repeatedly.
    ///
    /// Lock-free. The only heap allocation is the vector.
    ///
    /// ```
    /// # use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
    /// # #[derive(Clone)]
    /// # struct Gpu;
    /// # let manager = BlockManager::<Gpu>::builder()
    /// #     .block_count(8)
    /// #     .block_size(16)
    /// #     .registry(BlockRegistry::new())
    /// #     .build()?;
    /// let [missing, cached] = [SequenceHash::root(1), SequenceHash::root(2)];
    /// let block = manager.allocate_one().expect("8 blocks are free");
    /// drop(manager.register_block(block.stage(cached, 16).expect("16 is the block size")));
    ///
    /// assert!(manager.match_blocks(&[missing, cached]).is_empty());
    /// let found = manager.match_blocks_scattered(&[missing, cached]);
    /// assert!(found[0].is_none() && found[1].is_some());
    ///
    /// let by_hash = manager.scan_matches(&[missing, cached], false);
    /// assert_eq!(by_hash.len(), 1);
    /// assert!(by_hash.contains_key(&cached));
    /// # Ok::<(), kvbm_lockfree::manager::BlockManagerBuilderError>(())
    /// ```
    #[must_use = "dropping the guards unpins the blocks"]
    pub fn match_blocks_scattered(
        &self,
        seq_hash: &[SequenceHash],
    ) -> Vec<Option<ImmutableBlock<T>>> {
        let mut matched = Vec::with_capacity(seq_hash.len());
        self.store
            .match_each(seq_hash, |hold| matched.push(hold.map(ImmutableBlock::new)));
        let found = || {
            seq_hash
                .iter()
                .zip(&matched)
                .filter(|(_, block)| block.is_some())
        };
        let hits = found().count();
        self.store.count_each([
            (Counter::MatchHashesRequested, seq_hash.len() as u64),
            (Counter::MatchBlocksReturned, hits as u64),
        ]);
        let mut leftovers = Leftovers::new();
        for (&hash, _) in found() {
            self.registry.core().touch(hash, &mut leftovers);
        }
        self.notify_if_low();
        leftovers.settle();
        tracing::debug!(
            num_hashes = seq_hash.len(),
            total_matched = hits,
            "match_blocks_scattered"
        );
        matched
    }

    /// Looks up every hash and returns a map from those that this manager has to their guards.
    ///
    /// If `touch` is set, every hash of the input that is registered in any tier counts as
    /// accessed. [`match_blocks_scattered`](Self::match_blocks_scattered) has an example.
    ///
    /// Lock-free. The only heap allocation is the map.
    pub fn scan_matches(
        &self,
        seq_hashes: &[SequenceHash],
        touch: bool,
    ) -> HashMap<SequenceHash, ImmutableBlock<T>> {
        let mut found = HashMap::with_capacity(seq_hashes.len().min(self.total_blocks()));
        let mut leftovers = Leftovers::new();
        for &hash in seq_hashes {
            let is_here = match found.entry(hash) {
                Entry::Occupied(_) => true,
                Entry::Vacant(place) => match self.store.match_one(hash) {
                    Some(hold) => {
                        place.insert(ImmutableBlock::new(hold));
                        true
                    }
                    None => false,
                },
            };
            if touch && (is_here || self.registry.is_registered(hash)) {
                self.registry.core().touch(hash, &mut leftovers);
            }
        }
        self.store.count_each([
            (Counter::ScanHashesRequested, seq_hashes.len() as u64),
            (Counter::ScanBlocksReturned, found.len() as u64),
        ]);
        self.notify_if_low();
        leftovers.settle();
        found
    }

    /// Completes a match that found the first `matched` hashes: counts the accesses, and calls the
    /// low-watermark callback if blocks are running out.
    #[inline]
    fn finish_match(&self, hashes: &[SequenceHash], matched: usize) {
        if self.registry.core().tracker().is_some() {
            self.touch_matched(&hashes[..matched]);
        } else {
            self.notify_if_low();
        }
    }

    fn touch_matched(&self, matched: &[SequenceHash]) {
        let mut leftovers = Leftovers::new();
        self.registry.core().touch_all(matched, &mut leftovers);
        self.notify_if_low();
        leftovers.settle();
    }
}
