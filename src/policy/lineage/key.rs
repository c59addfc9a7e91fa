//! The key under which a hash is found, and the key of its parent.
//!
//! A block's hash carries its own 64-bit sequence hash, its position, and the low bits of
//! its parent's sequence hash. Parent and child therefore meet at `(position, fragment)`,
//! where the fragment is cut to the width that the *child* stores: 54, 46 or 38 bits,
//! depending on the child's position.
//!
//! Position and fragment fit into one `u64` without loss. The layouts give the position 8,
//! 16 or 24 bits, and the fragment the rest of 62 bits. The two bits that remain say which
//! of the three layouts it is:
//!
//! ```text
//! layout (2) | position (8, 16, 24) | fragment (54, 46, 38)
//! ```
//!
//! The layout follows from the position, never from the mode bits of the hash: a hash read
//! from raw bytes may state its position in a wider mode than needed, and must still meet
//! its parent. Its fragment is then narrower than the layout provides, and fits.
//!
//! The fields are cut out of the 128 bits here, rather than with the accessors of the hash,
//! which select the layout again for each field and so cost several times as much. A test
//! checks that the two agree.

use crate::SequenceHash;

/// The first position that needs the layout with 16 position bits.
const MEDIUM: u64 = 1 << 8;
/// The first position that needs the layout with 24 position bits.
const LONG: u64 = 1 << 16;

/// The two keys of a listed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) own: u64,
    /// `NO_PARENT` at position 0. As two words, the keys are returned in registers.
    parent: u64,
}

/// The key that stands for "no parent". It has both top bits set, and only a block without
/// children has such a key.
const NO_PARENT: u64 = u64::MAX;

impl Keys {
    /// Returns the keys of the block in `slot`, which holds `hash`.
    ///
    /// Mode 3 is undefined; only a hash read from bytes that are not a hash can have it.
    /// Such a hash gets no parent, and a key made from the slot, which no other block can
    /// have.
    #[inline]
    pub(crate) fn of(hash: SequenceHash, slot: u32) -> Self {
        let bits = hash.as_u128();
        let (high, low) = ((bits >> 64) as u64, bits as u64);
        // Most blocks have positions whose children need no wider layout. These take a few
        // shifts, inlined.
        let width = fragment_width(0);
        let position = high >> width;
        if position < MEDIUM - 1 {
            let current = high << (64 - width) | low >> width;
            return Self {
                own: position << width | current & low_mask(width),
                parent: match position {
                    0 => NO_PARENT,
                    _ => (position - 1) << width | low & low_mask(width),
                },
            };
        }
        Self::of_other(high, low, slot)
    }

    /// Returns the parent's key; `None` at position 0.
    #[inline]
    pub(crate) fn parent(self) -> Option<u64> {
        (self.parent != NO_PARENT).then_some(self.parent)
    }

    /// The rest of [`of`](Self::of).
    #[inline(never)]
    fn of_other(high: u64, low: u64, slot: u32) -> Self {
        match high >> 62 {
            0 => Self::of_mode::<0>(high, low),
            1 => Self::of_mode::<1>(high, low),
            2 => Self::of_mode::<2>(high, low),
            _ => Self {
                own: 3 << 62 | u64::from(slot),
                parent: NO_PARENT,
            },
        }
    }

    /// Returns the keys of a hash whose halves are `high` and `low`:
    ///
    /// ```text
    /// mode (2) | position | sequence hash (64) | parent fragment
    /// ```
    ///
    /// Compiled once per mode, so that the widths and most of [`pack`] are constant.
    #[inline(always)]
    fn of_mode<const MODE: u64>(high: u64, low: u64) -> Self {
        let width = fragment_width(MODE);
        let position = high << 2 >> 2 >> width;
        let current = high << (64 - width) | low >> width;
        let parent = low & low_mask(width);
        Self {
            own: pack(position, current),
            parent: match position {
                0 => NO_PARENT,
                _ => pack(position - 1, parent),
            },
        }
    }
}

/// Returns the key of `position` and of as many bits of `hash` as a child of a block at that
/// position stores.
#[inline(always)]
fn pack(position: u64, hash: u64) -> u64 {
    let child = position + 1;
    let layout = u64::from(child >= MEDIUM) + u64::from(child >= LONG);
    let width = fragment_width(layout);
    layout << 62 | position << width | hash & low_mask(width)
}

/// Returns the width of a layout's fragment: 54, 46 or 38 bits.
const fn fragment_width(layout: u64) -> u32 {
    54 - 8 * layout as u32
}

const fn low_mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{Random, raw_hash};

    /// Returns the pairs that [`Keys`] packs, read through the accessors of the hash.
    fn pairs(hash: SequenceHash) -> ((u64, u64), Option<(u64, u64)>) {
        let position = hash.position();
        let own = (
            position,
            hash.parent_fragment_for_child_position(position + 1),
        );
        let parent = (position > 0).then(|| (position - 1, hash.parent_hash_fragment()));
        (own, parent)
    }

    fn unpack(key: u64) -> (u64, u64) {
        let width = fragment_width(key >> 62);
        (key << 2 >> 2 >> width, key & low_mask(width))
    }

    #[test]
    fn packs_what_the_accessors_say() {
        let mut random = Random::new(3);
        let mut word = || random.below(1 << 32) << 32 | random.below(1 << 32);
        let limits = [
            0,
            1,
            2,
            254,
            255,
            256,
            257,
            65_534,
            65_535,
            65_536,
            65_537,
            (1 << 24) - 1,
        ];
        for position in limits {
            for _ in 0..100 {
                let hash = SequenceHash::new(word(), Some(word()), position);
                let keys = Keys::of(hash, 7);
                assert_eq!((unpack(keys.own), keys.parent().map(unpack)), pairs(hash));
            }
        }
    }

    #[test]
    fn packs_positions_in_a_wider_mode_than_needed() {
        let mut random = Random::new(4);
        for _ in 0..2_000 {
            let bits = (0..4).fold(0, |bits: u128, _| {
                bits << 32 | u128::from(random.below(1 << 32))
            });
            // So few position bits that every mode meets every layout.
            let position = u128::from(random.below(300));
            for (mode, width) in [(1, 46), (2, 38)] {
                let hash = raw_hash(mode << 126 | position << (64 + width) | bits >> (64 - width));
                let keys = Keys::of(hash, 7);
                assert_eq!((unpack(keys.own), keys.parent().map(unpack)), pairs(hash));
            }
        }
    }

    #[test]
    fn a_child_points_at_its_parent_across_every_change_of_width() {
        for position in [0, 1, 253, 254, 255, 256, 65_533, 65_534, 65_535, 65_536] {
            let parent = SequenceHash::new(u64::MAX - position, Some(position), position);
            let child = SequenceHash::new(position, Some(u64::MAX - position), position + 1);
            assert_eq!(Keys::of(child, 0).parent(), Some(Keys::of(parent, 1).own));
        }
    }

    #[test]
    fn an_undefined_mode_has_a_key_of_its_own() {
        let hash = raw_hash(u128::MAX);
        let (a, b) = (Keys::of(hash, 0), Keys::of(hash, 1));
        assert_ne!(a.own, b.own);
        assert_eq!((a.parent(), b.parent()), (None, None));
    }
}
