//! Victims: vacated blocks whose tenancies have not been ended yet.
//!
//! Vacating a block takes one exchange, after which the block belongs to this thread. The
//! rest, the *end of its tenancy*, waits until all victims are found: the slot is unlinked
//! from the index, and, if the registry has entries, the registration of its hash is ended.
//! Only then is the block handed out or freed. Doing this for all victims together asks the
//! registry only once, and gives the cache lines that it needs time to arrive.
//!
//! Nothing here takes a lock or allocates, however many victims there are: they are linked
//! through their slots. While the thread is suspended, the hashes of its victims cannot be
//! matched, and their blocks and credits belong to it.

use std::ptr::NonNull;

use crate::SequenceHash;
use crate::engine::hold::{Exclusive, Mutable};
use crate::engine::ops::evict::PASSED_OVER;
use crate::engine::parts::slot::{NIL, Slot};
use crate::engine::parts::word::Word;
use crate::engine::store::Store;
use crate::metrics::Counter;
use crate::registry::Leftovers;

/// The victims of one operation: blocks that had been cleared, and blocks that are evicted,
/// each in the order in which they were vacated. A credit is reserved for each.
pub(super) struct Victims<'a> {
    store: &'a Store,
    cleared: Chain,
    evicted: Chain,
    /// The number of candidates that were passed over on the way.
    passed_over: u32,
}

/// The numbers of victims that were handed out.
pub(super) struct HandedOut {
    pub(super) cleared: usize,
    pub(super) evicted: usize,
}

impl<'a> Victims<'a> {
    /// Creates an empty list.
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            cleared: Chain::EMPTY,
            evicted: Chain::EMPTY,
            passed_over: 0,
        }
    }

    /// Counts candidates that were passed over: see [`evict`](crate::engine::ops::evict).
    #[cold]
    pub(super) fn pass_over(&mut self, count: u32) {
        self.passed_over = self.passed_over.saturating_add(count);
    }

    /// Returns whether so many candidates were passed over that queued ones are taken, too.
    pub(super) fn have_passed_over_many(&self) -> bool {
        self.passed_over >= PASSED_OVER
    }

    /// Returns whether so many candidates were passed over that no more are popped.
    #[inline]
    pub(super) fn have_passed_over_too_many(&self) -> bool {
        self.passed_over >= 2 * PASSED_OVER
    }

    /// Adds a slot whose word was `before` until the caller vacated it.
    ///
    /// # Safety
    ///
    /// The caller has vacated the slot, has a credit for it, and gives both up.
    #[inline]
    pub(super) unsafe fn push(&mut self, slot: &Slot, before: Word) {
        if self.store.is_cleared(slot, before) {
            // SAFETY: the caller's contract.
            unsafe { self.push_cleared(slot) };
        } else {
            self.evicted.push(&self.store.slots, slot);
        }
    }

    /// Adds a slot that was cleared or discarded until the caller vacated it.
    ///
    /// # Safety
    ///
    /// As [`push`](Self::push).
    unsafe fn push_cleared(&mut self, slot: &Slot) {
        self.cleared.push(&self.store.slots, slot);
    }

    /// Ends the tenancies and appends the blocks to `blocks`, the cleared ones first, and passes
    /// the hashes of those that are evicted to `evicted`.
    pub(super) fn hand_out(
        self,
        blocks: &mut impl Extend<Exclusive<Mutable>>,
        evicted: &mut impl FnMut(SequenceHash),
        leftovers: &mut Leftovers,
    ) -> HandedOut {
        let mut taken = HandedOut {
            cleared: 0,
            evicted: 0,
        };
        self.end_each(leftovers, |slot, hash| {
            match hash {
                None => taken.cleared += 1,
                Some(hash) => {
                    evicted(hash);
                    taken.evicted += 1;
                }
            }
            // SAFETY: the block has been vacated, and a credit is reserved for it.
            blocks.extend([unsafe { Exclusive::of(slot) }]);
        });
        taken
    }

    /// Ends the tenancies and frees the blocks.
    pub(super) fn free(self, leftovers: &mut Leftovers) {
        let store = self.store;
        self.end_each(leftovers, |slot, hash| {
            if hash.is_none() {
                store.count(Counter::ClearedFreed, 1);
            }
            // SAFETY: the block has been vacated, and a credit is reserved for it.
            unsafe { Store::free(NonNull::from(slot), Counter::Reset) };
        });
    }

    /// Ends each tenancy and calls `then` with the slot, and with its hash unless it was
    /// cleared before.
    fn end_each(
        mut self,
        leftovers: &mut Leftovers,
        mut then: impl FnMut(&Slot, Option<SequenceHash>),
    ) {
        let store = self.store;
        // Asked after the last victim was vacated, and only once for all of them.
        let has_entries = store.registry.has_entries();
        while let Some(slot) = self.cleared.pop(&store.slots) {
            store.end_tenancy(slot, has_entries, leftovers);
            then(slot, None);
        }
        while let Some(slot) = self.evicted.pop(&store.slots) {
            let hash = slot.hash();
            store.end_tenancy(slot, has_entries, leftovers);
            then(slot, Some(hash));
        }
    }
}

/// A list of slots that belong to one thread, in order.
///
/// It is linked through `Slot::next_victim`, a field that a vacated block has no other use for,
/// so nothing is allocated while the plane is held.
struct Chain {
    first: u32,
    last: u32,
}

impl Chain {
    const EMPTY: Self = Self {
        first: NIL,
        last: NIL,
    };

    #[inline]
    fn is_empty(&self) -> bool {
        self.first == NIL
    }

    /// Appends a slot.
    #[inline]
    fn push(&mut self, slots: &[Slot], slot: &Slot) {
        slot.set_next_victim(NIL);
        match self.last {
            NIL => self.first = slot.id(),
            last => slots[last as usize].set_next_victim(slot.id()),
        }
        self.last = slot.id();
    }

    /// Removes the first slot.
    #[inline]
    fn pop<'a>(&mut self, slots: &'a [Slot]) -> Option<&'a Slot> {
        if self.is_empty() {
            return None;
        }
        let slot = &slots[self.first as usize];
        self.first = slot.next_victim();
        if self.first == NIL {
            self.last = NIL;
        }
        Some(slot)
    }
}
