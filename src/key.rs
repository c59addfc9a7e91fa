//! Table keys: a sequence hash together with its keyed hash.
//!
//! All tables keyed by content (a store's index, the registry's entries) use the same keyed
//! hash, so an operation computes it only once.

use ahash::RandomState;

use crate::SequenceHash;
use crate::sync::limits::KEYED_BITS;

/// A sequence hash and its keyed hash. See the module documentation.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) hash: SequenceHash,
    pub(crate) keyed: u64,
}

impl Key {
    /// Hashes with a secret key: sequence hashes derive from user input, and an attacker must
    /// not be able to choose ones that all land in the same bucket.
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

    /// Returns distinct hashes that collide in every table that folds a hash with a single
    /// XOR, whatever the table's size. The maps of `kvbm-logical` do so, in `pools::IdHasher`.
    pub(crate) fn meeting_hashes(count: usize) -> impl Iterator<Item = SequenceHash> {
        // The fold puts the upper 54 bits of the hash where the parent's 54 bits are.
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
