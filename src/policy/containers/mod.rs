//! Data structures over slot numbers, from which the orders are made.
//!
//! | file | |
//! |---|---|
//! | [`list`] | doubly linked lists through one array |
//! | [`ring`] | slots in order of release |
//! | [`heap`] | a binary heap that knows where each slot is |
//! | [`bitmap`] | a set of numbers that finds its next member quickly |
//! | [`bands`] | slots with priorities other than the default |
//!
//! Links between slots are `u32` numbers with [`NIL`] for "none": half the
//! size of an `Option<u32>`, which for arrays as long as the store is the
//! difference between one cache line touched and two.

pub(crate) mod bands;
pub(crate) mod bitmap;
pub(crate) mod heap;
pub(crate) mod list;
pub(crate) mod ring;

/// The number that stands for "no slot" or "no node" in a link.
pub(crate) const NIL: u32 = u32::MAX;

/// Returns `Err(fault())` unless `sound` holds; the shape of every structural check.
pub(crate) fn ensure(sound: bool, fault: impl FnOnce() -> String) -> Result<(), String> {
    if sound { Ok(()) } else { Err(fault()) }
}
