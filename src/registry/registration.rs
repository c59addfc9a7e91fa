//! The registration protocol: when a hash is registered, and when its entry ends.
//!
//! **A hash is registered while it has a handle or a block.** Blocks are found in the indexes
//! of the tiers that share the registry, so a block needs no entry: as long as no handle to a
//! hash has been requested, registering and evicting its block does not change the registry.
//! This makes the common case cheap. Its price is the protocol below, since attachments must
//! live as long as their hash is registered.
//!
//! # Which states does a hash have?
//!
//! | state | handles | blocks | entry |
//! |---|---|---|---|
//! | unregistered | none | none | none |
//! | cached | none | some | none |
//! | held | some | any | live: counts the handles, owns the attachments |
//! | unheld | none | some | live: keeps the attachments for the blocks |
//! | ended | none | none | dead: unlinked, reported to the observer, retired |
//!
//! With an [`Observer`](super::Observer) there is no cached state: the first block of a hash
//! creates its entry, because the observer is told when entries are created and when they end.
//!
//! # What happens when …?
//!
//! *A tier registers a block*, with a [`Ticket`]:
//!
//! 1. [`Core::begin`] ends the entry that a cleared block of the hash has left behind, so
//!    that its attachments do not pass to the new content. If there are several tiers, it
//!    also takes a handle to the entry. Without that handle, a thread about to end the entry
//!    could look into this tier before the block is here, and into the last other tier that
//!    had one after it is gone.
//! 2. The tier links the block, which can be matched from then on.
//! 3. [`Ticket::commit`] releases the handle. If there was no entry to begin with, one may
//!    have been created since; commit acquires and releases it, so that it ends only after
//!    another look for a block. If the hash was not registered before, the observer is told
//!    and the access is counted. The caller pins the block meanwhile, so the block cannot be
//!    gone. If no block was linked, because it was a duplicate or refused,
//!    [`Ticket::abandon`] only releases the handle.
//!
//! *A handle is requested*: [`Core::handle`] counts the entry *before* inserting it, and tells
//! the observer afterwards. By then it holds the entry, so the end is reported later.
//!
//! *A handle is dropped*: [`EntryHandle::release`] decrements the count and, if this was the
//! last handle, looks for a block. If no tier has one, it ends the entry.
//!
//! *A tier loses its block of a hash*: once the block can no longer be found, the tier asks
//! whether there are [entries](Core::has_entries), once for all blocks it has lost together.
//! If there are, it calls [`Core::end`] for each hash, which ends the entry if it is unheld
//! and no tier has a block.
//!
//! *A tier is cleared*, by [`Core::clear`]: from then on, step 1 looks for entries of cleared
//! blocks. The observer is told afterwards, and arranges for [`Tier::end_cleared`] to be
//! called elsewhere.
//!
//! # Why does exactly one thread end an entry?
//!
//! A thread that drops the last handle and a thread that removes the last block each make
//! their own change first and then look for the other's, with a sequentially consistent fence
//! in between. So at least one of the two sees both changes. Both may: then the exchange in
//! `Entry::die` lets only one of them act. It lets neither act if there has been a handle
//! since the entry was seen unheld, because that handle may have left the entry to a block
//! that arrived after the search for blocks.
//!
//! # When does user code run?
//!
//! With nothing held and nothing half done. Each step defers drops of attachments to its
//! caller, as [`Leftovers`]. The observer's policy and the frequency tracker must answer at
//! once; a panic of theirs is deferred in the same way.

use std::mem;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use crate::SequenceHash;
use crate::key::Key;
use crate::sync::epoch::{self, Guard};
use crate::sync::step;
use crate::sync::{Ordering, fence};

use super::core::Core;
use super::entries::{Acquired, Entry, Unheld};
use super::leftovers::Leftovers;
use super::tier::Tier;

/// A handle to a hash, which keeps the hash registered. Dropping it is a step of the
/// protocol.
///
/// While an entry has handles, it owns one reference to the registry's state, which all its
/// handles share: the thread that adds the first handle takes it, and the thread that releases
/// the last one drops it.
#[repr(transparent)]
pub(crate) struct EntryHandle(NonNull<Entry>);

