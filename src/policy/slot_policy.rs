//! What the engine asks of an eviction order.
//!
//! There are two kinds of order. A [`PlainPolicy`] ignores [priorities](crate::retention)
//! and pays nothing for them. When the first block is given a priority, the plain policy
//! turns into a [`PrioritizedPolicy`].

use super::containers::bands::Bands;
use crate::SequenceHash;
use crate::retention::Priority;

/// The number of frequency levels that a block can have, from 0.
pub(crate) const LEVELS: u16 = 4;

/// The block that an order evicts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    pub(crate) slot: u32,
    /// What comes before the time of release when the first blocks of several orders are compared:
    /// the priority and, among blocks with the default priority, the level. The lowest goes first.
    pub(crate) class: u16,
}

impl First {
    /// Returns the block in `slot` as the first one. Its `level` is 0 unless it has the default
    /// priority.
    #[inline]
    pub(crate) fn of(slot: u32, priority: Priority, level: u8) -> Self {
        Self {
            slot,
            class: u16::from(priority.get()) * LEVELS + u16::from(level),
        }
    }
}

/// The order in which inactive blocks are evicted.
///
/// Slots are numbered `0..block_count`. A slot is *listed* from the [`insert`](Self::insert)
/// that names it until [`remove`](Self::remove) or [`pop`](Self::pop) takes it out.
pub(crate) trait SlotPolicy: Send {
    /// Lists `slot`, which holds `hash`, as the block released last.
    ///
    /// A slot that is already listed is taken out first, so its position is that of this
    /// release. `level` is the frequency level computed when the block was released, or 0 if
    /// the store does not use levels.
    fn insert(&mut self, slot: u32, hash: SequenceHash, level: u8);

    /// Takes `slot` out of the order. Does nothing if it is not listed.
    fn remove(&mut self, slot: u32);

    /// Takes the next victim out of the order and returns it.
    fn pop(&mut self) -> Option<u32>;

    /// Takes the next victims out of the order, as many as `victims` has room for. Returns how
    /// many there were.
    ///
    /// One call through a table of methods for all of them.
    fn pop_each(&mut self, victims: &mut [u32]) -> usize {
        for (popped, victim) in victims.iter_mut().enumerate() {
            match self.pop() {
                Some(slot) => *victim = slot,
                None => return popped,
            }
        }
        victims.len()
    }

    /// Returns the block that [`pop`](Self::pop) would take next, and leaves it listed.
    ///
    /// Returns `None` if no block is listed. A user's own order, which is not
    /// [sharded](super::spec::PolicySpec::is_sharded), cannot tell, and also returns `None`.
    ///
    /// It does no more work than `pop`, but what it does may be what `pop` would do first.
    fn first(&mut self) -> Option<First>;

    /// Returns the level of the next victim: 0 in an order without levels, and any number if
    /// there is no victim.
    fn next_level(&self) -> u8 {
        0
    }

    /// Returns whether `slot` is listed.
    fn contains(&self, slot: u32) -> bool;

    /// Returns the number of listed slots. O(slots), for audits and tests.
    fn len(&self) -> usize;

    /// Returns whether the next victim depends on updates of all threads, since a block may be kept
    /// because of others. If so, all that are queued are applied before victims are taken.
    fn needs_all_updates(&self) -> bool {
        true
    }

    /// Returns whether listed blocks may be used again in any order, as long as no release
    /// comes in between, and whether it makes no difference if other blocks are listed
    /// meanwhile that are used again as well.
    fn resurrections_commute(&self) -> bool {
        false
    }

    /// Returns whether listing `slot`, which holds `hash` and is not listed, and then taking
    /// it out again is certain to change nothing, whether it is the only slot or one of several
    /// for which this is true. Returns `false` for a listed slot. If slots are numbers that are given
    /// out, `slot` is `u32::MAX`: the block has none yet.
    ///
    /// The engine asks this only if [resurrections commute](Self::resurrections_commute) and
    /// [all updates](Self::needs_all_updates) are needed: otherwise, it does not tell the order of a
    /// block that was used again before it was listed.
    fn leaves_no_trace(&self, _slot: u32, _hash: SequenceHash) -> bool {
        false
    }

    /// Verifies the internal structure and describes the first fault found.
    ///
    /// Visits every slot and allocates; for audits and tests.
    fn check(&self) -> Result<(), String>;
}

/// An order in which all blocks have the default priority.
pub(crate) trait PlainPolicy: SlotPolicy {
    /// Turns this order into one with the same blocks in the same places that supports
    /// priorities. `bands` are empty, and for as many slots.
    ///
    /// Constant time, however many blocks are listed.
    fn with_priorities(self: Box<Self>, bands: Bands) -> Box<dyn PrioritizedPolicy>;
}

/// An order in which blocks can have priorities.
pub(crate) trait PrioritizedPolicy: SlotPolicy {
    /// Sets the priority of `slot` until it is taken out. Does nothing if it is not listed.
    ///
    /// A slot is listed with the default priority. A slot that is given another priority
    /// comes last among those that have it. A slot that is given the default priority takes the
    /// place that it would have in the order without priorities.
    fn set_priority(&mut self, slot: u32, priority: Priority);

    /// Returns the next victim if its priority is below the default, and the order knows.
    fn first_of_low(&self) -> Option<u32>;
}
