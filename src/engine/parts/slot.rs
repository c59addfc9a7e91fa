//! One block's slot: its word and the fields of its tenancy, in one cache line.
//!
//! A slot outlives its contents. A *tenancy* is the time from one content to the next; the
//! [word](crate::engine::parts::word) names the current one by its generation.
//!
//! # Which thread may access which field, and when?
//!
//! Here, the *owner* is the thread that has the block while its state is `Exclusive` or
//! `Pending`, and a *releaser* is a holder that is about to take the last pin off. A *checking
//! reader* may read at any time, if it then [checks the tenancy](Slot::is_tenancy) or exchanges
//! the word from the value that it saw before.
//!
//! | field | written by | read by |
//! |---|---|---|
//! | `word` | any thread, see the transitions in `word` | any thread |
//! | `hash`, `keyed` | the owner, while `Exclusive` | holders of a pin, checking readers |
//! | `chain` | the owner until it links the slot, then any thread: see `index` | any thread |
//! | `owner` | the builder of the store, once | holders of the block or of the store |
//! | `next_queued` | the thread that has set the `queued` mark, until its push; then the drainer, until it clears the mark | the drainer |
//! | `primary_or_victim`, as [`primary`](Slot::primary) | the owner, while `Pending` | holders of the duplicate; the thread that has just taken its last pin off |
//! | `primary_or_victim`, as [`next_victim`](Slot::next_victim) | the owner that has vacated the block, until it hands it out | the same thread |
//! | `id` | never | any thread |
//! | `level` | a releaser | the holder of a plane, as a checking reader |
//! | `shard` | a releaser | any thread that has seen the word inactive |
//! | `era` | the owner, just before it registers the block; a releaser; a clearing, while the block is cleared | any thread that has seen the word inactive, see `era` |
//!
//! The last three are hints that describe the last release. A releaser writes them *before* the
//! exchange that takes the last pin off, and so never for a tenancy that has ended. A stale one
//! costs a block its place in the eviction order, or its content, but never safety.
//!
//! `primary_or_victim` has two uses that cannot overlap: a duplicate names the primary that it
//! keeps alive, and an exclusive block that was vacated for an allocation is linked to the
//! next such block of the same thread.
//!
//! # Why are all fields atomics?
//!
//! Because a reader may lose a race, and then reads the fields of the next tenancy. It
//! notices, because the word has changed, and ignores what it has read. A reader that needs
//! fields of one tenancy therefore reads the word, then the fields, and then either exchanges
//! the word (which fails if the word has changed) or checks the generation; unless it has a
//! pin, which keeps the tenancy from ending. Accesses to the fields are relaxed, except where
//! a method gives the reason for more.

use std::ptr::{self, NonNull};

use crate::SequenceHash;

use crate::engine::parts::word::{State, Word};
use crate::key::Key;
use crate::sync::step;
use crate::sync::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// Stands for "no slot" where a slot number is expected.
pub(crate) const NIL: u32 = u32::MAX;

/// The link of a slot that has never been in the index, and of an empty bucket.
pub(crate) const UNLINKED: u64 = (1 << 31) - 1;

/// A block's word, and the fields of its tenancy. The module documentation has a table of
/// which thread may access which field.
#[repr(C, align(64))]
pub(crate) struct Slot {
    word: AtomicU64,
    /// The sequence hash of the content, low half first.
    hash: [AtomicU64; 2],
    /// The keyed hash, so that eviction need not compute it again.
    keyed: AtomicU64,
    /// The next slot of the same bucket. Belongs to `index`.
    pub(in crate::engine) chain: AtomicU64,
    /// The address of the store that the slot belongs to, without its type.
    owner: AtomicPtr<()>,
    /// The next slot of a release log. Belongs to `release_log`.
    pub(in crate::engine) next_queued: AtomicU32,
    /// The primary that a duplicate keeps alive, or the next victim of one thread.
    primary_or_victim: AtomicU32,
    id: u32,
    /// The frequency level at the last release.
    level: AtomicU8,
    /// The shard of the last release.
    shard: AtomicU8,
    /// The era of the last release.
    era: AtomicU16,
}