// SAFETY: apart from its key, which does not change, an entry consists of atomics and locks.
// Attachments are required to be `Send + Sync`, and so are callbacks.
unsafe impl Send for EntryHandle {}
// SAFETY: as for `Send`.
unsafe impl Sync for EntryHandle {}

impl EntryHandle {
    /// Takes ownership of one handle that was added to the entry just now.
    ///
    /// # Safety
    ///
    /// The entry belongs to `core`, and the caller owns the handle it passes on, which was
    /// `acquired` in this way.
    #[inline]
    unsafe fn of(entry: &Entry, acquired: Acquired, core: &Arc<Core>) -> Self {
        if acquired != Acquired::Shared {
            // The entry's reference.
            mem::forget(Arc::clone(core));
        }
        Self(NonNull::from(entry))
    }

    #[inline]
    pub(super) fn entry(&self) -> &Entry {
        // SAFETY: an entry that has a handle is not freed.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn core(&self) -> &Core {
        // SAFETY: this is the address of the registry's state, which an entry that has a handle keeps.
        unsafe { &*self.entry().state().cast() }
    }

    /// Drops the handle and defers user code to the caller.
    fn release(self, leftovers: &mut Leftovers) {
        let entry = self.0;
        mem::forget(self);
        // SAFETY: the handle being released is `self`.
        unsafe { Core::release(entry, leftovers) };
    }
}

impl Clone for EntryHandle {
    fn clone(&self) -> Self {
        self.entry().acquire();
        Self(self.0)
    }
}

impl Drop for EntryHandle {
    #[inline]
    fn drop(&mut self) {
        let mut leftovers = Leftovers::new();
        // SAFETY: the handle being released is `self`.
        unsafe { Core::release(self.0, &mut leftovers) };
        leftovers.settle();
    }
}

/// A registration in progress, from before its block is linked until afterwards: see [the
/// protocol](self).
#[must_use = "a registration must be committed or abandoned"]
pub(crate) struct Ticket<'c> {
    core: &'c Arc<Core>,
    /// A handle to the entry, if there are several tiers and the hash had one.
    handle: Option<EntryHandle>,
}

impl Ticket<'_> {
    /// Finishes a registration whose block became the primary of its hash in `tier`. If the
    /// hash was not registered before, this counts as an access, and the observer is told.
    ///
    /// `key` is the one that the registration was begun with. The caller pins the block.
    #[inline]
    pub(crate) fn commit(self, key: Key, tier: &dyn Tier, leftovers: &mut Leftovers) {
        let Self { core, handle } = self;
        match handle {
            Some(handle) => handle.release(leftovers),
            None if core.tiers.are_several() => core.hold_for_a_moment(key, leftovers),
            None => {}
        }
        let is_access = core.tracker().is_some() && !core.is_registered_besides(key, tier);
        if core.observer.is_some() {
            core.ensure_entry(key, leftovers);
        }
        if is_access {
            core.touch(key.hash, leftovers);
        }
    }

    /// Finishes a registration that linked no block.
    #[inline]
    pub(crate) fn abandon(self, leftovers: &mut Leftovers) {
        if let Some(handle) = self.handle {
            handle.release(leftovers);
        }
    }
}

