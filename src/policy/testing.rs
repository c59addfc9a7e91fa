//! What the tests of several policies share.

use dynamo_tokens::PositionalLineageHash;

/// Xorshift: the tests want many cheap numbers and the same ones every time.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number in `0..bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }
}

/// A hash for tests in which the content does not matter.
pub(super) fn any_hash() -> PositionalLineageHash {
    PositionalLineageHash::root(0)
}

/// A hash made from raw bits, as deserialising untrusted bytes would make it.
pub(super) fn raw_hash(bits: u128) -> PositionalLineageHash {
    serde_json::from_value(serde_json::json!(bits.to_be_bytes())).expect("sixteen bytes are a hash")
}
