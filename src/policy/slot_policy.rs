//! What the engine asks of an eviction order.
//!
//! There are two kinds. A [`PlainPolicy`] knows nothing of [priorities](crate::retention),
//! and pays nothing for them. It becomes a [`PrioritizedPolicy`] when the first block is
//! given one.

use crate::SequenceHash;
use crate::retention::Priority;

/// The order in which inactive blocks are evicted.
///
/// Slots are numbered `0..block_count`. A slot is *listed* from the call of
/// [`insert`](Self::insert) that names it until [`remove`](Self::remove) or
/// [`pop`](Self::pop) takes it out.
pub(crate) trait SlotPolicy: Send {
    /// Lists `slot`, which holds `hash`, as the block released last.
    ///
    /// A slot that is listed already is taken out first, so that its position
    /// is that of this release. `level` is the frequency level computed when
    /// the block was released (0 where the store does not use levels).
    fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8);

    /// Takes `slot` out of the order; does nothing if it is not listed.
    fn remove(&mut self, slot: u32);

    /// Takes the next victim out of the order.
    fn pop(&mut self) -> Option<u32>;

    /// The level of the next victim: 0 in an order without levels. Any number if there is
    /// no victim.
    fn next_level(&self) -> u8 {
        0
    }

    /// Whether `slot` is listed.
    fn contains(&self, slot: u32) -> bool;

    /// How many slots are listed. O(slots), for audits and tests.
    fn len(&self) -> usize;

    /// Whether the order of later victims depends on *when* a listed block
    /// came into use again. If so, the engine calls [`remove`](Self::remove)
    /// in order with the releases; if not, it leaves such a block listed and
    /// drops it when it comes up as a victim.
    fn observes_resurrection(&self) -> bool;

    /// Whether it does not matter in which order listed blocks come into use again,
    /// as long as no release comes between, nor whether other blocks are listed
    /// meanwhile that come into use again as well.
    fn resurrections_commute(&self) -> bool {
        false
    }

    /// Whether nothing changes for sure if `slot`, which holds `hash` and is not
    /// listed, is listed and taken out again; alone, or with others of which the
    /// same is true. `false` for a listed slot.
    ///
    /// Only asked where [resurrections commute](Self::resurrections_commute).
    fn leaves_no_trace(&self, _slot: u32, _hash: SequenceHash) -> bool {
        false
    }

    /// Whether victims that were popped stay the next ones whatever is listed
    /// later. If so, the engine pops some ahead of need, until blocks have priorities.
    fn hands_out_ahead(&self) -> bool {
        false
    }

    /// Verifies the internal structure and describes the first fault found.
    ///
    /// Visits every slot and allocates; meant for audits and tests.
    fn check(&self) -> Result<(), String>;
}

/// An order in which all blocks have the default priority.
pub(crate) trait PlainPolicy: SlotPolicy {
    /// Turns this into the same order of the same blocks, as one that knows priorities.
    /// What there is before blocks have any need not look for them.
    fn with_priorities(self: Box<Self>) -> Box<dyn PrioritizedPolicy>;
}

/// An order in which blocks can have priorities other than the default.
pub(crate) trait PrioritizedPolicy: SlotPolicy {
    /// Sets the priority of `slot` until it is taken out; does nothing if it is not listed.
    ///
    /// A slot is listed with the default priority. A slot that is given a new priority comes
    /// last of those that have it; if that is the default, it goes where the order without
    /// priorities would have it.
    fn set_priority(&mut self, slot: u32, priority: Priority);

    /// Takes back a victim that was popped ahead of need, unless it is listed.
    ///
    /// An order that [handed it out ahead](SlotPolicy::hands_out_ahead) makes it the next
    /// victim again, after those that were put back before. Any other lists it as released
    /// last.
    fn put_back(&mut self, slot: u32, hash: SequenceHash, level: u8) {
        if !self.contains(slot) {
            self.insert(slot, hash, level);
        }
    }
}