impl Slot {
    /// Creates an exclusive slot that has never been used. `reset` says whether its block is
    /// reset on its last unpin unless set otherwise.
    pub(in crate::engine) fn new(id: u32, reset: bool) -> Self {
        Self {
            word: AtomicU64::new(Word::new(reset).bits()),
            hash: [AtomicU64::new(0), AtomicU64::new(0)],
            keyed: AtomicU64::new(0),
            chain: AtomicU64::new(UNLINKED),
            owner: AtomicPtr::new(ptr::null_mut()),
            next_queued: AtomicU32::new(NIL),
            primary_or_victim: AtomicU32::new(NIL),
            id,
            level: AtomicU8::new(0),
            shard: AtomicU8::new(0),
            era: AtomicU16::new(0),
        }
    }

    /// Creates a slot whose first tenancy has this generation.
    #[cfg(all(test, kvbm_loom))]
    pub(in crate::engine) fn of_generation(id: u32, generation: u32) -> Self {
        let slot = Self::new(id, false);
        let word = Word::of_generation(generation);
        Self {
            word: AtomicU64::new(word.bits()),
            ..slot
        }
    }

    /// Sets the owner of the slot. Call once, before the slot is shared.
    pub(in crate::engine) fn set_owner(&self, owner: *const ()) {
        self.owner.store(owner.cast_mut(), Ordering::Relaxed);
    }

