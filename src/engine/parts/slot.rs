//! One block's slot: its word and what belongs to its tenancy, in one cache
//! line.
//!
//! The key and the primary are written only by the slot's exclusive owner, while
//! the state is `Exclusive` or `Pending`, and read by anyone. The level, the victim_cache
//! and the era describe the last release. Whoever releases the block writes them
//! *before* the exchange that takes the last pin off, so that they are never written
//! for a tenancy that has ended.
//!
//! A reader that must know them to be of one tenancy reads the word, the
//! fields, and then either pins (the exchange fails if the word has changed)
//! or holds a pin already. They are relaxed atomics because a reader may lose
//! that race and read the fields of the next tenancy; it then discards them.

use std::ptr::{self, NonNull};

use crate::SequenceHash;

use crate::engine::parts::word::{State, Word};
use crate::key::Key;
use crate::sync::step;
use crate::sync::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

/// "No slot", where a slot number is expected.
pub(crate) const NIL: u32 = u32::MAX;

/// The link of a slot that has never been in the index, and of an empty bucket.
pub(crate) const UNLINKED: u64 = (1 << 31) - 1;

/// See the module documentation.
#[repr(C, align(64))]
pub(crate) struct Slot {
    word: AtomicU64,
    hash: [AtomicU64; 2],
    /// The keyed hash, so that eviction need not compute it again.
    keyed: AtomicU64,
    /// The next slot of the same index bucket: owned by `index`.
    pub(crate) chain: AtomicU64,
    /// What the slot belongs to, which only its owner knows the type of: set once.
    owner: AtomicPtr<()>,
    /// The next note of a released stack: owned by `released`.
    pub(crate) next_queued: AtomicU32,
    /// The primary a duplicate keeps alive.
    primary: AtomicU32,
    id: u32,
    /// The frequency level at the last release.
    level: AtomicU8,
    /// The victim_cache the block is in, plus one.
    victim_cache: AtomicU8,
    /// When the block was released last, see `clear`.
    era: AtomicU16,
}

impl Slot {
    pub(crate) fn new(id: u32, reset: bool) -> Self {
        Self {
            word: AtomicU64::new(Word::new(reset).bits()),
            hash: [AtomicU64::new(0), AtomicU64::new(0)],
            keyed: AtomicU64::new(0),
            chain: AtomicU64::new(UNLINKED),
            owner: AtomicPtr::new(ptr::null_mut()),
            next_queued: AtomicU32::new(NIL),
            primary: AtomicU32::new(NIL),
            id,
            level: AtomicU8::new(0),
            victim_cache: AtomicU8::new(0),
            era: AtomicU16::new(0),
        }
    }

