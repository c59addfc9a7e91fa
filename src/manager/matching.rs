//! Matching: getting hold of blocks by their hashes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::SequenceHash;
use crate::blocks::{BlockMetadata, ImmutableBlock};
use crate::metrics::Counter;
use crate::registry::Leftovers;

use super::BlockManager;

impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Finds the longest prefix of `seq_hash` whose blocks this manager has,
    /// active or inactive, and returns a guard for each.
    ///
    /// Each block returned counts as one access. While every available block is
    /// promised to other calls under way (allocations, matches, drops), an inactive
    /// block may be missed. Lock-free; the only heap allocation is the vector.
    pub fn match_blocks(&self, seq_hash: &[SequenceHash]) -> Vec<ImmutableBlock<T>> {
        let mut matched = Vec::new();
        self.match_into(seq_hash, &mut matched);
        tracing::debug!(
            num_hashes = seq_hash.len(),
            total_matched = matched.len(),
            "match_blocks"
        );
        matched
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

    /// Finds the block of one hash. As [`match_blocks`](Self::match_blocks),
    /// without the vector.
    #[inline]
    pub fn match_one(&self, seq_hash: SequenceHash) -> Option<ImmutableBlock<T>> {
        let block = self.store.match_one(seq_hash).map(ImmutableBlock::new);
        let hashes = [seq_hash];
        self.finish_match(1, &hashes[..usize::from(block.is_some())]);
        block
    }

    /// Looks for the block of every hash, and does not stop at those that are
    /// missing: the result has one place for each hash of the input.
    ///
    /// Each block returned counts as one access, and a hash that is repeated is
    /// matched repeatedly. Lock-free; the only heap allocation is the vector.
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
        self.tell_if_low();
        leftovers.settle();
        tracing::debug!(
            num_hashes = seq_hash.len(),
            total_matched = hits,
            "match_blocks_scattered"
        );
        matched
    }

    /// The blocks of those hashes that this manager has, by hash.
    ///
    /// If `touch` is set, counts an access for every hash of the input that is
    /// registered in any tier. Lock-free; allocates the map.
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
        self.tell_if_low();
        leftovers.settle();
        found
    }

    /// The end of a match that found `matched`.
    #[inline]
    fn finish_match(&self, requested: usize, matched: &[SequenceHash]) {
        self.store.count_each([
            (Counter::MatchHashesRequested, requested as u64),
            (Counter::MatchBlocksReturned, matched.len() as u64),
        ]);
        if self.registry.core().tracker().is_some() {
            self.touch_matched(matched);
        } else {
            self.tell_if_low();
        }
    }

    fn touch_matched(&self, matched: &[SequenceHash]) {
        let mut leftovers = Leftovers::new();
        self.registry.core().touch_all(matched, &mut leftovers);
        self.tell_if_low();
        leftovers.settle();
    }
}
