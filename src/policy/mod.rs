//! Eviction order, kept by plain sequential code.
//!
//! A policy is a data structure over slot numbers: it is told which blocks
//! became inactive, and asked which of them goes next. It owns no atomics and
//! is never called from a hot path; the engine's policy plane feeds it the
//! notes the hot path left, in the order they were left, and takes victims
//! from it while it holds the plane.
//!
//! All memory is reserved when the policy is built: a policy that lists every
//! block of its store allocates nothing afterwards. ([`Lineage`] alone can be
//! driven past its reservation, by resetting blocks whose descendants stay
//! inactive; its module says how far. And blocks with [priorities](bands) are kept in
//! sets that grow.)
//!
//! Links between slots are `u32` numbers with [`NIL`] for "none": half the
//! size of an `Option<u32>`, which for arrays as long as the store is the
//! difference between one cache line touched and two.

mod bands;
mod custom;
mod lineage;
mod list;
mod lru;
mod multi_lru;
mod retained;
mod ring;
#[cfg(test)]
mod testing;

pub(crate) use custom::Custom;
pub(crate) use lineage::{Keys, Lineage, MAX_HALF_LIFE};
pub(crate) use lru::Lru;
pub(crate) use multi_lru::{MultiLru, level};

use crate::SequenceHash;
use crate::retention::Priority;

/// The number that stands for "no slot" or "no node" in a link.
const NIL: u32 = u32::MAX;

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

    /// The level of the next victim: 0 in an order without levels. If there is none, no
    /// matter which.
    fn next_level(&self) -> u8 {
        0
    }

    /// The same order with the same blocks, as a policy that knows priorities: what
    /// there is before the first of them need not look for any.
    fn with_priorities(self: Box<Self>) -> Box<dyn SlotPolicy>;

    /// Sets the priority of the listed `slot`: the default, unless this says otherwise,
    /// from when it is listed until it is taken out. If that is another one than before and
    /// not the default, the slot comes last of those that have it; if it is the default,
    /// where the order without priorities would have it. Only asked
    /// [with priorities](Self::with_priorities).
    fn set_priority(&mut self, _slot: u32, _priority: Priority) {
        unreachable!("a policy without priorities");
    }

    /// Takes back a victim that was popped ahead of need, to be the next one again after
    /// those that were put back before, unless it is listed. Only asked
    /// [with priorities](Self::with_priorities), where victims were
    /// [handed out ahead](Self::hands_out_ahead) before.
    fn put_back(&mut self, _slot: u32) {
        unreachable!("nothing was handed out ahead");
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
    /// later. If so, the engine pops some ahead of need, until there are priorities.
    fn hands_out_ahead(&self) -> bool {
        false
    }

    /// Verifies the internal structure and describes the first fault found.
    ///
    /// Visits every slot and allocates; meant for audits and tests.
    fn check(&self) -> Result<(), String>;
}

/// Which eviction policy a store uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PolicyKind {
    /// Least recently released first.
    Lru,
    /// Lowest frequency level first, least recently released within a level.
    MultiLru,
    /// Blocks without inactive descendants first.
    Lineage(LeafOrder),
    /// Blocks without inactive descendants first, by the worth of their uses.
    Lrfu {
        /// In releases of contents that are known. None to have it tuned.
        half_life: Option<u32>,
    },
    /// Blocks without inactive descendants first, by frequency, behind a window.
    TinyLfu {
        /// Per cent of the inactive blocks. None to have it found.
        window: Option<u8>,
    },
}

/// The order among the leaves of a [`Lineage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeafOrder {
    /// By time of release: a block that becomes a leaf again has the position
    /// its release gave it.
    Tick,
    /// By time of becoming a leaf: a block that becomes a leaf again goes to
    /// the end.
    Fifo,
}

impl PolicyKind {
    /// Whether no block goes before its inactive children.
    pub(crate) fn is_leaf_first(self) -> bool {
        matches!(
            self,
            Self::Lineage(_) | Self::Lrfu { .. } | Self::TinyLfu { .. }
        )
    }

    /// Builds the policy for slots `0..block_count`.
    pub(crate) fn build(self, block_count: usize) -> Box<dyn SlotPolicy> {
        match self {
            Self::Lru => Box::new(Lru::new(block_count)),
            Self::MultiLru => Box::new(MultiLru::new(block_count)),
            Self::Lineage(LeafOrder::Tick) => {
                Box::new(Lineage::<lineage::TickLeaves>::new(block_count))
            }
            Self::Lineage(LeafOrder::Fifo) => {
                Box::new(Lineage::<lineage::FifoLeaves>::new(block_count))
            }
            Self::Lrfu { half_life: None } => {
                Box::new(Lineage::<lineage::LrfuLeaves>::new(block_count))
            }
            Self::Lrfu {
                half_life: Some(half_life),
            } => {
                let leaves = lineage::LrfuLeaves::with_half_life(block_count, half_life);
                Box::new(Lineage::with_leaves(block_count, leaves))
            }
            Self::TinyLfu { window: None } => {
                Box::new(Lineage::<lineage::TinyLfuLeaves>::new(block_count))
            }
            Self::TinyLfu {
                window: Some(percent),
            } => {
                let leaves = lineage::TinyLfuLeaves::with_window(block_count, percent);
                Box::new(Lineage::with_leaves(block_count, leaves))
            }
        }
    }
}

/// `Err(fault())` unless `sound` holds; the shape of every structural check.
fn ensure(sound: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if sound { Ok(()) } else { Err(fault()) }
}
