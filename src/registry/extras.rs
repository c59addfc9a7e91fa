//! What few registration entries have: attachments, touch callbacks, and the
//! presence counts of registries with many tiers. Allocated on first use.

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::SequenceHash;
use crate::engine::sync::AtomicU32;

use super::attachments::AttachmentStore;
use super::core::MAX_TIERS;
use super::handle::TouchCallback;

/// See the module documentation.
#[derive(Default)]
pub(super) struct Extras {
    attachments: Mutex<AttachmentStore>,
    callbacks: Mutex<Vec<TouchCallback>>,
    presence: OnceLock<Box<[AtomicU32]>>,
}

impl Extras {
    /// Runs `f` with the attachments locked.
    ///
    /// A panic in an earlier `f` does not make the attachments unusable: they
    /// are typed values with no invariant between them.
    pub(super) fn with_attachments<R>(&self, f: impl FnOnce(&mut AttachmentStore) -> R) -> R {
        f(&mut self.attachments.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn add_callback(&self, callback: TouchCallback) {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).push(callback);
    }

    /// Calls every callback, in the order they were added, with no lock held.
    pub(super) fn touch(&self, hash: SequenceHash) {
        let callbacks = self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for callback in &callbacks {
            callback(hash);
        }
    }

    pub(super) fn callback_count(&self) -> usize {
        self.callbacks.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(super) fn presence_of(&self, tier: usize) -> &AtomicU32 {
        let counts = self
            .presence
            .get_or_init(|| (0..MAX_TIERS).map(|_| AtomicU32::new(0)).collect());
        &counts[tier]
    }
}
