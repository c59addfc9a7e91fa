//! Access to the attachments of one type.

use std::any::Any;
use std::marker::PhantomData;

use super::entries::Entry;

/// The attachments of type `T` of one handle, from
/// [`BlockRegistrationHandle::get`](super::BlockRegistrationHandle::get).
///
/// Every accessor runs its closure with the handle's attachments locked: keep it
/// short, and do not use the attachments of the same handle in it (that would
/// deadlock). Attachments have a lock of their own, which no operation on blocks
/// takes.
pub struct TypedAttachments<'a, T> {
    entry: &'a Entry,
    of_type: PhantomData<T>,
}

impl<'a, T: Any + Send + Sync> TypedAttachments<'a, T> {
    /// The attachments of a handle to `entry`.
    pub(super) fn new(entry: &'a Entry) -> Self {
        Self {
            entry,
            of_type: PhantomData,
        }
    }

    /// Calls `f` with the unique value; returns `None` if there is none.
    pub fn with_unique<R>(&self, f: impl FnOnce(&T) -> R) -> Option<R> {
        self.with_unique_mut(|value| f(value))
    }

    /// Calls `f` with the unique value; returns `None` if there is none.
    pub fn with_unique_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.entry
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
