//! Retention directives by hash. See [`retention`](crate::retention).

use std::ops::{Bound, Range, RangeBounds};

use crate::SequenceHash;
use crate::blocks::BlockMetadata;
use crate::retention::Retention;

use super::BlockManager;

/// Retention: see [`retention`](crate::retention) for an example.
impl<T: BlockMetadata + Sync> BlockManager<T> {
    /// Gives a [retention directive](crate::retention) to a range of a sequence's tokens, and
    /// returns the number of blocks that received it.
    ///
    /// `seq_hashes` are the hashes of the sequence's blocks, starting with its first token.
    /// `tokens` is a range of token positions, `..` for all of them. The directive goes to
    /// every block, active or inactive, that contains at least one of these tokens, and
    /// replaces the block's directive if it has one. Hashes that this manager does not have are
    /// skipped, and a range that extends beyond the sequence is cut off at its end.
    ///
    /// This is not an access, and changes a block's place in the eviction order only through
    /// the priority.
    ///
    /// # What does it cost?
    ///
    /// O(blocks in the range) time. Lock-free, except for the first directive of the manager,
    /// which allocates the table of directives.
    pub fn set_retention(
        &self,
        seq_hashes: &[SequenceHash],
        tokens: impl RangeBounds<usize>,
        retention: Retention,
    ) -> usize {
        let blocks = blocks_of(&tokens, self.block_size(), seq_hashes.len());
        seq_hashes[blocks]
            .iter()
            .filter(|&&hash| self.store.retain_hash(hash, retention))
            .count()
    }
}

/// Returns which of a sequence's blocks contain tokens of the range.
fn blocks_of(
    tokens: &impl RangeBounds<usize>,
    block_size: usize,
    block_count: usize,
) -> Range<usize> {
    let start = match tokens.start_bound() {
        Bound::Included(&first) => first,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match tokens.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => usize::MAX,
    };
    if start >= end {
        return 0..0;
    }
    let end = end.div_ceil(block_size).min(block_count);
    (start / block_size).min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_at_least_one_token() {
        let of = |tokens: (Bound<usize>, Bound<usize>)| blocks_of(&tokens, 16, 4);
        let range = |tokens: Range<usize>| blocks_of(&tokens, 16, 4);
        assert_eq!(blocks_of(&.., 16, 4), 0..4);
        assert_eq!(range(0..16), 0..1);
        assert_eq!(range(15..17), 0..2);
        assert_eq!(range(16..16), 0..0);
        assert_eq!(range(63..1_000), 3..4);
        assert_eq!(range(64..1_000), 4..4);
        assert_eq!(range(1_000..1_001), 4..4);
        assert_eq!(blocks_of(&(20..=32), 16, 4), 1..3);
        assert_eq!(of((Bound::Excluded(15), Bound::Unbounded)), 1..4);
        assert_eq!(blocks_of(&(..=usize::MAX), 16, 4), 0..4);
        assert_eq!(blocks_of(&.., 16, 0), 0..0);
    }
}
