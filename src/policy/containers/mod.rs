//! Data structures over slot numbers, from which the orders are built.
//!
//! | file | idea |
//! |---|---|
//! | [`list`] | doubly linked lists in one array |
//! | [`ring`] | slots in order of release |
//! | [`heap`] | a binary heap that knows where each slot is |
//! | [`bitmap`] | a set of numbers that finds its next member quickly |
//! | [`bands`] | slots by priority |
//!
//! A link to a slot is a `u32`, with [`NIL`] for "none". That is half the size of an
//! `Option<u32>`; in arrays as long as the store, it is the difference between touching one
//! cache line and two.

pub(crate) mod bands;
pub(crate) mod bitmap;
pub(crate) mod heap;
pub(crate) mod list;
pub(crate) mod ring;

/// The number that stands for "no slot" or "no node" in a link.
pub(crate) const NIL: u32 = u32::MAX;

/// Returns `Err(fault())` unless `sound` holds. Every structural check is built from this.
pub(crate) fn ensure(sound: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if sound { Ok(()) } else { Err(fault()) }
}
