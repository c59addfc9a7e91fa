//! Blocks that were taken off the freelist together.
//!
//! Most free blocks have free neighbours, and so most exchanges take a range of slots, whose
//! numbers need not be computed one by one.

use std::ops::Range;

use super::bitmap::low_bits;

/// Slot numbers of blocks that one exchange has taken, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TakenBlocks {
    /// Neighbours.
    Range(Range<u32>),
    /// Some blocks of a leaf.
    Scattered(Scattered),
}

/// Slot numbers of some blocks of a leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scattered {
    /// The number of the slot that bit 0 stands for.
    first: u32,
    bits: u64,
    /// The number of bits set.
    count: u32,
}

impl TakenBlocks {
    /// Returns the blocks of a leaf whose first slot is `first`: `count` of them, one for each
    /// bit that is set, and at least one.
    #[inline]
    pub(super) fn of_leaf(first: u32, bits: u64, count: u32) -> Self {
        let start = bits.trailing_zeros();
        if bits >> start == low_bits(count) {
            Self::Range(first + start..first + start + count)
        } else {
            Self::Scattered(Scattered { first, bits, count })
        }
    }

    /// Calls `visit` with each slot number.
    #[cfg(test)]
    pub(crate) fn for_each(self, visit: impl FnMut(u32)) {
        match self {
            Self::Range(range) => range.for_each(visit),
            Self::Scattered(scattered) => scattered.ids().for_each(visit),
        }
    }
}

impl Scattered {
    /// Returns the slot numbers. Their number is exact, so a vector that is extended by them
    /// checks its capacity only once.
    #[inline]
    pub(crate) fn ids(self) -> impl ExactSizeIterator<Item = u32> {
        let Self { first, bits, count } = self;
        let mut left = bits;
        (0..count).map(move |_| {
            let id = first + left.trailing_zeros();
            left &= left - 1;
            id
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(bits: u64) -> Vec<u32> {
        let mut ids = Vec::new();
        TakenBlocks::of_leaf(128, bits, bits.count_ones()).for_each(|id| ids.push(id));
        ids
    }

    #[test]
    fn each_bit_stands_for_a_slot() {
        assert_eq!(ids(1), [128]);
        assert_eq!(ids(1 << 63), [191]);
        assert_eq!(ids(0b1110), [129, 130, 131]);
        assert_eq!(ids(0b1011), [128, 129, 131]);
        assert_eq!(ids(1 << 63 | 1), [128, 191]);
        assert_eq!(ids(u64::MAX), (128..192).collect::<Vec<u32>>());
    }

    #[test]
    fn neighbours_are_a_range() {
        let taken = TakenBlocks::of_leaf(64, 0b11_1000, 3);
        assert_eq!(taken, TakenBlocks::Range(67..70));
        let taken = TakenBlocks::of_leaf(64, 0b1_1000_0001, 3);
        assert!(matches!(taken, TakenBlocks::Scattered(_)));
    }
}
