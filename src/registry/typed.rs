//! Access to the attachments of one type.

use std::any::{Any, type_name};
use std::fmt;
use std::marker::PhantomData;

use super::entries::Entry;

/// The attachments of type `T` of one hash, returned by
/// [`BlockRegistrationHandle::get`](super::BlockRegistrationHandle::get).
///
/// Every accessor runs its closure with the hash's attachments locked. Keep it short, and do
/// not use the attachments of the same hash inside it: that would deadlock. No operation on
/// blocks takes this lock.
///
/// ```
/// use kvbm_lockfree::{BlockRegistry, SequenceHash};
///
/// struct Replica(&'static str);
///
/// let registry = BlockRegistry::new();
/// let handle = registry.register_sequence_hash(SequenceHash::new(7, None, 0));
/// handle.attach(Replica("node-1")).expect("replicas are not attached as unique");
/// handle.attach(Replica("node-2")).expect("replicas are not attached as unique");
///
/// let replicas = handle.get::<Replica>();
/// replicas.with_multiple_mut(|replicas| replicas[0].0 = "node-3");
/// let nodes = replicas.with_multiple(|replicas| replicas.iter().map(|it| it.0).collect::<Vec<_>>());
/// assert_eq!(nodes, ["node-3", "node-2"]);
/// assert!(replicas.with_unique(|_| ()).is_none());
/// ```
#[must_use = "an accessor reads nothing until one of its methods is called"]
pub struct TypedAttachments<'a, T> {
    entry: &'a Entry,
    of_type: PhantomData<T>,
}

impl<'a, T: Any + Send + Sync> TypedAttachments<'a, T> {
    /// Creates the accessor for the attachments of `entry`, to which the caller has a
    /// handle.
    pub(super) fn new(entry: &'a Entry) -> Self {
        Self {
            entry,
            of_type: PhantomData,
        }
    }

    /// Calls `f` with the unique value. Returns `None` if there is none.
    pub fn with_unique<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.with_unique_mut(|value| f(value))
    }

    /// Calls `f` with a mutable reference to the unique value. Returns `None` if there is
    /// none.
    pub fn with_unique_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.entry
            .with_attachments(|attachments| attachments?.unique().map(f))
    }

    /// Calls `f` with the multiple values, in the order in which they were attached.
    pub fn with_multiple<R>(&self, f: impl FnOnce(&[&T]) -> R) -> R {
        self.with_all(|_, values| f(values))
    }

    /// Calls `f` with mutable references to the multiple values, in the order in which they
    /// were attached.
    pub fn with_multiple_mut<R>(&self, f: impl FnOnce(&mut [&mut T]) -> R) -> R {
        self.with_all_mut(|_, values| f(values))
    }

    /// Calls `f` with the unique value and the multiple values. A type is attached as one or
    /// the other, so at most one of the two is present.
    pub fn with_all<R>(&self, f: impl FnOnce(Option<&T>, &[&T]) -> R) -> R {
        self.with_all_mut(|unique, multiple| {
            let multiple: Vec<&T> = multiple.iter().map(|value| &**value).collect();
            f(unique.map(|value| &*value), &multiple)
        })
    }

    /// Calls `f` with mutable references to the unique value and the multiple values. A type
    /// is attached as one or the other, so at most one of the two is present.
    pub fn with_all_mut<R>(&self, f: impl FnOnce(Option<&mut T>, &mut [&mut T]) -> R) -> R {
        self.entry
            .with_attachments(|attachments| match attachments {
                None => f(None, &mut []),
                Some(attachments) => {
                    if attachments.unique::<T>().is_some() {
                        f(attachments.unique(), &mut [])
                    } else {
                        f(None, &mut attachments.multiple())
                    }
                }
            })
    }
}

impl<T> fmt::Debug for TypedAttachments<'_, T> {
    /// Shows no attachments: it may be called while they are locked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedAttachments")
            .field("seq_hash", &self.entry.hash())
            .field("type", &type_name::<T>())
            .finish()
    }
}
