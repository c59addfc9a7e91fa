//! The public handle to a registered hash.

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

/// A handle to a registered sequence hash.
///
/// While a hash has a handle, it is registered, and its attachments and callbacks live: see
/// [the registry](crate::registry#when-is-a-hash-registered). One handle serves every tier.
/// The first handle to a hash may allocate; cloning one costs an atomic increment.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU32, Ordering};
///
/// use kvbm_lockfree::{BlockRegistry, SequenceHash};
///
/// let registry = BlockRegistry::new();
/// let handle = registry.register_sequence_hash(SequenceHash::new(7, None, 0));
///
/// // Attach where a copy of the content is stored …
/// handle.attach_unique(String::from("bucket/7")).expect("no other strings are attached");
/// let same = registry.register_sequence_hash(handle.seq_hash());
/// let path = same.get::<String>().with_unique(String::clone);
/// assert_eq!(path.as_deref(), Some("bucket/7"));
///
/// // … and count how often it is used.
/// let uses = Arc::new(AtomicU32::new(0));
/// let counter = Arc::clone(&uses);
/// handle.on_touch(Arc::new(move |_| {
///     counter.fetch_add(1, Ordering::Relaxed);
/// }));
/// same.touch();
/// assert_eq!(uses.load(Ordering::Relaxed), 1);
/// ```
#[derive(Clone)]
#[must_use = "dropping the handle may end the registration"]
pub struct BlockRegistrationHandle {
    handle: EntryHandle,
}

impl BlockRegistrationHandle {
    pub(crate) fn new(handle: EntryHandle) -> Self {
        Self { handle }
    }

    pub(super) fn core(&self) -> &Core {
        self.handle.core()
    }

    fn entry(&self) -> &Entry {
        self.handle.entry()
    }

    /// Returns the sequence hash.
    pub fn seq_hash(&self) -> SequenceHash {
        self.entry().hash()
    }

    #[cfg(feature = "events")]
    pub(crate) fn is_observed_by(&self, observer: &dyn Observer) -> bool {
        self.core().is_observed_by(observer)
    }

    /// Returns whether a block of metadata type `T` is registered under the hash in some
    /// manager of this registry. If so, it could have been matched at some instant during
    /// the call. Lock-free.
    pub fn has_block<T: BlockMetadata>(&self) -> bool {
        self.has_any_block(&[TypeId::of::<T>()])
    }

    /// Returns whether [`has_block`](Self::has_block) holds for any of the types. Lock-free.
    pub fn has_any_block(&self, type_ids: &[TypeId]) -> bool {
        self.core().tiers.have(self.entry().key(), Some(type_ids))
    }

    /// Adds a callback for [`touch`](Self::touch) to call. Locks this hash's callbacks, and
    /// allocates.
    pub fn on_touch(&self, callback: Arc<dyn Fn(SequenceHash) + Send + Sync>) {
        self.entry().extras().add_callback(callback);
    }

    /// Calls the callbacks added with [`on_touch`](Self::on_touch), in the order in which
    /// they were added. They run on this thread with no lock held, so they may use the
    /// handle.
    ///
    /// # Panics
    ///
    /// If a callback panics. All other callbacks are called first.
    pub fn touch(&self) {
        if let Some(extras) = self.entry().existing_extras() {
            extras.touch(self.seq_hash());
        }
    }

    /// Returns access to the attachments of type `T`.
    pub fn get<T: Any + Send + Sync>(&self) -> TypedAttachments<'_, T> {
        TypedAttachments::new(self.entry())
    }

    /// Attaches `value` as the only value of type `T`. Replaces, and drops, an earlier one.
    ///
    /// Locks this hash's attachments, and allocates. Dropped values are dropped outside the
    /// lock.
    ///
    /// # Errors
    ///
    /// Returns an error if values of this type have been attached with
    /// [`attach`](Self::attach). In that case, `value` is dropped.
    pub fn attach_unique<T: Any + Send + Sync>(&self, value: T) -> Result<(), AttachmentError> {
        let set = self
            .entry()
            .extras()
            .with_attachments(|attachments| attachments.set_unique(value));
        // User code: dropped with no lock held.
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

    /// Attaches another value of type `T`.
    ///
    /// Locks this hash's attachments, and allocates.
    ///
    /// # Errors
    ///
    /// Returns an error if a value of this type has been attached with
    /// [`attach_unique`](Self::attach_unique). In that case, `value` is dropped.
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
