//! The entry of one sequence hash: its handles, and what users have attached to it.
//!
//! An entry is created for the first handle to a hash, and stays until the hash has neither
//! handles nor blocks. Entries are nodes of the registry's [`table`](super::table), and are
//! freed after a grace period of its epochs.
//!
//! One word counts the handles. Its changes are the steps of the [registration
//! protocol](super::super::registration).

use std::ptr;

use crate::SequenceHash;
use crate::key::Key;
use crate::registry::attachments::AttachmentStore;
use crate::registry::extras::Extras;
use crate::sync::{AtomicPtr, AtomicU64, Ordering};

use super::node::Node;

/// The word of an entry that has ended: no handles. It never changes again.
pub(super) const DEAD: u64 = 1 << 63;

/// Added with the first handle after a time without any. The bits from here up to that of
/// [`DEAD`] wrap. See [`Unheld`].
const REVIVAL: u64 = 1 << 32;

/// Set in the address of the registry's state if the registry's observer must be told of the
/// entry's end.
const OBSERVED: usize = 1;

/// More handles than this must be a leak; `Arc` uses the same argument.
const MAX_HANDLES: u32 = u32::MAX / 2;

/// Evidence that an entry was seen without handles, and of how often that had happened
/// before.
///
/// A thread that then looks for a block of the hash and finds none may end the entry in *this*
/// unheld state, but not in a later one: there has been a handle in between, which may have
/// left the entry to a block.
#[derive(Clone, Copy)]
pub(in crate::registry) struct Unheld(u64);

/// The entry of one sequence hash.
#[repr(C)]
pub(in crate::registry) struct Entry {
    /// The link and the order, for the table. Must be the first field.
    pub(super) node: Node,
    /// The two parts of a [`Key`]. They are separate fields because together they would
    /// leave a gap.
    hash: SequenceHash,
    keyed: u64,
    /// The number of handles (zero while only blocks keep the hash registered) and, above it,
    /// the number of times it has risen from zero; or [`DEAD`].
    handles: AtomicU64,
    /// Attachments and callbacks, allocated on first use. In a retired or spare entry, the next
    /// one (an `Entry`).
    extras: AtomicPtr<Extras>,
    /// The address of the registry's state, without its type, and [`OBSERVED`].
    state: AtomicPtr<()>,
}

/// How a handle was added to an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::registry) enum Acquired {
    /// The entry was created for it.
    Made,
    /// The entry had no handles.
    Revived,
    /// The entry had other handles.
    Shared,
}

impl Entry {
    /// Creates an entry with one handle.
    pub(super) fn new(key: Key, state: *const ()) -> Self {
        Self {
            node: Node::entry(key.keyed),
            hash: key.hash,
            keyed: key.keyed,
            handles: AtomicU64::new(1),
            extras: AtomicPtr::new(ptr::null_mut()),
            state: AtomicPtr::new(state.cast_mut()),
        }
    }

    /// Makes a spare entry what [`new`](Self::new) returns, except for its link.
    ///
    /// # Safety
    ///
    /// The caller has taken the entry from the [spares](super::spares), and nothing else uses it.
    /// Threads that have tried to take it may still read where it leads to.
    pub(super) unsafe fn renew(entry: *mut Self, key: Key, state: *const ()) {
        // Field by field: a reference to all of the entry would exclude those readers.
        // SAFETY: the caller's contract.
        unsafe {
            (*entry).node.renew(key.keyed);
            (&raw mut (*entry).hash).write(key.hash);
            (&raw mut (*entry).keyed).write(key.keyed);
            // Relaxed: the link that leads to the entry publishes them.
            (*entry).handles.store(1, Ordering::Relaxed);
            (*entry).extras.store(ptr::null_mut(), Ordering::Relaxed);
            (*entry).state.store(state.cast_mut(), Ordering::Relaxed);
        }
    }

    /// Returns the address of the registry's state.
    #[inline]
    pub(in crate::registry) fn state(&self) -> *const () {
        self.node.canary().check();
        let state = self.state.load(Ordering::Relaxed);
        state.map_addr(|address| address & !OBSERVED)
    }

