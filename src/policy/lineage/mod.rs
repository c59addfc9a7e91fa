//! Blocks without inactive descendants first.
//!
//! A cached block is of use only to a request that also finds its ancestors,
//! so evicting from the middle of a chain would strand what hangs below it.
//! These orders evict *leaves* only: blocks of which no child is listed. When
//! the last child goes, the parent becomes a leaf in turn. Which leaf goes
//! first is an order of its own, the [`Leaves`](leaves::Leaves).
//!
//! | file | |
//! |---|---|
//! | [`graph`] | which blocks are leaves, and the policy that evicts them |
//! | [`nodes`], [`key`] | where parents and children meet |
//! | [`leaves`] | what the graph asks of an order among leaves |
//! | [`tick`] | by time of release |
//! | [`fifo`] | by time of becoming a leaf |
//! | [`lrfu`] | by how often and how lately contents were used |
//! | [`tinylfu`] | by frequency, behind a window |
//! | [`retained`] | leaves with priorities, in front of any of these |

mod check;
pub(crate) mod fifo;
pub(crate) mod graph;
pub(crate) mod key;
mod leaves;
pub(crate) mod lrfu;
#[cfg(test)]
mod lrfu_model;
#[cfg(test)]
mod model;
mod nodes;
mod retained;
#[cfg(test)]
mod tests;
pub(crate) mod tick;
pub(crate) mod tinylfu;
