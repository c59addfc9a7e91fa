//! Table keys: a sequence hash together with its keyed hash.
//!
//! All tables keyed by content (a store's index, the registry's entries) use the same keyed
//! hash, so an operation computes it only once.
//!
//! # How is a hash keyed?
//!
//! With a [`Secret`] of 128 random bits per registry: each half of the sequence hash is combined
//! with one of the secret's, the two are multiplied, and the halves of the 128-bit product are
//! combined. Every bit of the result depends on both halves, and whether two hashes meet depends
//! on the secret. This is a single round of the *folded multiply* of wyhash, ahash and foldhash:
//! it takes a multiplication and three exclusive ors.
//!
//! One round suffices because the input is a hash already. What the secret has to prevent is that
//! sequence hashes, which derive from user input, are chosen so that they all land in the same
//! bucket. It is not a cryptographic hash: an attacker who could observe which hashes share a
//! bucket might learn the secret. No method of this crate tells.

use std::hash::{BuildHasher, RandomState};

use crate::SequenceHash;
use crate::sync::limits::{IS_REPEATABLE, KEYED_BITS};

/// A sequence hash and its keyed hash. See the module documentation.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) hash: SequenceHash,
    pub(crate) keyed: u64,
}

/// What the hashes of one registry are keyed with. See the module documentation.
#[derive(Clone, Copy)]
pub(crate) struct Secret([u64; 2]);

impl Secret {
    /// Returns a random secret, or a fixed one where runs must be repeatable.
    pub(crate) fn new() -> Self {
        if IS_REPEATABLE {
            return Self([0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344]);
        }
        let random = RandomState::new();
        Self([0, 1].map(|half: u8| random.hash_one(half)))
    }

    /// Returns a hash together with its keyed hash.
    #[inline(always)]
    pub(crate) fn key(self, hash: SequenceHash) -> Key {
        Key {
            hash,
            keyed: self.keyed(hash),
        }
    }

    /// Returns a keyed hash.
    #[inline(always)]
    pub(crate) fn keyed(self, hash: SequenceHash) -> u64 {
        let (bits, Self([low, high])) = (hash.as_u128(), self);
        let product = u128::from(bits as u64 ^ low) * u128::from((bits >> 64) as u64 ^ high);
        (product as u64 ^ (product >> 64) as u64) & KEYED_BITS
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
    use super::*;

    const HASHES: u32 = 100_000;

    #[test]
    fn the_meeting_hashes_meet_where_they_are_folded() {
        let all: HashSet<u128> = meeting_hashes(HASHES as usize)
            .map(|hash| hash.as_u128())
            .collect();
        let folded: HashSet<u64> = all.iter().map(|v| *v as u64 ^ (v >> 64) as u64).collect();
        assert_eq!((all.len(), folded.len()), (HASHES as usize, 1));
    }

    /// The longest chain in a table with twice as many buckets as hashes, if the buckets are chosen
    /// by the lowest bits of keyed hashes, and if by the highest.
    fn longest_chains(hashes: impl Iterator<Item = SequenceHash>) -> [u32; 2] {
        let secret = Secret::new();
        let bits = (2 * HASHES).next_power_of_two().ilog2();
        let mut lengths = [0, 1].map(|_| vec![0; 1 << bits]);
        for hash in hashes {
            let keyed = secret.keyed(hash);
            lengths[0][keyed as usize & ((1 << bits) - 1)] += 1;
            lengths[1][(keyed >> (64 - bits)) as usize] += 1;
        }
        lengths.map(|lengths| lengths.into_iter().max().unwrap())
    }

    /// 100,000 balls in 2^18 bins: the probability that any bin gets 30 is below
    /// 2^18 / 30! < 10^-26.
    #[test]
    fn hashes_with_a_structure_do_not_meet() {
        let all = 0..u64::from(HASHES);
        let of_bits = |bits: u128| -> SequenceHash {
            serde_json::from_value(bits.to_le_bytes().to_vec().into()).unwrap()
        };
        for longest in [
            longest_chains(meeting_hashes(HASHES as usize)),
            longest_chains(all.clone().map(|n| SequenceHash::new(n, None, 0))),
            longest_chains(all.clone().map(|n| SequenceHash::new(7, Some(n), 1))),
            longest_chains(all.clone().map(|n| SequenceHash::new(n, Some(n), n))),
            longest_chains(all.clone().map(|n| of_bits(n.into()))),
            longest_chains(all.clone().map(|n| of_bits(u128::from(n) << 64))),
            longest_chains(all.clone().map(|n| of_bits(u128::from(n) << 40))),
            longest_chains(all.clone().map(|n| of_bits(u128::from(n) << 111))),
        ] {
            assert!(longest.iter().all(|&longest| longest < 30), "{longest:?}");
        }
    }
}
