//! Emission: from registrations to subscriptions, within the process.
//!
//! [`hub`] explains how the parts work together. Each file uses only files above it:
//!
//! | file | idea |
//! |---|---|
//! | `queue` | where registrations queue events: a stack that is drained as a whole |
//! | `doorbell` | when a producer must wake the dispatch thread |
//! | `live_counts` | live registrations per hash: which events subscribers see |
//! | `waiters` | the wakers of subscriptions that wait for an event |
//! | `cleanup_queue` | tiers whose cleared registrations are still to be removed |
//! | `dispatcher` | the state under the lock: what happens to each drained entry |
//! | `hub` | the protocol: who enqueues, who dispatches, who waits |
//! | `cleaner` | removes cleared registrations, on a thread of its own |
//! | `dispatch_thread` | dispatches while all subscribers wait |
//! | `subscription` | the stream a subscriber polls |
//! | `emitter` | the producing side, which keeps the hub open |
//! | `release_handle` | a guard that announces the end of a registration |

mod cleaner;
mod cleanup_queue;
mod dispatch_thread;
mod dispatcher;
mod doorbell;
mod emitter;
mod hub;
mod live_counts;
mod queue;
mod release_handle;
mod subscription;
#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests;
mod waiters;

pub(super) use dispatcher::Queued;
pub(super) use emitter::Emitter;
pub use release_handle::EventReleaseHandle;

#[cfg(all(test, kvbm_loom))]
pub(crate) use {doorbell::Doorbell, live_counts::LiveCounts, queue::EventQueue};
