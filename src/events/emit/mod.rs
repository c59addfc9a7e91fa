//! From registrations to subscriptions, inside the process.

pub(super) mod cleaner;
pub(super) mod doorbell;
pub(super) mod hub;
pub(super) mod live_counts;
pub(super) mod queue;
pub(super) mod release_handle;
mod subscription;
mod waiters;
