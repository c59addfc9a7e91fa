//! Typed values that users attach to a registered hash.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use super::handle::BlockRegistrationHandle;

/// An attachment was refused; nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachmentError {
    /// `attach_unique` of a type that [`attach`](BlockRegistrationHandle::attach)
    /// has been used for on this handle.
    TypeAlreadyRegisteredAsMultiple(TypeId),
    /// `attach` of a type that
    /// [`attach_unique`](BlockRegistrationHandle::attach_unique) has been used for
    /// on this handle.
    TypeAlreadyRegisteredAsUnique(TypeId),
}

impl fmt::Display for AttachmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (type_id, mode) = match self {
            Self::TypeAlreadyRegisteredAsMultiple(type_id) => (type_id, "multiple"),
            Self::TypeAlreadyRegisteredAsUnique(type_id) => (type_id, "unique"),
        };
        write!(
            f,
            "Type {type_id:?} is already registered as {mode} attachment"
        )
    }
}

impl std::error::Error for AttachmentError {}

type Value = Box<dyn Any + Send + Sync>;

/// How a type is attached to a handle: the first attachment decides for good.
enum Attached {
    Unique(Value),
    Multiple(Vec<Value>),
}

/// The attachments of one handle, by type.
#[derive(Default)]
pub(super) struct AttachmentStore {
    by_type: HashMap<TypeId, Attached>,
}

impl AttachmentStore {
    /// Sets the unique value of a type; returns the one it replaces. A value that
    /// is refused is returned too: values are the user's, and are dropped with no
    /// lock held.
    pub(super) fn set_unique<T: Any + Send + Sync>(
        &mut self,
        value: T,
    ) -> Result<Option<Value>, (AttachmentError, T)> {
        let type_id = TypeId::of::<T>();
        match self.by_type.get_mut(&type_id) {
            Some(Attached::Multiple(_)) => Err((
                AttachmentError::TypeAlreadyRegisteredAsMultiple(type_id),
                value,
            )),
            Some(Attached::Unique(old)) => Ok(Some(std::mem::replace(old, Box::new(value)))),
            None => {
                self.by_type
                    .insert(type_id, Attached::Unique(Box::new(value)));
                Ok(None)
            }
        }
    }

    /// Adds a value of a type; returns one that is refused.
    pub(super) fn add<T: Any + Send + Sync>(
        &mut self,
        value: T,
    ) -> Result<(), (AttachmentError, T)> {
        let type_id = TypeId::of::<T>();
        match self
            .by_type
            .entry(type_id)
            .or_insert_with(|| Attached::Multiple(Vec::new()))
        {
            Attached::Unique(_) => Err((
                AttachmentError::TypeAlreadyRegisteredAsUnique(type_id),
                value,
            )),
            Attached::Multiple(values) => {
                values.push(Box::new(value));
                Ok(())
            }
        }
    }

    fn unique<T: Any>(&mut self) -> Option<&mut T> {
        match self.by_type.get_mut(&TypeId::of::<T>())? {
            Attached::Unique(value) => value.downcast_mut(),
            Attached::Multiple(_) => None,
        }
    }

    fn multiple<T: Any>(&mut self) -> Vec<&mut T> {
        match self.by_type.get_mut(&TypeId::of::<T>()) {
            Some(Attached::Multiple(values)) => values
                .iter_mut()
                .filter_map(|value| value.downcast_mut())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// All values, those of one type in the order in which they were attached.
    pub(super) fn into_values(self) -> impl Iterator<Item = Value> {
        self.by_type
            .into_values()
            .flat_map(|attached| match attached {
                Attached::Unique(value) => vec![value],
                Attached::Multiple(values) => values,
            })
    }

    /// The number of types with attachments.
    pub(super) fn len(&self) -> usize {
        self.by_type.len()
    }
}

/// The attachments of type `T` of one handle, from
/// [`BlockRegistrationHandle::get`].
///
/// Every accessor runs its closure with the handle's attachments locked: keep it
/// short, and do not use the attachments of the same handle in it (that would
/// deadlock). Attachments have a lock of their own, which no operation on blocks
/// takes.
pub struct TypedAttachments<'a, T> {
    handle: &'a BlockRegistrationHandle,
    of_type: PhantomData<T>,
}

impl<'a, T: Any + Send + Sync> TypedAttachments<'a, T> {
    pub(super) fn new(handle: &'a BlockRegistrationHandle) -> Self {
        Self {
            handle,
            of_type: PhantomData,
        }
    }

    /// Calls `f` with the unique value; returns `None` if there is none.
    pub fn with_unique<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.with_unique_mut(|value| f(value))
    }

    /// Calls `f` with the unique value; returns `None` if there is none.
    pub fn with_unique_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.handle
            .with_attachments(|attachments| attachments?.unique().map(f))
    }

    /// Calls `f` with the multiple values, in the order they were attached.
    pub fn with_multiple<R>(&self, f: impl FnOnce(&[&T]) -> R) -> R {
        self.with_all(|_, values| f(values))
    }

    /// Calls `f` with the multiple values, in the order they were attached.
    pub fn with_multiple_mut<R>(&self, f: impl FnOnce(&mut [&mut T]) -> R) -> R {
        self.with_all_mut(|_, values| f(values))
    }

    /// Calls `f` with the unique value and the multiple values. A type is
    /// attached as one or the other, so at most one of the two is there.
    pub fn with_all<R>(&self, f: impl FnOnce(Option<&T>, &[&T]) -> R) -> R {
        self.with_all_mut(|unique, multiple| {
            let multiple: Vec<&T> = multiple.iter().map(|value| &**value).collect();
            f(unique.map(|value| &*value), &multiple)
        })
    }

    /// Calls `f` with the unique value and the multiple values. A type is
    /// attached as one or the other, so at most one of the two is there.
    pub fn with_all_mut<R>(&self, f: impl FnOnce(Option<&mut T>, &mut [&mut T]) -> R) -> R {
        self.handle
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
