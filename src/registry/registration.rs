//! The registration protocol: when a hash is registered, and when its entry ends.
//!
//! **A hash is registered while it has a handle or a block.** Blocks are found in the
//! indexes of the tiers that share the registry, so a block needs no entry: registering and
//! evicting one leaves the registry alone as long as nobody has asked for a handle to its
//! hash. That makes the common case cheap. The price is this protocol, since attachments
//! live as long as their hash is registered.
//!
//! # States of a hash
//!
//! | state | handles | blocks | entry |
//! |---|---|---|---|
//! | unregistered | none | none | none |
//! | cached | none | some | none |
//! | held | some | any | live: counts the handles, has the attachments |
//! | unheld | none | some | live: keeps the attachments for the blocks |
//! | ended | none | none | dead: unlinked, reported to the observer, retired |
//!
//! With an [`Observer`](super::Observer) there is no cached state: the first block of a hash
//! makes its entry, since making and ending an entry is what the observer is told.
//!
//! # Who does what, and when
//!
//! *A tier registers a block*, by a [`Ticket`]:
//!
//! 1. [`Core::begin`] ends the entry that a cleared block of the hash has left, so that its
//!    attachments do not pass to the new content; and where there are several tiers, takes a
//!    handle to the entry. Otherwise a thread that ends the entry could look for a block
//!    here too early, and in the tier that has the last other one too late.
//! 2. The tier links the block, which can be matched from then on.
//! 3. [`Ticket::commit`] gives the handle up; if there was no entry to begin with, one may
//!    have come since, and is held and given up now, so that it ends only after another look
//!    for a block. Then the observer is told, if this registers the hash, and the access is
//!    counted. The caller pins the block meanwhile, so it cannot be gone. If no block was
//!    linked, as a duplicate or a refused one is not, [`Ticket::abandon`] only gives the
//!    handle up.
//!
//! *Somebody asks for a handle*: [`Core::handle`] counts an entry *before* inserting it, then
//! tells the observer. It holds the entry by then, so the end is told later.
//!
//! *Somebody drops a handle*: [`EntryHandle::release`] takes it off, and if it was the last
//! looks for a block. If no tier has one, it ends the entry.
//!
//! *A tier loses its block of a hash*: once the block cannot be found any more, it asks
//! whether there are [entries](Core::has_entries), once for all blocks it has lost together,
//! and if so calls [`Core::end`] for each hash: if the entry is unheld and no tier has a
//! block, that ends it.
//!
//! *A tier is cleared*, by [`Core::clear`]: from then on step 1 looks for entries of cleared
//! blocks. The observer is told afterwards, and has [`Tier::end_cleared`] called elsewhere.
//!
//! # Why exactly one ends an entry
//!
//! Whoever drops the last handle and whoever takes the last block away first make their own
//! change and then look for the other's, with a sequentially consistent fence in between, so
//! at least one of the two sees both. Both may. The exchange in `Entry::die` then lets one of
//! them act; and none if somebody has had a handle since the entry was seen unheld, since
//! that handle may have been left to a block that the look for blocks came too early for.
//!
//! User code (the drops of attachments, the observer's policy, the frequency tracker) is
//! called with nothing held and nothing half done: every step leaves it to its caller, as
//! [`Leftovers`].

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Weak};

use crate::SequenceHash;
use crate::key::Key;
use crate::sync::epoch::{self, Guard};
use crate::sync::step;
use crate::sync::{Ordering, fence};

use super::core::Core;
use super::entries::{Entry, Unheld};
use super::leftovers::Leftovers;
use super::tier::Tier;

/// A handle to a hash, which keeps it registered. Dropping it is a step of the protocol.
pub(crate) struct EntryHandle {
    entry: NonNull<Entry>,
    core: Arc<Core>,
}

// SAFETY: an entry is made of atomics and locks, apart from its key, which does
// not change; attachments are required to be `Send + Sync`, and callbacks are.
unsafe impl Send for EntryHandle {}
// SAFETY: as above.
unsafe impl Sync for EntryHandle {}

impl EntryHandle {
    /// Takes over a handle.
    ///
    /// # Safety
    ///
    /// The entry is one of `core`, and a handle to it is the caller's to hand over.
    #[inline]
    unsafe fn of(entry: &Entry, core: &Arc<Core>) -> Self {
        Self {
            entry: NonNull::from(entry),
            core: Arc::clone(core),
        }
    }

    pub(super) fn entry(&self) -> &Entry {
        // SAFETY: an entry with a handle is not freed.
        unsafe { self.entry.as_ref() }
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Drops the handle, and leaves user code to the caller.
    fn release(self, leftovers: &mut Leftovers) {
        let this = ManuallyDrop::new(self);
        // SAFETY: what is read is not dropped by anybody else.
        let core = unsafe { ptr::read(&this.core) };
        // SAFETY: this is the handle that is given up, to an entry of this core.
        unsafe { core.release(this.entry.as_ptr(), leftovers) };
        // The last reference, perhaps.
        leftovers.catch(|| drop(core));
    }
}

impl Clone for EntryHandle {
    fn clone(&self) -> Self {
        self.entry().acquire();
        Self {
            entry: self.entry,
            core: Arc::clone(&self.core),
        }
    }
}

impl Drop for EntryHandle {
    #[inline]
    fn drop(&mut self) {
        let mut leftovers = Leftovers::new();
        // SAFETY: this is the handle that is given up, to an entry of this core.
        unsafe { self.core.release(self.entry.as_ptr(), &mut leftovers) };
        leftovers.settle();
    }
}

/// A registration under way, from before its block is linked until after: see
/// [the protocol](self).
#[must_use = "a registration is committed or abandoned"]
pub(crate) struct Ticket<'c> {
    core: &'c Arc<Core>,
    /// Where there are several tiers, and the hash had an entry.
    handle: Option<EntryHandle>,
}

