//! loom's atomics, changed so that all accesses of an atomic depend on each other.
//!
//! loom explores the reverse order of two accesses if the second depends on the first, and it
//! remembers only the latest access. If a thread loads and then exchanges, its own load hides the
//! fact that another thread has loaded before, and loom never explores what that thread does if the
//! exchange comes first.
//!
//! Here, every access is therefore preceded by a relaxed addition to a second atomic. All of these
//! additions depend on each other. They impose no order otherwise, unless there is a release fence
//! before them, which they would make stronger than it is.

use std::ops::Deref;

use loom::sync::atomic as loomed;
use loom::sync::atomic::Ordering;

/// An atomic and the second atomic that links its accesses; see the module documentation.
pub(crate) struct InTurn<A> {
    atomic: A,
    turn: loomed::AtomicU32,
}

impl<A> Deref for InTurn<A> {
    type Target = A;

    fn deref(&self) -> &A {
        self.turn.fetch_add(1, Ordering::Relaxed);
        &self.atomic
    }
}

macro_rules! in_turn {
    ($($name:ident: $value:ty),*) => {$(
        pub(crate) type $name = InTurn<loomed::$name>;

        impl InTurn<loomed::$name> {
            pub(crate) fn new(value: $value) -> Self {
                Self {
                    atomic: loomed::$name::new(value),
                    turn: loomed::AtomicU32::new(0),
                }
            }
        }
    )*};
}

in_turn!(AtomicBool: bool, AtomicU8: u8, AtomicU16: u16, AtomicU32: u32, AtomicU64: u64);

pub(crate) type AtomicPtr<T> = InTurn<loomed::AtomicPtr<T>>;

impl<T> InTurn<loomed::AtomicPtr<T>> {
    pub(crate) fn new(value: *mut T) -> Self {
        Self {
            atomic: loomed::AtomicPtr::new(value),
            turn: loomed::AtomicU32::new(0),
        }
    }
}
