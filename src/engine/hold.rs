//! Holds: what guards are made of, and the edge of `unsafe` in a block's life.
//!
//! | hold | is | its drop |
//! |---|---|---|
//! | [`Exclusive`] | a block that nobody else has | frees the block |
//! | [`Pinned`] | one pin of a registered block | takes the pin off |
//!
//! A hold is made once for what it stands for and consumed by whatever ends that: so in
//! safe code no block is freed twice and no pin is taken off twice. Guards are holds with a
//! metadata type, and contain no `unsafe` of their own.
//!
//! # How long the store lives
//!
//! A held block is a credit that is missing, and the store lives until the last credit is
//! back (see [`credit`](crate::engine::parts::credits)). So a hold may refer to its slot and its store,
//! and whoever ends a hold may do so until the exchange that returns the credit: from there
//! on another thread may free the store. A *reference* that is an argument of a function
//! promises to be valid until that function returns. Therefore whatever returns a
//! credit, or takes off a pin that may not be the last, takes slots and stores by address.

use std::marker::PhantomData;
use std::mem;
use std::ptr::NonNull;

use crate::SequenceHash;
use crate::metrics::Counter;

use crate::engine::parts::slot::Slot;
use crate::engine::store::{Store, store_of};

/// What is done with an exclusive block.
pub(crate) trait Stage {
    /// Counts the blocks of this stage that are freed by their drop.
    const RELEASED: Counter;
}

/// A block without content.
pub(crate) enum Mutable {}

/// A block whose content is named, and that is not registered.
pub(crate) enum Complete {}

impl Stage for Mutable {
    const RELEASED: Counter = Counter::MutableReleased;
}

impl Stage for Complete {
    const RELEASED: Counter = Counter::CompleteReleased;
}

/// A block that nobody else has, and its credit. Frees the block when it is dropped.
#[repr(transparent)]
pub(crate) struct Exclusive<S: Stage> {
    slot: NonNull<Slot>,
    stage: PhantomData<S>,
}

// SAFETY: the block is the hold's alone, slots are made of atomics, and a block may be
// freed on any thread.
unsafe impl<S: Stage> Send for Exclusive<S> {}
// SAFETY: as above; nothing can be done with a shared hold but read constants.
unsafe impl<S: Stage> Sync for Exclusive<S> {}

impl<S: Stage> Exclusive<S> {
    /// Takes over a block.
    ///
    /// # Safety
    ///
    /// The slot is part of a store, its word is exclusive, it is on no freelist, and
    /// nobody else has it. Its credit is reserved, and handed over.
    #[inline]
    pub(in crate::engine) unsafe fn of(slot: &Slot) -> Self {
        Self {
            slot: NonNull::from(slot),
            stage: PhantomData,
        }
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: the missing credit keeps the store.
        unsafe { self.slot.as_ref() }
    }

    #[inline]
    pub(crate) fn store(&self) -> &Store {
        // SAFETY: the missing credit keeps the store.
        unsafe { store_of(self.slot) }
    }

    /// Whether the block is one of this store's.
    #[inline]
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        std::ptr::eq(self.store(), store)
    }

    /// Gives up the hold, but neither the block nor its credit, which are the caller's now.
    #[inline]
    pub(in crate::engine) fn into_slot(self) -> NonNull<Slot> {
        let slot = self.slot;
        mem::forget(self);
        slot
    }

    #[inline]
    fn into_stage<N: Stage>(self) -> Exclusive<N> {
        Exclusive {
            slot: self.into_slot(),
            stage: PhantomData,
        }
    }
}

impl Exclusive<Mutable> {
    /// Names the content of the block.
    #[inline]
    pub(crate) fn stage(self, hash: SequenceHash) -> Exclusive<Complete> {
        self.store().stage(self.slot(), hash);
        self.into_stage()
    }
}

impl Exclusive<Complete> {
    /// Gives up the content.
    pub(crate) fn unstage(self) -> Exclusive<Mutable> {
        self.store().count(Counter::Unstaged, 1);
        self.into_stage()
    }
}

impl<S: Stage> Drop for Exclusive<S> {
    #[inline]
    fn drop(&mut self) {
        self.store().count(S::RELEASED, 1);
        // SAFETY: the hold is given up here, with its block and its credit.
        unsafe { Store::free(self.slot) };
    }
}

/// One pin of a registered block. Takes the pin off when it is dropped.
#[repr(transparent)]
pub(crate) struct Pinned(NonNull<Slot>);

// SAFETY: a pin may be taken, used and taken off on any thread: everything it leads to is
// atomic, or does not change while the block is pinned.
unsafe impl Send for Pinned {}
// SAFETY: as above.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// Takes over a pin.
    ///
    /// # Safety
    ///
    /// The slot is part of a store, and a pin of it is the caller's to hand over. If it is
    /// the only one, so is the block's credit.
    #[inline]
    pub(in crate::engine) unsafe fn of(slot: &Slot) -> Self {
        Self(NonNull::from(slot))
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        // SAFETY: the missing credit keeps the store.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn store(&self) -> &Store {
        // SAFETY: the missing credit keeps the store.
        unsafe { store_of(self.0) }
    }

    /// Whether the block is one of this store's.
    #[inline]
    pub(crate) fn is_of(&self, store: &Store) -> bool {
        std::ptr::eq(self.store(), store)
    }

    /// Gives up the hold but not the pin, which is the caller's now.
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
        // SAFETY: the hold is given up here, with its pin.
        unsafe { Store::unpin(self.0) };
    }
}
