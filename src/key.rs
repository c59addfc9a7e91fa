//! Keys: a sequence hash together with its keyed hash.
//!
//! Every table that is looked up by content (a store's index, the registry's entries) is
//! indexed by the same keyed hash, so an operation computes it once.

use ahash::RandomState;

use crate::SequenceHash;
use crate::sync::limits::KEYED_BITS;

/// A sequence hash with its keyed hash, which is computed once an operation and
/// serves every table the operation consults.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) hash: SequenceHash,
    pub(crate) keyed: u64,
}

impl Key {
    /// Keyed: sequence hashes are made from user input, and chosen ones must
    /// not all meet in one bucket.
    #[inline]
    pub(crate) fn new(hasher: &RandomState, hash: SequenceHash) -> Self {
        Self {
            hash,
            keyed: hasher.hash_one(hash.as_u128()) & KEYED_BITS,
        }
    }
}

#[cfg(all(test, not(kvbm_loom)))]
pub(crate) mod testing {
    use crate::SequenceHash;

    /// Different hashes that a table which folds them with one XOR puts into the
    /// same bucket, whatever its size: the fold that `kvbm-logical` has in
    /// `pools::IdHasher`, for its maps.
    pub(crate) fn meeting_hashes(count: usize) -> impl Iterator<Item = SequenceHash> {
        // The parent's 54 bits lie where the fold puts the hash's upper 54.
        (0..count as u64).map(|n| SequenceHash::new(n << 10, Some(n), 1))
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use std::collections::HashSet;

    use super::testing::meeting_hashes;

    const HASHES: u32 = 100_000;

    #[test]
    fn the_meeting_hashes_meet_where_they_are_folded() {
        let all: HashSet<u128> = meeting_hashes(HASHES as usize)
            .map(|hash| hash.as_u128())
            .collect();
        let folded: HashSet<u64> = all.iter().map(|v| *v as u64 ^ (v >> 64) as u64).collect();
        assert_eq!((all.len(), folded.len()), (HASHES as usize, 1));
    }
}