    /// Returns the owner of the slot; null until it has been set.
    #[inline]
    pub(in crate::engine) fn owner(&self) -> *const () {
        self.owner.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Loads the word.
    ///
    /// Acquire: a reader that sees a registered state also sees the fields that were written
    /// before [`promote`](Self::promote) published that state.
    #[inline]
    pub(crate) fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    #[inline]
    fn exchange(&self, seen: Word, new: Word, success: Ordering) -> Result<(), Word> {
        self.word
            .compare_exchange(seen.bits(), new.bits(), success, Ordering::Acquire)
            .map(drop)
            .map_err(Word::from_bits)
    }

    // ---- the fields of a tenancy ----

    #[inline]
    pub(crate) fn hash(&self) -> SequenceHash {
        hash_from_u128(self.hash_bits())
    }

    #[inline]
    pub(in crate::engine) fn hash_bits(&self) -> u128 {
        u128::from(self.hash[0].load(Ordering::Relaxed))
            | u128::from(self.hash[1].load(Ordering::Relaxed)) << 64
    }

    /// Returns whether this is the hash of the content.
    #[inline(always)]
    pub(in crate::engine) fn is_of(&self, hash: SequenceHash) -> bool {
        self.hash_bits() == hash.as_u128()
    }

    /// Returns whether the high half of the hash agrees. It has the position and most of the block's
    /// own hash, and so tells apart nearly all hashes; in the low half, those of siblings, and of all
    /// first blocks, are almost the same.
    #[inline(always)]
    pub(in crate::engine) fn may_be_of(&self, hash: SequenceHash) -> bool {
        self.hash[1].load(Ordering::Relaxed) == (hash.as_u128() >> 64) as u64
    }

    /// Sets the hash of the content. Only for the slot's exclusive owner.
    #[inline]
    pub(in crate::engine) fn set_key(&self, key: Key) {
        let bits = key.hash.as_u128();
        self.keyed.store(key.keyed, Ordering::Relaxed);
        // Release: a reader that has read one of these also sees that the word has left the
        // tenancy before. See `is_tenancy` and `Index::walk`.
        self.hash[0].store(bits as u64, Ordering::Release);
        self.hash[1].store((bits >> 64) as u64, Ordering::Release);
    }

    #[inline]
    pub(crate) fn key(&self) -> Key {
        Key {
            hash: self.hash(),
            keyed: self.keyed.load(Ordering::Relaxed),
        }
    }

    /// Returns the slot number of the primary that this duplicate keeps alive.
    #[inline]
    pub(in crate::engine) fn primary(&self) -> u32 {
        self.primary_or_victim.load(Ordering::Relaxed)
    }

    /// Sets the primary of a registration that is about to become a duplicate.
    #[inline]
    pub(in crate::engine) fn set_primary(&self, primary: u32) {
        self.primary_or_victim.store(primary, Ordering::Relaxed);
    }

    /// Returns the slot number that follows this one in a list of vacated blocks, or [`NIL`].
    ///
    /// Only for the thread that has vacated the block. The link shares its field with
    /// [`primary`](Self::primary).
    #[inline]
    pub(in crate::engine) fn next_victim(&self) -> u32 {
        self.primary_or_victim.load(Ordering::Relaxed)
    }

    /// Links this vacated block to the next one of the same thread. Relaxed: no other thread
    /// follows the link.
    #[inline]
    pub(in crate::engine) fn set_next_victim(&self, next: u32) {
        self.primary_or_victim.store(next, Ordering::Relaxed);
    }

    /// Returns the frequency level at the last release.
    #[inline]
    pub(in crate::engine) fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    /// Returns the shard onto whose release log the last release has pushed the slot, or was to push
    /// it.
    #[inline]
    pub(in crate::engine) fn shard(&self) -> usize {
        usize::from(self.shard.load(Ordering::Relaxed))
    }

    /// Sets the frequency level. Only for a holder that is about to release the block.
    #[inline]
    pub(in crate::engine) fn set_level(&self, level: u8) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// Returns the era of the last release, or of the registration if there has been none
    /// since.
    #[inline]
    pub(in crate::engine) fn era(&self) -> u16 {
        self.era.load(Ordering::Relaxed)
    }

    /// Sets the era of a registration or a release, which the caller has read from the store.
    ///
    /// Release: pairs with the fence of a clearing that renews the slot.
    #[inline]
    pub(in crate::engine) fn set_era(&self, era: u16) {
        self.era.store(era, Ordering::Release);
    }

    /// Changes the era if it is still `seen`. Only for a clearing, see
    /// [`Clearing::renew`](crate::engine::parts::era::Clearing::renew).
    ///
    /// An exchange: if the block has been taken and released again since, the era of that
    /// release stays. Relaxed: whether a block is cleared does not depend on which of the two
    /// earlier eras a reader sees.
    pub(in crate::engine) fn renew_era(&self, seen: u16, new: u16) {
        let _ = self
            .era
            .compare_exchange(seen, new, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that the block is about to be released in this era, and that its slot will then be
    /// pushed onto the log of this shard. Call before taking the last pin off, unless the slot is
    /// queued already: then call [`set_era`](Self::set_era).
    #[inline]
    pub(in crate::engine) fn begin_release(&self, shard: usize, era: u16) {
        self.shard.store(shard as u8, Ordering::Relaxed);
        self.set_era(era);
    }

    // ---- pins ----

    /// Adds a pin if the word is still `seen`; otherwise returns the word as it is now.
    ///
    /// With `queue`, the same exchange marks the slot as queued: a pin that makes an inactive
    /// block active again is reported to its order.
    ///
    /// Acquire: pairs with the release that published the content, and with the unpins of
    /// earlier holders.
    ///
    /// Aborts the process if the block has more than 2^26 pins already.
    #[inline]
    pub(in crate::engine) fn pin(&self, seen: Word, queue: bool) -> Result<(), Word> {
        if seen.is_pinned() && seen.is_saturated() {
            too_many_pins();
        }
        let new = seen.pinned();
        self.exchange(
            seen,
            if queue { new.queued() } else { new },
            Ordering::Acquire,
        )
    }

    /// Adds the first pin to an inactive block, and marks the slot as queued, if the word is still
    /// `seen`, as [`pin`](Self::pin) does. Returns whether it has.
    #[inline(always)]
    pub(in crate::engine) fn pin_first(&self, seen: Word) -> bool {
        debug_assert!(seen.is_inactive());
        self.exchange(seen, seen.pinned().queued(), Ordering::Acquire)
            .is_ok()
    }

    /// Adds a pin beside others if the word is still `seen`. Returns whether it has.
    ///
    /// Acquire: as in [`pin`](Self::pin).
    #[inline(always)]
    pub(in crate::engine) fn pin_shared(&self, seen: Word) -> bool {
        debug_assert!(seen.is_pinned() && !seen.is_saturated());
        self.exchange(seen, seen.pinned(), Ordering::Acquire)
            .is_ok()
    }

    /// Adds a pin to a block that the caller holds pinned.
    ///
    /// Relaxed, like a clone of an `Arc`: the caller's own pin orders everything.
    ///
    /// Aborts the process if the block has more than 2^26 pins already.
    #[inline]
    pub(crate) fn pin_again(&self) {
        let before = Word::from_bits(self.word.fetch_add(Word::PIN, Ordering::Relaxed));
        debug_assert!(before.is_pinned());
        if before.is_saturated() {
            too_many_pins();
        }
    }

    /// Takes one of several pins off if the word is still `seen`; otherwise returns the word
    /// as it is now.
    ///
    /// This is an exchange rather than a subtraction, so that no thread takes the last pin off
    /// without having seen that it is the last: the fields that describe the release are
    /// written before.
    ///
    /// Release: what the holder did with the content happens before the writes of a thread
    /// that evicts the block (the acquire in [`vacate`](Self::vacate)).
    ///
    /// # Safety
    ///
    /// The caller owns one of the pins. Once it is off, other holders may release theirs and
    /// the slot may be freed; therefore the slot is passed by address.
    #[inline]
    pub(in crate::engine) unsafe fn unpin_shared(
        slot: NonNull<Self>,
        seen: Word,
    ) -> Result<(), Word> {
        debug_assert!(seen.is_shared());
        // SAFETY: the caller's pin keeps the slot alive until the exchange.
        let word = unsafe { &(*slot.as_ptr()).word };
        word.compare_exchange(
            seen.bits(),
            seen.unpinned().bits(),
            Ordering::Release,
            Ordering::Acquire,
        )
        .map(drop)
        .map_err(Word::from_bits)
    }

    /// Takes the last pin off and marks the slot as queued, if the word is still `seen`;
    /// otherwise returns the word as it is now. If the mark was clear in `seen`, the caller
    /// pushes the slot onto a release log.
    ///
    /// Release: as in [`unpin_shared`](Self::unpin_shared); it also publishes the fields that
    /// describe the release. Acquire: as in [`mark_queued`](Self::mark_queued).
    #[inline]
    pub(in crate::engine) fn unpin_last(&self, seen: Word) -> Result<(), Word> {
        self.exchange(seen, seen.unpinned().queued(), Ordering::AcqRel)
    }

    // ---- the queued mark ----

    /// Marks the slot as queued and returns the word as it was before.
    ///
    /// Release: the drainer that clears the mark sees what led to it. Acquire: a thread that
    /// sets the mark may write the slot's link, but not before the drainer that last cleared
    /// the mark has read it.
    pub(in crate::engine) fn mark_queued(&self) -> Word {
        Word::from_bits(self.word.fetch_or(Word::QUEUED, Ordering::AcqRel))
    }

    /// Clears the queued mark and returns the word at that instant.
    ///
    /// It does both in one step, so no unpin is missed: a later one finds the mark clear and
    /// queues the slot again; an earlier one shows in the word that is returned.
    ///
    /// Acquire: pairs with the releases of [`unpin_last`](Self::unpin_last),
    /// [`mark_queued`](Self::mark_queued) and of the registration. Release: pairs with the
    /// acquire of the exchange that next sets the mark, whose thread overwrites the link that
    /// was read before.
    pub(in crate::engine) fn unmark_queued(&self) -> Word {
        Word::from_bits(self.word.fetch_and(!Word::QUEUED, Ordering::AcqRel)).unqueued()
    }

    // ---- registration and eviction ----

    /// Makes an exclusive slot pending, with one pin, and returns its word. Only for the
    /// slot's exclusive owner.
    pub(in crate::engine) fn begin(&self) -> Word {
        self.own(|word| word.with(State::Pending, 1))
    }

    /// Ends a registration that lost: makes the pending slot exclusive again, or a duplicate
    /// with one pin.
    ///
    /// Only for the owner of the registration, and only if the slot has not been linked.
    pub(in crate::engine) fn settle(&self, state: State) {
        debug_assert!(matches!(state, State::Exclusive | State::Duplicate));
        let count = u64::from(state == State::Duplicate);
        self.own(|word| word.with(state, count));
    }

    /// Changes the word of a slot that belongs to the caller, and returns the new one.
    ///
    /// This is an exchange even so, because a drainer may meanwhile clear the queued mark of
    /// an earlier tenancy. Release: publishes the fields with the state.
    fn own(&self, change: impl Fn(Word) -> Word) -> Word {
        let mut seen = Word::from_bits(self.word.load(Ordering::Relaxed));
        loop {
            let new = change(seen);
            match self.exchange(seen, new, Ordering::Release) {
                Ok(()) => return new,
                Err(now) => seen = now,
            }
        }
    }

    /// Makes a pending slot primary. For any thread that has seen the slot linked.
    ///
    /// Does nothing if the word has left the tenancy or the pending state in which `seen` was
    /// read. Release: a thread that pins the block sees its fields.
    pub(in crate::engine) fn promote(&self, mut seen: Word) {
        let generation = seen.generation();
        while seen.state() == State::Pending && seen.generation() == generation {
            let new = seen.with(State::Primary, seen.count());
            match self.exchange(seen, new, Ordering::AcqRel) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Ends the tenancy if the word is still `seen`; otherwise returns the word as it is now.
    /// On success the block is exclusive, belongs to the caller, and is of the next
    /// generation. `reset` is the store's default for the reset flag.
    ///
    /// Acquire: pairs with the unpins, so that what the next owner writes does not overtake
    /// an earlier holder's reads of the content.
    pub(in crate::engine) fn vacate(&self, seen: Word, reset: bool) -> Result<(), Word> {
        self.exchange(seen, seen.vacated(reset), Ordering::AcqRel)
    }

    /// Ends the tenancy if the block is inactive or discarded. Returns the word as it was
    /// before, or `None` if the block is in any other state.
    #[inline]
    pub(in crate::engine) fn vacate_unheld(&self, reset: bool) -> Option<Word> {
        let mut seen = self.word();
        while seen.is_unheld() {
            match self.vacate(seen, reset) {
                Ok(()) => {
                    step!(VictimVacated);
                    return Some(seen);
                }
                Err(now) => seen = now,
            }
        }
        None
    }

    /// Gives up the content of an inactive block if the word is still `seen`; otherwise
    /// returns the word as it is now. The block stays available to allocations: see
    /// "Discarded" in [`word`](crate::engine::parts::word).
    pub(in crate::engine) fn discard(&self, seen: Word) -> Result<(), Word> {
        debug_assert!(seen.is_inactive());
        self.exchange(seen, seen.discarded(), Ordering::AcqRel)
    }

    /// Sets whether the block is reset on its last unpin. Only for a thread that holds the
    /// block.
    pub(crate) fn set_reset(&self, reset: bool) {
        if reset {
            self.word.fetch_or(Word::RESET, Ordering::Relaxed);
        } else {
            self.word.fetch_and(!Word::RESET, Ordering::Relaxed);
        }
    }

    /// Returns whether the slot is still in the tenancy in which `seen` was read. If so, the
    /// fields that the caller has read since belong to that tenancy.
    pub(in crate::engine) fn is_tenancy(&self, seen: Word) -> bool {
        // Acquire: orders the reads of the fields before the read of the word. Pairs with the
        // releases in `set_key`: a thread that has read a later tenancy's hash sees that the
        // word has moved on.
        fence(Ordering::Acquire);
        Word::from_bits(self.word.load(Ordering::Relaxed)).is_of_generation_of(seen)
    }
}

/// Returns the hash with this value.
///
/// A `SequenceHash` can be built from its parts, or deserialised. But the engine keeps its 128
/// bits as two words, and must convert these back.
#[inline]
fn hash_from_u128(bits: u128) -> SequenceHash {
    // SAFETY: `SequenceHash` is a `#[serde(transparent)]` newtype of one `u128` without niche
    // or padding. The assertion below checks its size and alignment, and the test
    // `hash_survives_the_way_back` its value.
    unsafe { std::mem::transmute::<u128, SequenceHash>(bits) }
}

const _: () = assert!(
    size_of::<SequenceHash>() == size_of::<u128>()
        && align_of::<SequenceHash>() == align_of::<u128>()
);

/// Aborts the process: a count that wrapped around would free a block that is in use.
#[cold]
fn too_many_pins() -> ! {
    eprintln!("kvbm-lockfree: more than 2^26 pins on one block");
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_survives_the_way_back() {
        for hash in [
            SequenceHash::new(1, None, 0),
            SequenceHash::new(u64::MAX, Some(7), 3),
        ] {
            assert_eq!(hash_from_u128(hash.as_u128()), hash);
        }
    }
}
