//! The typed values that users attach to a registered hash.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;

/// The error returned when an attachment is refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachmentError {
    /// [`attach_unique`](super::BlockRegistrationHandle::attach_unique) was called for a
    /// type that has been attached with [`attach`](super::BlockRegistrationHandle::attach).
    TypeAlreadyRegisteredAsMultiple(TypeId),
    /// [`attach`](super::BlockRegistrationHandle::attach) was called for a type that has
    /// been attached with [`attach_unique`](super::BlockRegistrationHandle::attach_unique).
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

/// How a type is attached to a hash. The first attachment decides this for the whole
/// registration.
enum Attached {
    Unique(Value),
    Multiple(Vec<Value>),
}

/// The attachments of one hash, by type.
#[derive(Default)]
pub(super) struct AttachmentStore {
    by_type: HashMap<TypeId, Attached>,
}

impl AttachmentStore {
    /// Sets the unique value of a type and returns the one it replaces. A refused value is
    /// returned, too: values are user code, and are dropped with no lock held.
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

    /// Adds a value of a type. Returns the value if it is refused.
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

    /// Returns the unique value of a type.
    pub(super) fn unique<T: Any>(&mut self) -> Option<&mut T> {
        match self.by_type.get_mut(&TypeId::of::<T>())? {
            Attached::Unique(value) => value.downcast_mut(),
            Attached::Multiple(_) => None,
        }
    }

    /// Returns the multiple values of a type, in the order in which they were attached.
    pub(super) fn multiple<T: Any>(&mut self) -> Vec<&mut T> {
        match self.by_type.get_mut(&TypeId::of::<T>()) {
            Some(Attached::Multiple(values)) => values
                .iter_mut()
                .filter_map(|value| value.downcast_mut())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Returns all values. Those of one type are in the order in which they were attached.
    pub(super) fn into_values(self) -> impl Iterator<Item = Value> {
        self.by_type
            .into_values()
            .flat_map(|attached| match attached {
                Attached::Unique(value) => vec![value],
                Attached::Multiple(values) => values,
            })
    }

    /// Returns the number of types that have attachments.
    pub(super) fn len(&self) -> usize {
        self.by_type.len()
    }
}