/// Registering a block.
impl Core {
    /// Begins the registration of a block.
    #[inline]
    pub(crate) fn begin(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) -> Ticket<'_> {
        let handle = if self.tiers.are_several() {
            self.hold(key, leftovers)
        } else {
            if self.has_cleared() {
                self.end_if_cleared(key, leftovers);
            }
            None
        };
        Ticket { core: self, handle }
    }

    /// Returns a handle to the entry of a hash, if there is one, which keeps the entry from
    /// ending.
    #[cold]
    fn hold(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) -> Option<EntryHandle> {
        if self.has_cleared() {
            self.end_if_cleared(key, leftovers);
        }
        let guard = &epoch::pin();
        let entry = self.entries.find(key, guard);
        let (entry, acquired) = entry.and_then(|entry| Some((entry, entry.try_acquire()?)))?;
        // SAFETY: the handle was acquired just now, and the entry belongs to this core.
        Some(unsafe { EntryHandle::of(entry, acquired, self) })
    }

    /// Acquires and releases the entry of a hash that had none when its registration began, if
    /// it has one now. Releasing looks for a block again, and so later than any thread that
    /// looked too early.
    #[cold]
    fn hold_for_a_moment(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) {
        if let Some(handle) = self.hold(key, leftovers) {
            handle.release(leftovers);
        }
    }

    /// Creates an entry for a hash that has a block, if there is none.
    #[cold]
    fn ensure_entry(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) {
        // The handle was needed to create the entry; from here on, the block keeps it.
        let (handle, _) = self.handle(key, leftovers);
        handle.release(leftovers);
    }

    #[inline]
    fn is_registered_besides(&self, key: Key, besides: &dyn Tier) -> bool {
        self.tiers.have_besides(key, besides) || self.is_held(key)
    }
}

/// Creating, finding and releasing handles.
impl Core {
    /// Returns a handle to a hash, and whether this counts as an access: there is a frequency
    /// tracker, and the hash was not registered before. If this begins a registration, the
    /// observer is asked; a panic of its policy is deferred.
    pub(crate) fn handle(
        self: &Arc<Self>,
        key: Key,
        leftovers: &mut Leftovers,
    ) -> (EntryHandle, bool) {
        if self.has_cleared() {
            self.end_if_cleared(key, leftovers);
        }
        let (handle, is_made) = self.find_or_make(key);
        let is_access = is_made && self.tracker().is_some() && !self.tiers.have(key, None);
        step!(HandleMade);
        if is_made && self.observer.is_some() {
            // Outside the epoch guard: the observer may be slow, and the handle keeps the
            // entry.
            self.tell_registered(&handle, leftovers);
        }
        (handle, is_access)
    }

    /// Returns a handle to a hash, and whether its entry was created for it.
    #[inline]
    fn find_or_make(self: &Arc<Self>, key: Key) -> (EntryHandle, bool) {
        let guard = &epoch::pin();
        let state = Arc::as_ptr(self).cast();
        let (entry, acquired) = self.entries.acquire(key, state, guard);
        // SAFETY: the handle was acquired just now, and the entry belongs to this core.
        let handle = unsafe { EntryHandle::of(entry, acquired, self) };
        (handle, acquired == Acquired::Made)
    }

    /// Returns a handle to a hash, if the hash is registered.
    pub(super) fn registered_handle(
        self: &Arc<Self>,
        hash: SequenceHash,
        leftovers: &mut Leftovers,
    ) -> Option<EntryHandle> {
        let key = self.key(hash);
        if let Some(handle) = self.existing_handle(key) {
            step!(HandleMade);
            return Some(handle);
        }
        self.tiers
            .have(key, None)
            .then(|| self.handle(key, leftovers).0)
    }

    /// Returns another handle to a hash, if it has one already.
    #[inline(always)]
    fn existing_handle(self: &Arc<Self>, key: Key) -> Option<EntryHandle> {
        let guard = &epoch::pin();
        let entry = self.entries.find(key, guard);
        let entry = entry.filter(|entry| entry.try_share())?;
        // SAFETY: the handle was acquired just now, and the entry belongs to this core.
        Some(unsafe { EntryHandle::of(entry, Acquired::Shared, self) })
    }

    /// Releases a handle. If it was the last and no tier has a block, the entry ends.
    ///
    /// # Safety
    ///
    /// The caller owns the handle, and gives it up.
    #[inline]
    unsafe fn release(entry: NonNull<Entry>, leftovers: &mut Leftovers) {
        // SAFETY: the caller's contract. The handle is released only once.
        unsafe {
            if !Entry::release_shared(entry.as_ptr()) {
                Self::release_last(entry, leftovers);
            }
        }
    }

