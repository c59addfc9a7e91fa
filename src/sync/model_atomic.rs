//! loom's atomics, with every access of one in turn with every other.
//!
//! loom tries the order of two accesses the other way around if the second
//! depends on the first, and of the accesses so far it remembers only the last. A
//! thread that loads and then exchanges hides with its own load that another
//! thread had loaded before, and what that thread does if the exchange comes first
//! is never tried. So here every access is preceded by a relaxed addition to a
//! second atomic. All of these depend on each other, and order nothing else: only a
//! release fence would make more of them than there is.

use std::ops::Deref;

use loom::sync::atomic as loomed;
use loom::sync::atomic::Ordering;

/// See the module documentation.
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
