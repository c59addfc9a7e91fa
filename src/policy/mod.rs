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
//! inactive; its module says how far. And blocks with [priorities](containers::bands) are kept in
//! sets that grow.)

mod adaptive;
mod containers;
mod lineage;
mod orders;
mod priorities;
mod slot_policy;
#[cfg(test)]
mod testing;

pub(crate) use lineage::key::Keys;
pub(crate) use lineage::lrfu::MAX_HALF_LIFE;
pub(crate) use orders::custom::Custom;
pub(crate) use orders::multi_lru::level;
pub(crate) use slot_policy::{PlainPolicy, PrioritizedPolicy, SlotPolicy};

use lineage::fifo::FifoLeaves;
use lineage::graph::Lineage;
use lineage::lrfu::LrfuLeaves;
use lineage::tick::TickLeaves;
use lineage::tinylfu::TinyLfuLeaves;
use orders::lru::Lru;
use orders::multi_lru::MultiLru;

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
    pub(crate) fn build(self, block_count: usize) -> Box<dyn PlainPolicy> {
        match self {
            Self::Lru => Box::new(Lru::new(block_count)),
            Self::MultiLru => Box::new(MultiLru::new(block_count)),
            Self::Lineage(LeafOrder::Tick) => Box::new(Lineage::<TickLeaves>::new(block_count)),
            Self::Lineage(LeafOrder::Fifo) => Box::new(Lineage::<FifoLeaves>::new(block_count)),
            Self::Lrfu { half_life: None } => Box::new(Lineage::<LrfuLeaves>::new(block_count)),
            Self::Lrfu {
                half_life: Some(half_life),
            } => {
                let leaves = LrfuLeaves::with_half_life(block_count, half_life);
                Box::new(Lineage::with_leaves(block_count, leaves))
            }
            Self::TinyLfu { window: None } => Box::new(Lineage::<TinyLfuLeaves>::new(block_count)),
            Self::TinyLfu {
                window: Some(percent),
            } => {
                let leaves = TinyLfuLeaves::with_window(block_count, percent);
                Box::new(Lineage::with_leaves(block_count, leaves))
            }
        }
    }
}
