//! Holds: owned blocks and pins, of which guards are made.
//!
//! | hold | stands for | its drop |
//! |---|---|---|
//! | [`Exclusive`] | a block that nothing else owns, and its credit | frees the block |
//! | [`Pinned`] | one pin of a registered block | takes the pin off |
//!
//! This is where `unsafe` ends in a block's life. The operations of a store create one hold
//! for each block or pin that they hand out, and whatever ends that block's or pin's use
//! consumes the hold. So safe code cannot free a block twice, nor take a pin off twice. Guards
//! are holds with a metadata type, and contain no `unsafe` of their own.
//!
//! # May a hold use its store?
//!
//! Yes, until its credit is returned. A held block is a missing credit, and the store lives
//! until the last credit is back (see [`store`](crate::engine::store)). This ends with the
//! exchange that returns the credit, or that takes off a pin which may not be the last: from
//! then on, another thread may free the store.
//!
//! A *reference* that is passed to a function must stay valid until that function returns.
//! Therefore functions that return a credit, or take off a pin that may not be the last, take
//! slots and stores by address.

use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;

use crate::SequenceHash;
use crate::engine::parts::slot::Slot;
use crate::engine::store::{Store, store_of};
use crate::metrics::Counter;

/// The stage of an exclusive block on its way to registration.
pub(crate) trait Stage {
    /// The counter of blocks that are freed by dropping a hold of this stage.
    const RELEASED: Counter;
}

/// The stage of a block without content.
pub(crate) enum Mutable {}

/// The stage of a block whose content has a hash but is not registered yet.
pub(crate) enum Complete {}

impl Stage for Mutable {
    const RELEASED: Counter = Counter::MutableReleased;
}

impl Stage for Complete {
    const RELEASED: Counter = Counter::CompleteReleased;
}

/// A block that nothing else owns, and its credit. Dropping it frees the block.
#[repr(transparent)]
pub(crate) struct Exclusive<S: Stage> {
    slot: NonNull<Slot>,
    stage: PhantomData<S>,
}

// SAFETY: the block belongs to the hold alone, slots consist of atomics, and a block may be
// freed on any thread.
unsafe impl<S: Stage> Send for Exclusive<S> {}
// SAFETY: as above; a shared hold only allows constants to be read.
unsafe impl<S: Stage> Sync for Exclusive<S> {}

impl<S: Stage> Exclusive<S> {
    /// Takes ownership of a block.
    ///
    /// # Safety
    ///
    /// The slot is part of a store, its word is exclusive, it is on no freelist, and nothing
    /// else owns it. A credit is reserved for it, which becomes the hold's.
    #[inline]
    pub(in crate::engine) unsafe fn of(slot: &Slot) -> Self {
        Self {
            slot: NonNull::from(slot),
            stage: PhantomData,
        }
    }

    /// Returns the block's slot.
    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: the missing credit keeps the store alive, and with it the slot.
        unsafe { self.slot.as_ref() }
    }

    /// Returns the block's store.
    #[inline]
    pub(crate) fn store(&self) -> &Store {
        // SAFETY: the missing credit keeps the store alive.
        unsafe { store_of(self.slot) }
    }

    /// Returns whether the block belongs to `store`.
    #[inline]
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        std::ptr::eq(self.store(), store)
    }

    /// Consumes the hold without freeing the block: it belongs to the caller now, with its
    /// credit.
    #[inline]
    pub(in crate::engine) fn into_slot(self) -> NonNull<Slot> {
        let slot = self.slot;
        mem::forget(self);
        slot
    }

    /// Turns this into a hold of another stage on the same block.
    #[inline]
    fn into_stage<N: Stage>(self) -> Exclusive<N> {
        Exclusive {
            slot: self.into_slot(),
            stage: PhantomData,
        }
    }
}

impl Exclusive<Mutable> {
    /// Sets the hash of the block's content.
    #[inline]
    pub(crate) fn stage(self, hash: SequenceHash) -> Exclusive<Complete> {
        self.store().stage(self.slot(), hash);
        self.into_stage()
    }
}

impl Exclusive<Complete> {
    /// Gives up the content, which makes this a hold on a mutable block again.
    pub(crate) fn unstage(self) -> Exclusive<Mutable> {
        self.store().count(Counter::Unstaged, 1);
        self.into_stage()
    }
}

impl<S: Stage> Drop for Exclusive<S> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the hold ends here, and gives up its block and its credit.
        unsafe { Store::free(self.slot, S::RELEASED) };
    }
}

/// One pin of a registered block. Dropping it takes the pin off; a clone adds another.
#[repr(transparent)]
pub(crate) struct Pinned(NonNull<Slot>);

// SAFETY: a pin may be added, used and taken off on any thread: everything it leads to is
// atomic, or does not change while the block is pinned.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Takes ownership of a pin.
    ///
    /// # Safety
    ///
    /// The slot is part of a store, and the caller owns one of its pins, which becomes the
    /// hold's. If it is the only pin, the block's credit becomes the hold's, too.
    #[inline]
    pub(in crate::engine) unsafe fn of(slot: &Slot) -> Self {
        Self(NonNull::from(slot))
    }

    /// Returns the block's slot.
    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: the missing credit keeps the store alive, and with it the slot.
        unsafe { self.0.as_ref() }
    }

    /// Returns the block's store.
    #[inline]
    pub(crate) fn store(&self) -> &Store {
        // SAFETY: the missing credit keeps the store alive.
        unsafe { store_of(self.0) }
    }

    /// Returns the address of the block's slot.
    #[inline]
    pub(in crate::engine) fn address(&self) -> NonNull<Slot> {
        self.0
    }

    /// Returns whether the block belongs to `store`.
    #[inline]
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        std::ptr::eq(self.store(), store)
    }

    /// Consumes the hold without taking the pin off: it belongs to the caller now.
    #[inline]
    pub(in crate::engine) fn into_slot(self) -> NonNull<Slot> {
        let slot = self.0;
        mem::forget(self);
        slot
    }
}

impl Clone for Pinned {
    #[inline]
    fn clone(&self) -> Self {
        self.slot().pin_again();
        self.store().count(Counter::SharedPins, 1);
        Self(self.0)
    }
}

impl Drop for Pinned {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the hold ends here, and gives up its pin.
        unsafe { Store::unpin(self.0) };
    }
}
