//! Emission: from registrations to subscriptions, within the process.
//!
//! [`hub`] explains how the parts work together. The table in the [parent module](super)
//! lists the files so that each uses only files above it.

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
#[cfg(all(test, not(kvbm_loom)))]
mod tests;
mod waiters;

pub(super) use dispatcher::Queued;
pub(super) use emitter::Emitter;
pub use release_handle::EventReleaseHandle;

#[cfg(all(test, kvbm_loom))]
pub(crate) use {doorbell::Doorbell, live_counts::LiveCounts, queue::EventQueue};