    /// A slot that has had this many tenancies.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) fn of_generation(id: u32, generation: u32) -> Self {
        let slot = Self::new(id, false);
        let word = Word::from_bits(u64::from(generation) << 32);
        debug_assert_eq!(word.generation(), generation);
        Self {
            word: AtomicU64::new(word.bits()),
            ..slot
        }
    }

    /// Names the owner of the slot.
    pub(crate) fn set_owner(&self, owner: *const ()) {
        self.owner.store(owner.cast_mut(), Ordering::Relaxed);
    }

    /// The owner of the slot; null until it has been named.
    #[inline]
    pub(crate) fn owner(&self) -> *const () {
        self.owner.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The word. Acquire: a reader that sees a registered state sees the fields
    /// written before it was published, see [`promote`](Self::promote).
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

    // ---- the fields of the tenancy ----

    #[inline]
    pub(crate) fn hash(&self) -> SequenceHash {
        hash_from_u128(self.hash_bits())
    }

    #[inline]
    pub(crate) fn hash_bits(&self) -> u128 {
        u128::from(self.hash[0].load(Ordering::Relaxed))
            | u128::from(self.hash[1].load(Ordering::Relaxed)) << 64
    }

    /// Names the content. For the slot's exclusive owner.
    #[inline]
    pub(crate) fn set_key(&self, key: Key) {
        let bits = key.hash.as_u128();
        self.keyed.store(key.keyed, Ordering::Relaxed);
        // Release: who reads one of these and then finds the word as it was
        // before cannot have; see `is_tenancy` and `Index::walk`.
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

    #[inline]
    pub(crate) fn primary(&self) -> u32 {
        self.primary.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_primary(&self, primary: u32) {
        self.primary.store(primary, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_level(&self, level: u8) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// The victim_cache the block has been put in since its last release, if any.
    #[inline]
    pub(crate) fn victim_cache(&self) -> Option<usize> {
        self.victim_cache
            .load(Ordering::Relaxed)
            .checked_sub(1)
            .map(usize::from)
    }

    /// Names the victim_cache the block is in.
    #[inline]
    pub(crate) fn set_victim_cache(&self, victim_cache: usize) {
        self.victim_cache
            .store(victim_cache as u8 + 1, Ordering::Relaxed);
    }

    /// The era of the last release, or of the registration if there was none.
    #[inline]
    pub(crate) fn era(&self) -> u16 {
        self.era.load(Ordering::Relaxed)
    }

    /// Notes the era of a registration.
    #[inline]
    pub(crate) fn set_era(&self, era: u16) {
        self.era.store(era, Ordering::Relaxed);
    }

    /// Notes a release in this era, for whoever takes off the last pin: the block is
    /// in no victim_cache.
    #[inline]
    pub(crate) fn begin_release(&self, era: u16) {
        self.victim_cache.store(0, Ordering::Relaxed);
        self.set_era(era);
    }

    // ---- pins ----

    /// Adds a pin if the word is still `seen`.
    ///
    /// Acquire: pairs with the release that published the content, and with
    /// the unpins of earlier holders. A pin that ends an inactive period may
    /// take a note with it.
    #[inline]
    pub(crate) fn pin(&self, seen: Word, note: bool) -> Result<(), Word> {
        if seen.is_saturated() {
            too_many_pins();
        }
        let new = seen.pinned();
        self.exchange(
            seen,
            if note { new.queued() } else { new },
            Ordering::Acquire,
        )
    }

    /// Adds a pin to a block the caller holds pinned.
    ///
    /// Relaxed, as a clone of an `Arc`: the caller's own pin orders everything.
    #[inline]
    pub(crate) fn pin_again(&self) {
        if Word::from_bits(self.word.fetch_add(1, Ordering::Relaxed)).is_saturated() {
            too_many_pins();
        }
    }

    /// Takes one of several pins off, if the word is still `seen`.
    ///
    /// An exchange, and not a subtraction, so that nobody takes the last pin off
    /// without having seen that it is the last: what is to be said of the release is
    /// said before.
    ///
    /// Release: what the holder did with the content happens before whoever
    /// evicts the block writes it (the acquire in [`vacate`](Self::vacate)).
    ///
    /// # Safety
    ///
    /// The caller has one of the pins. Afterwards the slot may be gone, since the other
    /// holders may let go of it, which is why it comes by its address.
    #[inline]
    pub(crate) unsafe fn unpin_shared(slot: NonNull<Self>, seen: Word) -> Result<(), Word> {
        debug_assert!(seen.count() > 1);
        // SAFETY: the caller's pin keeps the slot until the exchange.
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

    /// Takes the last pin off and notes the slot, if the word is still `seen`.
    #[inline]
    pub(crate) fn unpin_last(&self, seen: Word) -> Result<(), Word> {
        self.exchange(seen, seen.unpinned().queued(), Ordering::AcqRel)
    }

    // ---- the note ----

    /// Marks the slot as queued. Returns the word before.
    ///
    /// Release: the drainer that clears the mark sees what led to it. Acquire, as
    /// in [`unpin_last`](Self::unpin_last): whoever marks the slot may write its
    /// link, after the drainer that cleared the mark before has read it.
    pub(crate) fn mark_queued(&self) -> Word {
        Word::from_bits(
            self.word
                .fetch_or(Word::new(false).queued().bits(), Ordering::AcqRel),
        )
    }

    /// Clears the mark and returns the word at that instant, in one step: an
    /// unpin that comes later finds the mark clear and notes the slot anew, one
    /// that came earlier is in the word returned.
    ///
    /// Acquire: pairs with the releases of [`unpin_last`](Self::unpin_last),
    /// [`mark_queued`](Self::mark_queued) and of the registration. Release: pairs with the
    /// acquires of the next note, which overwrites the link read before.
    pub(crate) fn unmark_queued(&self) -> Word {
        let mark = Word::new(false).queued().bits();
        Word::from_bits(self.word.fetch_and(!mark, Ordering::AcqRel)).unqueued()
    }

    // ---- registration and eviction ----

    /// Exclusive to pending with one pin. For the slot's exclusive owner.
    pub(crate) fn begin(&self) -> Word {
        self.own(|word| word.with(State::Pending, 1))
    }

    /// Pending back to exclusive, or to a duplicate with one pin.
    ///
    /// Only before the slot was linked. For the owner of the registration.
    pub(crate) fn settle(&self, state: State) {
        debug_assert!(matches!(state, State::Exclusive | State::Duplicate));
        let count = u64::from(state == State::Duplicate);
        self.own(|word| word.with(state, count));
    }

    /// Changes the word of a slot that is the caller's.
    ///
    /// By an exchange all the same: a drainer may clear the mark of an old note
    /// meanwhile. Release: publishes the fields with the state.
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

    /// Pending to primary, for anyone who has seen the slot linked.
    ///
    /// Release: whoever pins the block sees its fields. Does nothing if the
    /// word has left the tenancy or the pending state that `seen` was read in.
    pub(crate) fn promote(&self, mut seen: Word) {
        let generation = seen.generation();
        while seen.state() == State::Pending && seen.generation() == generation {
            let new = seen.with(State::Primary, seen.count());
            match self.exchange(seen, new, Ordering::AcqRel) {
                Ok(()) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Ends the tenancy if the word is still `seen`: the caller then owns the
    /// block, which is of the next generation.
    ///
    /// Acquire: pairs with the unpins, so that no holder's reads of the content
    /// are overtaken by what the next owner writes.
    pub(crate) fn vacate(&self, seen: Word, reset: bool) -> Result<(), Word> {
        self.exchange(seen, seen.vacated(reset), Ordering::AcqRel)
    }

    /// Vacates the block if nobody holds it. Returns its word before.
    #[inline]
    pub(crate) fn vacate_unheld(&self, reset: bool) -> Option<Word> {
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

    /// Gives up the content of an inactive block if the word is still `seen`. Nobody gets
    /// hold of the block by that: see "Discarded" in [`word`](crate::engine::parts::word).
    pub(crate) fn discard(&self, seen: Word) -> Result<(), Word> {
        debug_assert!(seen.is_inactive());
        self.exchange(seen, seen.discarded(), Ordering::AcqRel)
    }

    /// Sets whether the block is reset on its last unpin.
    pub(crate) fn set_reset(&self, reset: bool) {
        let bit = Word::new(true).bits();
        if reset {
            self.word.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether the slot is still in the tenancy `seen` was read in: then the
    /// fields read since belong to it.
    pub(crate) fn is_tenancy(&self, seen: Word) -> bool {
        // Orders the reads of the fields before the read of the word. Pairs
        // with the releases in `set_key`: who has read a later tenancy's hash
        // sees that its word has moved on.
        fence(Ordering::Acquire);
        Word::from_bits(self.word.load(Ordering::Relaxed)).generation() == seen.generation()
    }
}

/// The hash with this value.
///
/// `SequenceHash` is built from its parts or deserialised; the engine keeps the
/// 128 bits as two words and needs the way back.
#[inline]
fn hash_from_u128(bits: u128) -> SequenceHash {
    // SAFETY: `SequenceHash` is a `#[serde(transparent)]` newtype of one `u128`
    // without niche or padding; the assertion below holds its size and
    // alignment to that, and `hash_survives_the_way_back` its value.
    unsafe { std::mem::transmute::<u128, SequenceHash>(bits) }
}

const _: () = assert!(
    size_of::<SequenceHash>() == size_of::<u128>()
        && align_of::<SequenceHash>() == align_of::<u128>()
);

/// A count that wrapped would free a block in use: there is no way on.
#[cold]
fn too_many_pins() -> ! {
    eprintln!("kvbm-lockfree: more than 2^27 pins on one block");
    std::process::abort()
}
