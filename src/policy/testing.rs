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

/// Returns one of a few related hashes, three at each of six positions. With `twins`, the parent
/// is any of the three before; otherwise, a hash always has the same parent.
pub(crate) fn relative(
    random: &mut Random,
    twins: bool,
    first_position: u64,
) -> PositionalLineageHash {
    let depth = random.below(6);
    let current = random.below(3);
    let parent = if twins {
        random.below(3)
    } else {
        (current * 7 + depth) % 3
    };
    PositionalLineageHash::new(
        10 * depth + 10 + current,
        Some(10 * depth + parent),
        first_position + depth,
    )
}

/// The numbers by which the order of a shard knows its slots: the number that was given back last
/// is given out first.
#[derive(Default)]
pub(crate) struct Numbers {
    slots: Vec<Option<u32>>,
    vacant: Vec<u32>,
}

impl Numbers {
    /// Returns the number of `slot`, if it has one.
    pub(crate) fn of(&self, slot: u32) -> Option<u32> {
        let number = self.slots.iter().position(|&of| of == Some(slot))?;
        Some(number as u32)
    }

    /// Returns the number of `slot`, which it is given if it has none.
    pub(crate) fn give(&mut self, slot: u32) -> u32 {
        self.of(slot).unwrap_or_else(|| {
            let number = self.vacant.pop().unwrap_or_else(|| {
                self.slots.push(None);
                self.slots.len() as u32 - 1
            });
            self.slots[number as usize] = Some(slot);
            number
        })
    }

    /// Returns the slot that has `number`.
    pub(crate) fn slot(&self, number: u32) -> u32 {
        self.slots[number as usize].expect("the number is given out")
    }

    /// Gives `number` back. Returns the slot that had it.
    pub(crate) fn take_back(&mut self, number: u32) -> u32 {
        let slot = self.slot(number);
        self.slots[number as usize] = None;
        self.vacant.push(number);
        slot
    }
}
