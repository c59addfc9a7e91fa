//! The data that W-TinyLFU keeps per block, and the key by which a leaf is ordered.

use crate::policy::adaptive::tag::Tag;

/// The bits of a key in the main region that say when the block was released; the rank has the
/// other five. At a hundred million releases per second, they last for a hundred and eighty years.
const RELEASE_BITS: u32 = 59;

/// The region a block is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    Window,
    Main,
}

/// What is kept of the block in a slot.
#[derive(Clone, Copy)]
pub(super) struct TrackedBlock {
    /// The block's content, or the last one; [`Tag::NONE`] if that was evicted.
    pub(super) tag: Tag,
    pub(super) region: Region,
    pub(super) is_listed: bool,
    /// Whether the block is a leaf that waits elsewhere.
    pub(super) waits: bool,
    /// Whether the block was used while it was in the main region.
    pub(super) is_established: bool,
    /// The frequency under which the main region has the block.
    pub(super) frequency: u8,
    /// Changes with every ageing of the main region that the frequency has been through.
    pub(super) phase: bool,
    pub(super) release: u64,
}

impl TrackedBlock {
    /// Returns the key by which the block stands among the leaves of its region.
    pub(super) fn key(&self) -> u64 {
        let rank = u64::from(self.frequency) << 1 | u64::from(self.is_established);
        match self.region {
            Region::Window => self.release,
            Region::Main => rank << RELEASE_BITS | self.release,
        }
    }
}
