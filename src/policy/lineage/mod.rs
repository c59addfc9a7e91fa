//! Leaf-first orders: blocks without inactive descendants are evicted first.
//!
//! A cached block is only of use to a request that also finds its ancestors, so evicting
//! from the middle of a chain would strand everything below. These orders evict only
//! *leaves*: blocks none of whose children are listed. When a block's last child is evicted,
//! the block becomes a leaf. A separate order, [`Leaves`](leaves::Leaves), decides which leaf is
//! evicted first.
//!
//! | file | idea |
//! |---|---|
//! | [`graph`] | which blocks are leaves, and the policy that evicts them |
//! | [`nodes`], [`key`] | where parents and children meet |
//! | [`residents`] | where each slot is in the graph |
//! | [`leaves`] | what the graph asks of an order among leaves |
//! | [`tick`] | by time of release |
//! | [`fifo`] | by time of becoming a leaf |
//! | [`lrfu`] | by how often and how recently content was used |
//! | [`tinylfu`] | by frequency, behind a window |
//! | [`retained`] | leaves with priorities, in front of any of these |
//! | `check` | the audit of the graph |
//! | `model`, `lrfu_model` | slow models for tests |
//! | `tests/` | the graph by example and against the model |

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
mod residents;
mod retained;
#[cfg(test)]
mod tests;
pub(crate) mod tick;
pub(crate) mod tinylfu;
