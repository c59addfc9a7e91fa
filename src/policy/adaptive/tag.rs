//! The numbers that stand for hashes in the records of their uses.

use crate::SequenceHash;

/// A nonzero number that distinguishes hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tag(u64);

impl Tag {
    pub(crate) fn of(hash: SequenceHash) -> Self {
        let bits = hash.as_u128();
        let folded = (bits >> 64) as u64 ^ (bits as u64).rotate_left(32);
        // Fibonacci hashing: the high half of a product depends on all bits.
        let product = u128::from(folded) * 0x9e37_79b9_7f4a_7c15;
        Self((product >> 64) as u64 ^ product as u64 | 1)
    }

    /// The tag that belongs to no hash.
    pub(crate) const NONE: Self = Self(0);

    /// Returns all bits of the tag.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// Returns evenly distributed bits, other than those that choose a set.
    pub(crate) fn low_half(self) -> u32 {
        self.0 as u32
    }

    /// Chooses one of `sets` sets.
    pub(crate) fn set(self, sets: usize) -> usize {
        (((self.0 >> 32) * sets as u64) >> 32) as usize
    }
}