    pub(in crate::registry) fn key(&self) -> Key {
        self.node.canary().check();
        Key {
            hash: self.hash,
            keyed: self.keyed,
        }
    }

    pub(in crate::registry) fn hash(&self) -> SequenceHash {
        self.node.canary().check();
        self.hash
    }

    /// Adds a handle, unless the entry is dead.
    pub(in crate::registry) fn try_acquire(&self) -> Option<Acquired> {
        let before = self.acquire_while(|word| match handles(word) {
            0 if word == DEAD => None,
            0 => Some((word + REVIVAL) & !DEAD | 1),
            _ => Some(word + 1),
        })?;
        Some(match handles(before) {
            0 => Acquired::Revived,
            _ => Acquired::Shared,
        })
    }

    /// Adds a handle if there are others.
    #[inline]
    pub(in crate::registry) fn try_share(&self) -> bool {
        let shared = self.acquire_while(|word| (handles(word) != 0).then_some(word + 1));
        shared.is_some()
    }

    /// Adds a handle as long as `next` returns a word for that. Returns the word before it.
    #[inline]
    fn acquire_while(&self, next: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        self.node.canary().check();
        let mut seen = self.handles.load(Ordering::Relaxed);
        while let Some(next) = next(seen) {
            // Acquire: pairs with the releases of `release`, so that a handle sees what was
            // done through earlier ones.
            match self.handles.compare_exchange_weak(
                seen,
                next,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    check_room(seen);
                    return Some(seen);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Adds a handle. The caller already has one.
    pub(in crate::registry) fn acquire(&self) {
        self.node.canary().check();
        check_room(self.handles.fetch_add(1, Ordering::Relaxed));
    }

    /// Removes a handle if there are others, and returns whether there were.
    ///
    /// # Safety
    ///
    /// The caller owns the handle. If this returns `true`, the entry may be freed by then;
    /// therefore it is passed by address.
    #[inline]
    pub(in crate::registry) unsafe fn release_shared(entry: *const Self) -> bool {
        // SAFETY: the caller's handle keeps the entry until the exchange, which refers to nothing
        // but the word.
        let word = unsafe {
            (*entry).node.canary().check();
            &(*entry).handles
        };
        let mut seen = word.load(Ordering::Relaxed);
        while handles(seen) > 1 {
            // Release: as in `release`.
            match word.compare_exchange_weak(seen, seen - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Removes a handle. If it was the last, returns the unheld state.
    pub(in crate::registry) fn release(&self) -> Option<Unheld> {
        self.node.canary().check();
        let left = self.handles.fetch_sub(1, Ordering::Release) - 1;
        (handles(left) == 0).then_some(Unheld(left))
    }

    /// Returns whether the entry has handles.
    pub(in crate::registry) fn is_held(&self) -> bool {
        self.node.canary().check();
        handles(self.handles.load(Ordering::Relaxed)) != 0
    }

    /// Returns the unheld state if the entry has no handles and has not ended.
    pub(in crate::registry) fn unheld(&self) -> Option<Unheld> {
        self.node.canary().check();
        // Acquire: a thread that sees a handle released also sees the block that the entry was
        // left to.
        let word = self.handles.load(Ordering::Acquire);
        (handles(word) == 0 && word != DEAD).then_some(Unheld(word))
    }

    /// Ends the entry's life, unless there has been a handle since it was seen unheld.
    /// Returns whether this call ended it.
    pub(in crate::registry) fn die(&self, Unheld(seen): Unheld) -> bool {
        self.node.canary().check();
        // Acquire: pairs with the releases of `release`, for the extras.
        self.handles
            .compare_exchange(seen, DEAD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Requests that the observer be told of this entry's end. For the thread that created
    /// the entry, while it has a handle.
    pub(in crate::registry) fn observe(&self) {
        // Visible to the thread that ends the entry: the creator releases its handle after
        // this, and all handles are released before the end.
        let state = self.state.load(Ordering::Relaxed);
        let observed = state.map_addr(|address| address | OBSERVED);
        self.state.store(observed, Ordering::Relaxed);
    }

    /// Returns whether the observer must be told of this entry's end. For the thread that
    /// ended it.
    pub(in crate::registry) fn is_observed(&self) -> bool {
        self.state.load(Ordering::Relaxed).addr() & OBSERVED != 0
    }

    /// Returns the attachments and callbacks, if there have ever been any. For a caller with
    /// a handle.
    pub(in crate::registry) fn existing_extras(&self) -> Option<&Extras> {
        self.node.canary().check();
        // Acquire: pairs with the release in `extras`.
        let extras = self.extras.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw` in `extras`. Only
        // `take_extras` frees it, when the entry is dead, and the caller of this function
        // has a handle.
        unsafe { extras.as_ref() }
    }

    /// Runs `f` with the attachments locked, or with `None` if there have never been any.
    /// For a caller with a handle.
    pub(in crate::registry) fn with_attachments<R>(
        &self,
        f: impl FnOnce(Option<&mut AttachmentStore>) -> R,
    ) -> R {
        match self.existing_extras() {
            None => f(None),
            Some(extras) => extras.with_attachments(|attachments| f(Some(attachments))),
        }
    }

    /// Returns the attachments and callbacks, and allocates them if there are none yet. For
    /// a caller with a handle.
    pub(in crate::registry) fn extras(&self) -> &Extras {
        if let Some(extras) = self.existing_extras() {
            return extras;
        }
        let new = Box::into_raw(Box::default());
        // Release: pairs with the acquire in `existing_extras`.
        let extras = match self.extras.compare_exchange(
            ptr::null_mut(),
            new,
            Ordering::AcqRel,
            Ordering::Acquire,
        ) {
            Ok(_) => new,
            Err(existing) => {
                // SAFETY: `new` came from `Box::into_raw` above and was not published.
                drop(unsafe { Box::from_raw(new) });
                existing
            }
        };
        // SAFETY: as in `existing_extras`.
        unsafe { &*extras }
    }

    /// Links a retired or spare entry to another, with this number of entries from here to the
    /// end of the list.
    ///
    /// # Safety
    ///
    /// The caller owns the entry alone: it is dead and its extras have been taken, so no thread
    /// uses them any more.
    pub(super) unsafe fn link_unused(entry: *mut Self, next: *mut Self, count: u64) {
        // SAFETY: the caller's contract.
        unsafe {
            (*entry).extras.store(next.cast(), Ordering::Relaxed);
            (*entry).handles.store(count, Ordering::Relaxed);
        }
    }

    /// Returns the entry after a retired or spare one, and the number of entries from this one to
    /// the end of the list. Of no meaning if the entry has been taken off the list.
    ///
    /// # Safety
    ///
    /// The entry is not freed during the call.
    pub(super) unsafe fn next_unused(entry: *const Self) -> (*mut Self, u64) {
        // Two fields, by address: the owner of a spare entry that has been taken writes others.
        // SAFETY: the caller's contract.
        unsafe {
            (
                (*entry).extras.load(Ordering::Relaxed).cast(),
                (*entry).handles.load(Ordering::Relaxed),
            )
        }
    }

    /// Takes the attachments and callbacks out of a dead entry. For the thread that ended
    /// it.
    pub(in crate::registry) fn take_extras(&self) -> Option<Box<Extras>> {
        let extras = self.extras.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw`. The entry is dead, so no
        // other thread uses it, and the swap has taken it out.
        (!extras.is_null()).then(|| unsafe { Box::from_raw(extras) })
    }
}

/// Returns the number of handles in a word.
fn handles(word: u64) -> u32 {
    word as u32
}

/// Aborts, as `Arc` does, if there were already too many handles for one more.
fn check_room(before: u64) {
    if handles(before) > MAX_HANDLES {
        std::process::abort();
    }
}
