//! Eviction order, kept by plain sequential code.
//!
//! A policy is a data structure over slot numbers: it is told which blocks
//! became inactive, and asked which of them goes next. It owns no atomics and
//! is never called from a hot path; the engine's policy plane feeds it the
//! notes the hot path left, in the order they were left, and takes victims
//! from it while it holds the plane.
//!
//! All memory is reserved when the policy is built: a policy that lists every
//! block of its store allocates nothing afterwards. (The orders of the
//! [lineage](lineage::graph) alone can be driven past their reservation, by resetting blocks
//! whose descendants stay inactive; their module says how far. And blocks with
//! [priorities](containers::bands) are kept in sets that grow.)
//!
//! # A new order
//!
//! takes one file, in [`orders`] or in [`lineage`], with a [`SlotPolicy`] (or, in the
//! lineage, the order among leaves) and a [`PolicySpec`], the line that declares the file,
//! and one row in [`BuiltInPolicy::ALL`].
//!
//! | folder or file | |
//! |---|---|
//! | [`slot_policy`] | what the engine asks of an order |
//! | [`spec`] | what a built-in order says of itself |
//! | [`built_in`] | the table of built-in orders, by name |
//! | [`eviction_policy`] | what a user's own order is told |
//! | [`orders`] | orders by release or level, and the user's own |
//! | [`lineage`] | leaf-first orders |
//! | [`priorities`] | priorities in front of an order |
//! | [`adaptive`] | what orders learn from uses |
//! | [`containers`] | lists, heaps and sets of slots |

mod adaptive;
mod built_in;
mod containers;
mod eviction_policy;
mod lineage;
mod orders;
mod priorities;
mod slot_policy;
mod spec;
#[cfg(test)]
mod testing;

pub use built_in::{BuiltInPolicy, UnknownPolicy};
pub use eviction_policy::{EvictionPolicy, InactiveBlock};
pub(crate) use lineage::fifo::ByFifo;
pub(crate) use lineage::key::Keys;
pub(crate) use lineage::lrfu::Lrfu;
pub(crate) use lineage::tick::ByTick;
pub(crate) use lineage::tinylfu::TinyLfu;
pub(crate) use orders::custom::Custom;
pub(crate) use orders::lru::OldestFirst;
pub(crate) use orders::multi_lru::{ByLevel, level};
pub(crate) use slot_policy::{PlainPolicy, PrioritizedPolicy, SlotPolicy};
pub(crate) use spec::PolicySpec;
