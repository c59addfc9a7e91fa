//! What the tests of several policies share.

use dynamo_tokens::PositionalLineageHash;

/// A xorshift generator: many cheap numbers, the same in every run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// Returns a hash for tests in which the content does not matter.
pub(crate) fn any_hash() -> PositionalLineageHash {
    PositionalLineageHash::root(0)
}

/// Returns a hash made from raw bits, as deserializing untrusted bytes would make it.
pub(crate) fn raw_hash(bits: u128) -> PositionalLineageHash {
    serde_json::from_value(serde_json::json!(bits.to_be_bytes())).expect("sixteen bytes are a hash")
}