    /// Releases a handle that is probably the last one of its entry.
    ///
    /// # Safety
    ///
    /// The contract of [`release`](Self::release).
    #[inline(never)]
    unsafe fn release_last(entry: NonNull<Entry>, leftovers: &mut Leftovers) {
        // Pinned first: without its handle, the entry may be ended and freed.
        let guard = epoch::pin();
        // SAFETY: the entry is kept by the caller's handle, and then by the guard.
        let entry = unsafe { entry.as_ref() };
        let state = entry.state().cast::<Self>();
        let Some(unheld) = entry.release() else {
            return;
        };
        // SAFETY: this is the address of an `Arc`. The entry's reference to it belongs to
        // this thread now, which has released the last handle.
        let core = unsafe { Arc::from_raw(state) };
        step!(HandleReleased);
        fence(Ordering::SeqCst);
        if !core.tiers.have(entry.key(), None) {
            core.end_entry(entry, unheld, &guard, leftovers);
        }
        core.entries.leave(guard);
        // This may be the last reference.
        leftovers.catch(|| drop(core));
    }
}

/// The end of tenancies and of entries.
impl Core {
    /// Returns whether a tenancy's end may have to end an entry, too. Ask after the
    /// tenancies have ended, once per batch.
    #[inline]
    pub(crate) fn has_entries(&self) -> bool {
        self.entries.may_be_left()
    }

    /// Ends the entry of a hash that a tier has just lost, if the entry is unheld and no
    /// other tier has a block.
    #[cold]
    pub(crate) fn end(&self, key: Key, leftovers: &mut Leftovers) {
        let guard = epoch::pin();
        if let Some(entry) = self.entries.find(key, &guard)
            && let Some(unheld) = entry.unheld()
            && !self.tiers.have(key, None)
        {
            self.end_entry(entry, unheld, &guard, leftovers);
        }
        self.entries.leave(guard);
    }

    /// Ends the entry of a hash if only a cleared block keeps it. The end of that block's
    /// tenancy would end the entry otherwise.
    #[cold]
    fn end_if_cleared(&self, key: Key, leftovers: &mut Leftovers) {
        if self.entries.count() != 0 {
            self.end(key, leftovers);
        }
    }

    /// Ends an entry that was seen unheld, unless another thread does so or there has been a
    /// handle since.
    #[inline(never)]
    fn end_entry(&self, entry: &Entry, unheld: Unheld, guard: &Guard, leftovers: &mut Leftovers) {
        if !entry.die(unheld) {
            return;
        }
        step!(EntryDead);
        self.entries.remove(entry, guard);
        step!(EntryRemoved);
        if entry.is_observed() {
            self.tell_removed(entry.hash());
        }
        if let Some(extras) = entry.take_extras() {
            leftovers.leave(extras);
        }
        self.entries.retire(entry, guard);
    }

    /// Clears `tier` by calling `clear`.
    pub(crate) fn clear<R>(&self, tier: Weak<dyn Tier>, clear: impl FnOnce() -> R) -> R {
        // Set before any entry can be left to cleared blocks alone.
        self.has_cleared.store(true, Ordering::Relaxed);
        let cleared = clear();
        if let Some(observer) = &self.observer {
            observer.cleared(tier);
        }
        cleared
    }

    #[inline]
    fn has_cleared(&self) -> bool {
        self.has_cleared.load(Ordering::Relaxed)
    }
}

/// Telling the observer.
impl Core {
    /// Called by the thread that created the entry.
    #[cold]
    fn tell_registered(&self, handle: &EntryHandle, leftovers: &mut Leftovers) {
        let entry = handle.entry();
        if let Some(observer) = &self.observer
            && leftovers.catch(|| observer.registered(entry.hash())) == Some(true)
        {
            entry.observe();
        }
    }

    #[cold]
    fn tell_removed(&self, hash: SequenceHash) {
        if let Some(observer) = &self.observer {
            observer.removed(hash);
        }
    }
}