impl Ticket<'_> {
    /// Ends a registration that has made a block the first of its hash in `tier`. If the hash
    /// was not registered before, that is an access, and the observer is told.
    ///
    /// The key is the one that the registration was begun with. The caller pins the block.
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

    /// Ends a registration that has made no block the first of its hash.
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

    /// A handle to the entry of a hash, if there is one: it is not ended meanwhile.
    #[cold]
    fn hold(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) -> Option<EntryHandle> {
        if self.has_cleared() {
            self.end_if_cleared(key, leftovers);
        }
        let guard = &epoch::pin();
        let entry = self.entries.find(key, guard);
        let entry = entry.filter(|entry| entry.try_acquire())?;
        // SAFETY: the handle that was just made, to an entry of this core.
        Some(unsafe { EntryHandle::of(entry, self) })
    }

    /// Holds the entry of a hash that had none when its registration began, if it has one
    /// now: giving the handle up looks for a block, after whoever has looked too early.
    #[cold]
    fn hold_for_a_moment(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) {
        if let Some(handle) = self.hold(key, leftovers) {
            handle.release(leftovers);
        }
    }

    /// Makes an entry for a hash that a tier has a block of, if there is none.
    #[cold]
    fn ensure_entry(self: &Arc<Self>, key: Key, leftovers: &mut Leftovers) {
        // The handle made for it is given up; the block keeps the entry.
        let (handle, _) = self.handle(key, leftovers);
        handle.release(leftovers);
    }

    #[inline]
    fn is_registered_besides(&self, key: Key, besides: &dyn Tier) -> bool {
        self.tiers.have_besides(key, besides) || self.is_held(key)
    }
}

/// Handles: made, found, and given up.
impl Core {
    /// A handle to a hash, and whether the hash was registered before. If that begins a
    /// registration, the observer is asked, whose panic is left to the caller.
    pub(crate) fn handle(
        self: &Arc<Self>,
        key: Key,
        leftovers: &mut Leftovers,
    ) -> (EntryHandle, bool) {
        if self.has_cleared() {
            self.end_if_cleared(key, leftovers);
        }
        let (handle, is_made) = self.find_or_make(key);
        let was_registered = !is_made || self.tiers.have(key, None);
        step!(HandleMade);
        if is_made && self.observer.is_some() {
            // Out of the epoch guard: the observer may be slow, and the handle keeps the entry.
            self.tell_registered(&handle, leftovers);
        }
        (handle, was_registered)
    }

    /// A handle to a hash, and whether its entry was made for it.
    #[inline]
    fn find_or_make(self: &Arc<Self>, key: Key) -> (EntryHandle, bool) {
        let guard = &epoch::pin();
        let (entry, is_made) = self.entries.acquire(key, guard);
        // SAFETY: the handle that was just made, to an entry of this core.
        (unsafe { EntryHandle::of(entry, self) }, is_made)
    }

    /// A handle to a hash, if it is registered.
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

    /// A further handle to a hash that has one.
    #[inline(always)]
    fn existing_handle(self: &Arc<Self>, key: Key) -> Option<EntryHandle> {
        let guard = &epoch::pin();
        let entry = self.entries.find(key, guard);
        let entry = entry.filter(|entry| entry.try_share())?;
        // SAFETY: the handle that was just made, to an entry of this core.
        Some(unsafe { EntryHandle::of(entry, self) })
    }

    /// Takes a handle off an entry, which ends if that was the last and no tier has a block.
    ///
    /// # Safety
    ///
    /// The handle is the caller's, and the entry is one of this registry.
    #[inline(never)]
    unsafe fn release(self: &Arc<Self>, entry: *const Entry, leftovers: &mut Leftovers) {
        // Pinned first: without its handle the entry may be ended and freed.
        let guard = epoch::pin();
        // SAFETY: the caller's handle, and after it the guard, keep the entry.
        let entry = unsafe { &*entry };
        if let Some(unheld) = entry.release() {
            step!(HandleReleased);
            fence(Ordering::SeqCst);
            if !self.tiers.have(entry.key(), None) {
                self.end_entry(entry, unheld, &guard, leftovers);
            }
        }
        self.entries.leave(guard);
    }
}

/// The ends of tenancies and of entries.
impl Core {
    /// Whether there are entries that may have to be ended with a tenancy. To be
    /// asked after the tenancies have ended, once for a batch.
    #[inline]
    pub(crate) fn has_entries(&self) -> bool {
        self.entries.may_be_left()
    }

    /// Ends the entry of a hash that a tier has just lost, if it has no handles
    /// and no other tier has a block of the hash.
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

    /// Ends the entry of a hash if it is left to a block that has been cleared: it
    /// would end with that block's tenancy.
    #[cold]
    fn end_if_cleared(&self, key: Key, leftovers: &mut Leftovers) {
        if self.entries.count() != 0 {
            self.end(key, leftovers);
        }
    }

    /// Ends an entry that was seen without handles, unless another thread does or it
    /// has had a handle since.
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

    /// Has `tier` cleared by a call of `clear`.
    pub(crate) fn clear<R>(&self, tier: Weak<dyn Tier>, clear: impl FnOnce() -> R) -> R {
        // Before entries may be left to cleared blocks alone.
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

/// What the observer is told.
impl Core {
    /// For whoever made the entry.
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
