//! A registration entry: what hangs on one sequence hash besides its blocks.
//!
//! An entry is made when someone first asks for a handle to a hash, and stays
//! until the hash has neither handles nor blocks. Entries are nodes of the
//! registry's [`table`](super::table) and are freed through its epochs.

use std::ptr;

use crate::SequenceHash;
use crate::key::Key;
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use super::extras::Extras;
use super::table::Node;

/// The word of an entry that has ended: no handles. It never changes again.
const DEAD: u64 = 1 << 63;

/// One handle first after none. The bits from here to that of [`DEAD`] come round. See
/// [`Lone`].
const REVIVAL: u64 = 1 << 32;

/// More handles than this are a leak, as `Arc` sees it.
const MAX_HANDLES: u32 = u32::MAX / 2;

/// An entry that was seen without handles, and how often it had been so. Whoever
/// looks then for a block of the hash, and finds none, may end *this* loneliness:
/// not a later one, before which somebody had a handle and may have left it to a
/// block.
#[derive(Clone, Copy)]
pub(super) struct Lone(u64);

/// See the module documentation.
#[repr(C)]
pub(crate) struct Entry {
    /// The link and the order, for the table: must come first.
    pub(super) node: Node,
    /// The two parts of a [`Key`], apart because together they would leave a gap.
    hash: SequenceHash,
    keyed: u64,
    /// Handles to the hash, none while only blocks keep it registered, and the
    /// number of times that one came after none; or [`DEAD`].
    handles: AtomicU64,
    /// Attachments and callbacks, allocated on first use; of an entry that has been
    /// retired, the next one (an `Entry`).
    extras: AtomicPtr<Extras>,
    /// Whether the registry's observer wants to know of the end.
    is_observed: AtomicBool,
}

impl Entry {
    /// An entry with one handle.
    pub(super) fn new(key: Key) -> Self {
        Self {
            node: Node::entry(key.keyed),
            hash: key.hash,
            keyed: key.keyed,
            handles: AtomicU64::new(1),
            extras: AtomicPtr::new(ptr::null_mut()),
            is_observed: AtomicBool::new(false),
        }
    }

    pub(super) fn key(&self) -> Key {
        self.node.canary().check();
        Key {
            hash: self.hash,
            keyed: self.keyed,
        }
    }

    pub(super) fn hash(&self) -> SequenceHash {
        self.node.canary().check();
        self.hash
    }

    /// Adds a handle, unless the entry is dead.
    pub(super) fn try_acquire(&self) -> bool {
        self.acquire_while(|word| match handles(word) {
            0 if word == DEAD => None,
            0 => Some((word + REVIVAL) & !DEAD | 1),
            _ => Some(word + 1),
        })
    }

    /// Adds a handle to others, if there are any.
    pub(super) fn try_share(&self) -> bool {
        self.acquire_while(|word| (handles(word) != 0).then_some(word + 1))
    }

    fn acquire_while(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        self.node.canary().check();
        let mut seen = self.handles.load(Ordering::Relaxed);
        while let Some(next) = next(seen) {
            // Acquire: pairs with the releases of `release`, so that a handle
            // sees what was done through earlier ones.
            match self.handles.compare_exchange_weak(
                seen,
                next,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    check_room(seen);
                    return true;
                }
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Adds a handle. The caller has one.
    pub(super) fn acquire(&self) {
        self.node.canary().check();
        check_room(self.handles.fetch_add(1, Ordering::Relaxed));
    }

    /// Takes a handle off. Returns whether it was the last.
    pub(super) fn release(&self) -> Option<Lone> {
        self.node.canary().check();
        let left = self.handles.fetch_sub(1, Ordering::Release) - 1;
        (handles(left) == 0).then_some(Lone(left))
    }

    /// Whether the entry has handles.
    pub(super) fn is_held(&self) -> bool {
        self.node.canary().check();
        handles(self.handles.load(Ordering::Relaxed)) != 0
    }

    /// Whether the entry has no handles, and has not ended.
    pub(super) fn lone(&self) -> Option<Lone> {
        self.node.canary().check();
        // Acquire: whoever sees that a handle was given up sees the block it was left to.
        let word = self.handles.load(Ordering::Acquire);
        (handles(word) == 0 && word != DEAD).then_some(Lone(word))
    }

    /// Ends the entry's life if it has had no handle since it was seen without.
    /// Returns whether this call did.
    pub(super) fn die(&self, Lone(seen): Lone) -> bool {
        self.node.canary().check();
        // Acquire: pairs with the releases of `release`, for the extras.
        self.handles
            .compare_exchange(seen, DEAD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// The end of this entry is to be told. For whoever made it, with a handle.
    pub(super) fn observe(&self) {
        // Seen by whoever ends the entry: the maker's handle is given up after
        // this, and all handles before the end.
        self.is_observed.store(true, Ordering::Relaxed);
    }

    /// Whether the end of this entry is to be told. For whoever ended it.
    pub(super) fn is_observed(&self) -> bool {
        self.is_observed.load(Ordering::Relaxed)
    }

    /// Attachments and callbacks, if there have been any. For a handle.
    pub(super) fn existing_extras(&self) -> Option<&Extras> {
        self.node.canary().check();
        // Acquire: pairs with the release in `extras`.
        let extras = self.extras.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw` in `extras`.
        // Only `take_extras` frees it, when the entry is dead, while the caller
        // of this has a handle.
        unsafe { extras.as_ref() }
    }

    /// Attachments and callbacks. Allocates them if there are none yet. For a
    /// handle.
    pub(super) fn extras(&self) -> &Extras {
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
                // SAFETY: `new` came from `Box::into_raw` above and was not
                // published.
                drop(unsafe { Box::from_raw(new) });
                existing
            }
        };
        // SAFETY: as in `existing_extras`.
        unsafe { &*extras }
    }

    /// Links an entry that has been retired to another. For whoever has the entry alone: it
    /// is dead, and its extras have been taken, so nobody asks for them any more.
    pub(super) fn set_next_retired(&self, next: *mut Self) {
        self.extras.store(next.cast(), Ordering::Relaxed);
    }

    /// The entry that was retired before this one. For whoever has both.
    pub(super) fn next_retired(&self) -> *mut Self {
        self.extras.load(Ordering::Relaxed).cast()
    }

    /// Takes the attachments and callbacks out of a dead entry. For whoever
    /// killed it.
    pub(super) fn take_extras(&self) -> Option<Box<Extras>> {
        let extras = self.extras.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw`; the entry is
        // dead, so nobody else uses it, and it was swapped out.
        (!extras.is_null()).then(|| unsafe { Box::from_raw(extras) })
    }
}

/// The handles of a word.
fn handles(word: u64) -> u32 {
    word as u32
}

/// Aborts, as `Arc` does, where there were too many handles for one more.
fn check_room(before: u64) {
    if handles(before) > MAX_HANDLES {
        std::process::abort();
    }
}
