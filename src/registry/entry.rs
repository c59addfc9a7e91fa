//! A registration entry: what the registry knows of one sequence hash.
//!
//! One cache line. Entries are nodes of the registry's [`table`](super::table)
//! and are reclaimed through its epochs; the strong count decides how long one
//! is registered.

use std::ptr;

use crate::SequenceHash;
use crate::engine::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

use super::extras::Extras;
use super::table::Node;

/// Tiers with a presence count in the entry itself; those beyond have theirs in
/// the extras.
pub(super) const INLINE_TIERS: usize = 4;

/// See the module documentation.
#[repr(C, align(64))]
pub(crate) struct Entry {
    /// The link and the key, for the table: must come first.
    pub(super) node: Node,
    hash: SequenceHash,
    /// Registration handles, slots and weak guards that keep the entry
    /// registered. Zero is final.
    strong: AtomicU64,
    /// Primaries and duplicates of the hash, by tier.
    presence: [AtomicU32; INLINE_TIERS],
    /// Attachments and callbacks, allocated on first use. After the entry has
    /// been removed: the link of the chain it is retired or recycled in.
    extras: AtomicPtr<Extras>,
}

impl Entry {
    /// An entry with one strong reference.
    pub(super) fn new(key: u64, hash: SequenceHash) -> Self {
        Self {
            node: Node::entry(key),
            hash,
            strong: AtomicU64::new(1),
            presence: Default::default(),
            extras: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Makes a removed entry a new one, as [`new`](Self::new) does.
    ///
    /// Field by field: a thread that lost the race for the chain the entry was
    /// in may still read its links, which are atomic.
    ///
    /// # Safety
    ///
    /// `entry` is past its grace period and the caller's alone.
    pub(super) unsafe fn renew(entry: *mut Self, key: u64, hash: SequenceHash) {
        // SAFETY: the caller's contract; nobody reads the hash of an entry that
        // is not linked.
        unsafe { (*entry).hash = hash };
        // SAFETY: the caller's contract.
        let entry = unsafe { &*entry };
        entry.node.renew(key);
        entry.strong.store(1, Ordering::Relaxed);
        for count in &entry.presence {
            count.store(0, Ordering::Relaxed);
        }
        entry.extras.store(ptr::null_mut(), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn hash(&self) -> SequenceHash {
        self.hash
    }

    /// Adds a strong reference if there is one.
    #[inline]
    pub(super) fn try_acquire(&self) -> bool {
        let mut seen = self.strong.load(Ordering::Relaxed);
        while seen != 0 {
            // Relaxed: what the entry holds was published with the link that
            // led here, and everything that changes later is atomic itself.
            match self.strong.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Adds a strong reference. The caller has one.
    #[inline]
    pub(crate) fn acquire(&self) {
        // An overflow would take 2^64 references that are never dropped.
        self.strong.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a strong reference off. Returns whether it was the last.
    #[inline]
    pub(super) fn release(&self) -> bool {
        // Release, and acquire by the last: what every holder did with the
        // entry happens before it is removed, as for an `Arc`.
        if self.strong.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            true
        } else {
            false
        }
    }

    #[inline]
    pub(super) fn is_registered(&self) -> bool {
        self.strong.load(Ordering::Relaxed) != 0
    }

    /// The count of a tier. Beyond the inline ones, the caller has a strong
    /// reference.
    fn presence_of(&self, tier: usize) -> Option<&AtomicU32> {
        self.presence
            .get(tier)
            .or_else(|| Some(self.existing_extras()?.presence_of(tier - INLINE_TIERS)))
    }

    /// Counts one more block of this hash in `tier`.
    #[inline]
    pub(crate) fn mark_present(&self, tier: usize) {
        let count = match self.presence.get(tier) {
            Some(count) => count,
            None => self.extras().presence_of(tier - INLINE_TIERS),
        };
        count.fetch_add(1, Ordering::Release);
    }

    /// Counts one block of this hash in `tier` less.
    #[inline]
    pub(crate) fn mark_absent(&self, tier: usize) {
        let before = self.presence_of(tier).map(|count| count.fetch_sub(1, Ordering::Release));
        debug_assert!(before.is_some_and(|before| before > 0));
    }

    /// How many blocks of this hash `tier` has.
    #[inline]
    pub(crate) fn present(&self, tier: usize) -> u32 {
        self.presence_of(tier).map_or(0, |count| count.load(Ordering::Acquire))
    }

    /// Attachments and callbacks, if there have been any.
    #[inline]
    pub(super) fn existing_extras(&self) -> Option<&Extras> {
        let extras = self.extras.load(Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw` in `extras`.
        // Only `take_extras` frees it, and its caller has taken the last
        // strong reference off, while the caller of this has one.
        unsafe { extras.as_ref() }
    }

    /// Attachments and callbacks. Allocates them if there are none yet.
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

    /// Takes the attachments and callbacks out of an entry that has no strong
    /// reference any more. For whoever took off the last.
    pub(super) fn take_extras(&self) -> Option<Box<Extras>> {
        if self.extras.load(Ordering::Relaxed).is_null() {
            return None;
        }
        let extras = self.extras.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: the pointer is null or came from `Box::into_raw`; with no
        // strong reference left nobody else uses it, and it was swapped out.
        (!extras.is_null()).then(|| unsafe { Box::from_raw(extras) })
    }

    /// The next entry of the chain this removed entry is in.
    pub(super) fn next_removed(&self) -> *mut Entry {
        self.extras.load(Ordering::Relaxed).cast()
    }

    /// Puts this removed entry in a chain, before `next`.
    pub(super) fn set_next_removed(&self, next: *mut Entry) {
        self.extras.store(next.cast(), Ordering::Relaxed);
    }

    /// The next chain of the stack this entry's chain is in.
    pub(super) fn next_chain(&self) -> *mut Entry {
        self.node.stacked().cast()
    }

    /// Puts this entry's chain in a stack, above `next`.
    pub(super) fn set_next_chain(&self, next: *mut Entry) {
        self.node.set_stacked(next.cast());
    }
}
