//! Registration handles, as users have them.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use crate::ids::{BlockMetadata, SequenceHash};
use crate::user_code::Panics;

use super::attachments::AttachmentError;
use super::core::Core;
use super::entries::Entry;
#[cfg(feature = "events")]
use super::observer::Observer;
use super::registration::EntryHandle;
use super::typed::TypedAttachments;

/// A registered sequence hash.
///
/// A hash is registered in a [`BlockRegistry`](super::BlockRegistry) for as long as it has
/// a handle (one of these, or a [`WeakBlock`](crate::WeakBlock)) or a block that holds its
/// content, active or inactive, in some manager of the registry. The same handle
/// serves every tier. When the last of them is gone the attachments are dropped.
///
/// The first handle to a hash allocates; cloning one is two atomic increments.
#[derive(Clone)]
pub struct BlockRegistrationHandle {
    handle: EntryHandle,
}

impl BlockRegistrationHandle {
    pub(crate) fn new(handle: EntryHandle) -> Self {
        Self { handle }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        self.handle.core()
    }

    fn entry(&self) -> &Entry {
        self.handle.entry()
    }

    /// The sequence hash.
    pub fn seq_hash(&self) -> SequenceHash {
        self.entry().hash()
    }

    #[cfg(feature = "events")]
    pub(crate) fn is_observed_by(&self, observer: &dyn Observer) -> bool {
        self.core().is_observed_by(observer)
    }

    /// Whether a block of metadata type `T`, in any manager of this registry,
    /// is registered under the hash: one that could be matched at some instant of
    /// the call. Lock-free.
    pub fn has_block<T: BlockMetadata>(&self) -> bool {
        self.has_any_block(&[TypeId::of::<T>()])
    }

    /// Whether [`has_block`](Self::has_block) holds for any of the types.
    pub fn has_any_block(&self, type_ids: &[TypeId]) -> bool {
        self.core().tiers.have(self.entry().key(), Some(type_ids))
    }

    /// Adds a function to be called by [`touch`](Self::touch). Takes a lock of
    /// this handle's callbacks, and allocates.
    pub fn on_touch(&self, callback: Arc<dyn Fn(SequenceHash) + Send + Sync>) {
        self.entry().extras().add_callback(callback);
    }

    /// Calls the functions added by [`on_touch`](Self::on_touch), in the order
    /// they were added, on this thread and with no lock held.
    pub fn touch(&self) {
        if let Some(extras) = self.entry().existing_extras() {
            extras.touch(self.seq_hash());
        }
    }

    /// The attachments of type `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> TypedAttachments<'_, T> {
        TypedAttachments::new(self.entry())
    }

    /// Attaches the only value of type `T`, in place of an earlier one.
    ///
    /// # Errors
    ///
    /// If values of the type have been attached with [`attach`](Self::attach).
    pub fn attach_unique<T: Any + Send + Sync>(&self, value: T) -> Result<(), AttachmentError> {
        let set = self
            .entry()
            .extras()
            .with_attachments(|attachments| attachments.set_unique(value));
        // The user's drop runs with no lock held.
        let mut panics = Panics::new();
        let result = match set {
            Ok(replaced) => {
                panics.drop(replaced);
                Ok(())
            }
            Err((error, refused)) => {
                panics.drop(refused);
                Err(error)
            }
        };
        panics.resume();
        result
    }

    /// Attaches a further value of type `T`.
    ///
    /// # Errors
    ///
    /// If a value of the type has been attached with
    /// [`attach_unique`](Self::attach_unique).
    pub fn attach<T: Any + Send + Sync>(&self, value: T) -> Result<(), AttachmentError> {
        let added = self
            .entry()
            .extras()
            .with_attachments(|attachments| attachments.add(value));
        added.map_err(|(error, refused)| {
            let mut panics = Panics::new();
            panics.drop(refused);
            panics.resume();
            error
        })
    }
}

impl fmt::Debug for BlockRegistrationHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extras = self.entry().existing_extras();
        f.debug_struct("BlockRegistrationHandle")
            .field("seq_hash", &self.seq_hash())
            .field(
                "attached_types",
                &self
                    .entry()
                    .with_attachments(|all| all.map_or(0, |all| all.len())),
            )
            .field(
                "touch_callbacks",
                &extras.map_or(0, |extras| extras.callbacks().len()),
            )
            .finish()
    }
}
