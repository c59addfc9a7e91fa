//! What few entries need: attachments and touch callbacks, allocated on first use.

use std::sync::{Arc, Mutex, PoisonError};

use crate::SequenceHash;
use crate::user_code::Panics;

use super::attachments::AttachmentStore;

/// A callback that runs when a handle is touched.
pub(super) type TouchCallback = Arc<dyn Fn(SequenceHash) + Send + Sync>;

/// The attachments and touch callbacks of one hash.
///
/// The locks are per hash, and no operation on blocks takes them. A panic while one is held
/// does not poison what it guards: these are lists of values with no invariant between them.
#[derive(Default)]
pub(super) struct Extras {
    attachments: Mutex<AttachmentStore>,
    callbacks: Mutex<Vec<TouchCallback>>,
    /// After the registration has ended: the extras that were deferred before these. See
    /// [`leftovers`](super::leftovers).
    pub(super) before: Option<Box<Extras>>,
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

    /// Returns the callbacks, in the order in which they were added.
    pub(super) fn callbacks(&self) -> Vec<TouchCallback> {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Calls every callback with no lock held, even if one of them panics.
    pub(super) fn touch(&self, hash: SequenceHash) {
        let mut panics = Panics::new();
        for callback in self.callbacks() {
            panics.catch(|| callback(hash));
            // This may be the last reference.
            panics.drop(callback);
        }
        panics.resume();
    }

    /// Drops every attachment and every callback, even if one of these drops panics.
    pub(super) fn drop_each(self, panics: &mut Panics) {
        let attachments = self.attachments.into_inner();
        for value in attachments
            .unwrap_or_else(PoisonError::into_inner)
            .into_values()
        {
            panics.drop(value);
        }
        let callbacks = self.callbacks.into_inner();
        for callback in callbacks.unwrap_or_else(PoisonError::into_inner) {
            panics.drop(callback);
        }
    }
}
