//! Eviction orders, in plain sequential code.
//!
//! A policy is a data structure over slot numbers. The engine tells it which blocks became
//! inactive, and asks it which of them to evict next. A policy has no atomics and is never
//! called on the hot path: a thread that holds the policy plane passes it the queued
//! releases, in the order in which they were queued, and takes victims from it.
//!
//! # When does it allocate?
//!
//! When it is built. A policy that lists every block of its store allocates nothing
//! afterwards, with one exception: an order of the [lineage](lineage::graph) can be driven
//! past its reservation by resetting blocks whose descendants stay inactive (its module says
//! how far). The [bands](containers::bands) for blocks with priorities come with the first
//! directive, ready made.
//!
//! # How do I add an order?
//!
//! 1. Write one file, in [`orders`] or in [`lineage`], with a [`SlotPolicy`] (in the lineage,
//!    `Leaves`) and a [`PolicySpec`], and declare the module.
//! 2. Add a row to [`BuiltInPolicy::ALL`].
//!
//! The builder, the replay program, and the tests that cover all orders read that table.
//!
//! # Where is what?
//!
//! | folder or file | idea |
//! |---|---|
//! | [`slot_policy`] | what the engine asks of an order |
//! | [`spec`] | how a built-in order describes itself |
//! | [`built_in`] | the table of built-in orders, by name |
//! | [`eviction_policy`] | what a user's own order is told |
//! | [`orders`] | orders by last release or by level, and the user's own |
//! | [`lineage`] | leaf-first orders |
//! | [`priorities`] | priorities in front of an order |
//! | [`adaptive`] | what orders learn from uses |
//! | [`containers`] | lists, heaps and sets of slots |
//! | `testing` | what the tests of several orders share |
//! | `tests` | what is true of every built-in order |

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
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use built_in::{BuiltInPolicy, UnknownPolicy};
pub(crate) use containers::bands::Bands;
pub(crate) use containers::list::Lists;
pub use eviction_policy::{EvictionPolicy, InactiveBlock};
pub(crate) use lineage::fifo::ByFifo;
pub(crate) use lineage::key::Keys;
pub(crate) use lineage::lrfu::Lrfu;
pub(crate) use lineage::tick::ByTick;
pub(crate) use lineage::tinylfu::TinyLfu;
pub(crate) use orders::custom::Custom;
pub(crate) use orders::lru::OldestFirst;
pub(crate) use orders::multi_lru::{ByLevel, level};
pub(crate) use slot_policy::{First, PlainPolicy, PrioritizedPolicy, SlotPolicy};
pub(crate) use spec::PolicySpec;
#[cfg(test)]
pub(crate) use testing::Random;
