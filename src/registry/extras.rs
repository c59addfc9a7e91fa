//! What few registration entries have: attachments and touch callbacks.
//! Allocated on first use.

use std::sync::{Mutex, PoisonError};

use crate::SequenceHash;

use super::attachments::AttachmentStore;
use super::handle::TouchCallback;

/// See the module documentation.
///
/// The locks are each hash's own, and no operation on blocks takes them. A panic
/// while one is held does not make what it guards unusable: these are lists of
/// values with no invariant between them.
#[derive(Default)]
pub(super) struct Extras {
    attachments: Mutex<AttachmentStore>,
    callbacks: Mutex<Vec<TouchCallback>>,
}

impl Extras {
    /// Runs `f` with the attachments locked.
    pub(super) fn with_attachments<R>(&self, f: impl FnOnce(&mut AttachmentStore) -> R) -> R {
        f(&mut self
            .attachments
            .lock()
            .unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn add_callback(&self, callback: TouchCallback) {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(callback);
    }

    /// The callbacks, in the order they were added.
    pub(super) fn callbacks(&self) -> Vec<TouchCallback> {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Calls every callback, with no lock held.
    pub(super) fn touch(&self, hash: SequenceHash) {
        for callback in self.callbacks() {
            callback(hash);
        }
    }
}
