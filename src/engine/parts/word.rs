//! The slot word: a block's entire state in 64 bits.
//!
//! # Layout
//!
//! ```text
//!  63                  36 35                   4    3      2    1   0
//! ┌──────────────────────┬──────────────────────┬──────┬─────┬───────┐
//! │   count, less one    │      generation      │queued│reset│ state │
//! └──────────────────────┴──────────────────────┴──────┴─────┴───────┘
//! ```
//!
//! * **state**: what the slot belongs to, see [`State`].
//! * **reset**: on its last unpin the block is reset instead of becoming inactive.
//! * **queued**: the slot is on a release log, about to be pushed onto one, or in the hands
//!   of the thread that drains one (see `release_log`). The mark belongs to the slot, not to
//!   its tenancy: it survives eviction and reuse, and only a drainer clears it.
//! * **generation**: the number of the tenancy. It changes whenever a registered block gives
//!   up its content, and never while the block is pinned. It wraps around.
//! * **count**: pins. Each `ImmutableBlock` and `LifecyclePinRef` of the block counts as one,
//!   and so does each duplicate that keeps this primary alive.
//!
//! The count is stored less one, as a signed number in the highest bits. So the sign of the word
//! says that there are no pins, another pin is one addition, and whether a block is held is one
//! test of the word as a signed number.
//!
//! # How many pins can there be?
//!
//! Half of what the field has room for: a thread that adds a pin to a block that is
//! [saturated](Word::is_saturated) aborts the process, as with an `Arc`. It may add first and look
//! then ([`Slot::pin_again`]). The other half is room for the threads that have added and not looked
//! yet: there would have to be 2^26 of them for the count to reach the sign.
//!
//! [`Slot::pin_again`]: crate::engine::parts::slot::Slot::pin_again
//!
//! # States and transitions
//!
//! ```text
//!              begin            link + promote
//!   Exclusive ───────► Pending ───────────────► Primary(n) ⇄ Primary(0) ─► Discarded
//!    ▲  ▲  ▲              │ lost to a winner       │             │            │
//!    │  │  └──────────────┤ (Reject)               │ reset       │ claim      │ claim
//!    │  │                 ▼ (Allow)                │             │            │
//!    │  └───────────  Duplicate(n) ──► last unpin  │             │            │
//!    └─────────────────────────────────────────────┴─────────────┴────────────┘
//! ```
//!
//! `Primary(n)` is a primary with `n` pins; *inactive* is another name for `Primary(0)`.
//!
//! | transition | which thread may make it |
//! |---|---|
//! | Exclusive → Pending → Exclusive or Duplicate | the owner of the complete guard |
//! | Pending → Primary | any thread that has seen the slot linked in the index |
//! | Primary(n) → Primary(n + 1) | any thread, for any n, if the word has not changed since it was read |
//! | Primary(n) → Primary(n − 1), Duplicate(n) → Duplicate(n − 1) | the owner of a pin, for n > 1, and to Primary(0) if the block is not to be reset |
//! | Duplicate(n) → Duplicate(n + 1) | any thread, for n > 0 |
//! | Primary(0) → Discarded, next generation | a registration of its hash that cannot have the block |
//! | Primary(0) or Discarded → Exclusive, next generation | any thread with a credit, by an exchange: the winner owns the block |
//! | Primary(1) with reset → Exclusive, next generation | the last holder |
//! | Duplicate(1) → Exclusive, next generation | the last holder |
//!
//! **Inactive is not a place.** No list has to be consulted to pin an inactive block: matching
//! an inactive block and matching an active one take the same exchange.
//!
//! **Discarded** is encoded as a duplicate without pins. Its content is given up, so it no
//! longer stands in the way of a registration. But the policy can still find the block, which
//! may still be linked in the index; the thread that takes it treats it like an evicted block.
//! So discarding takes a single exchange, and the block remains available to allocations
//! throughout.

const STATE: u64 = 0b11;
const RESET: u64 = 1 << 2;
const QUEUED: u64 = 1 << 3;
const GENERATION_SHIFT: u32 = 4;
const ONE_GENERATION: u64 = 1 << GENERATION_SHIFT;
const GENERATION: u64 = (u32::MAX as u64) << GENERATION_SHIFT;
const COUNT_SHIFT: u32 = 36;
const ONE_PIN: u64 = 1 << COUNT_SHIFT;
const COUNT: u64 = !(ONE_PIN - 1);
/// The count of a block without pins.
const NO_PINS: u64 = COUNT;

/// Set if the count is negative: there are no pins.
const UNPINNED: u64 = 1 << 63;
/// The highest bit of a count, stored less one, that is not negative: there are more than 2^26 pins.
const SATURATED: u64 = 1 << 62;

/// The state of a slot: what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Belongs to a freelist, or to one mutable or complete guard.
    Exclusive = 0,
    /// Belongs to a registration that has not been decided.
    Pending = 1,
    /// Belongs to its sequence hash: can be matched while it is linked in the index, and is
    /// inactive when it has no pins.
    Primary = 2,
    /// With pins: belongs to its guards, as a further copy of a hash that has a primary.
    /// Without pins: a discarded block, which has no owner.
    Duplicate = 3,
}

/// A value of the slot word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    /// Added to a word, adds a pin.
    pub(crate) const PIN: u64 = ONE_PIN;
    /// The queued mark.
    pub(crate) const QUEUED: u64 = QUEUED;
    /// The reset flag.
    pub(crate) const RESET: u64 = RESET;

    /// Returns the word of a slot that has never been used: exclusive, of generation 0.
    pub(crate) const fn new(reset: bool) -> Self {
        Self(NO_PINS | if reset { RESET } else { 0 })
    }

    /// Returns the word of a slot whose first tenancy has this generation.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) const fn of_generation(generation: u32) -> Self {
        Self(NO_PINS | (generation as u64) << GENERATION_SHIFT)
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// Returns the number of pins.
    #[inline]
    pub(crate) const fn count(self) -> u64 {
        ((self.0 as i64 >> COUNT_SHIFT) + 1) as u64
    }

    /// Returns whether the block has pins.
    #[inline]
    pub(crate) const fn is_pinned(self) -> bool {
        self.0 & UNPINNED == 0
    }

    /// Returns whether the block has several pins.
    #[inline]
    pub(crate) const fn is_shared(self) -> bool {
        self.0 as i64 >= ONE_PIN as i64
    }

    #[inline]
    pub(crate) const fn is_queued(self) -> bool {
        self.0 & QUEUED != 0
    }

    #[inline]
    pub(crate) const fn resets(self) -> bool {
        self.0 & RESET != 0
    }

    #[inline]
    pub(crate) const fn state(self) -> State {
        match self.0 & STATE {
            0 => State::Exclusive,
            1 => State::Pending,
            2 => State::Primary,
            _ => State::Duplicate,
        }
    }

    #[inline]
    pub(crate) const fn is_primary(self) -> bool {
        self.0 & STATE == State::Primary as u64
    }

    /// Returns whether the block is registered and has no pins.
    #[inline]
    pub(crate) const fn is_inactive(self) -> bool {
        self.0 & (UNPINNED | STATE) == UNPINNED | State::Primary as u64
    }

    /// Returns whether the block is a primary with pins.
    #[inline]
    pub(crate) const fn is_in_use(self) -> bool {
        self.0 & (UNPINNED | STATE) == State::Primary as u64
    }

    /// Returns whether the block is a primary with pins, and not saturated with them.
    #[inline]
    pub(crate) const fn can_be_shared(self) -> bool {
        self.0 & (UNPINNED | SATURATED | STATE) == State::Primary as u64
    }

    /// Returns whether the content is given up and the block has not been taken since.
    #[inline]
    pub(crate) const fn is_discarded(self) -> bool {
        self.0 & (UNPINNED | STATE) == UNPINNED | State::Duplicate as u64
    }

    /// Returns whether the block is inactive or discarded: a thread with a credit may take it.
    #[inline]
    pub(crate) const fn is_unheld(self) -> bool {
        // Of the four states, only these two have the upper bit set.
        let unheld = UNPINNED | State::Primary as u64;
        self.0 & unheld == unheld
    }

    /// Returns whether this is a primary or a duplicate with pins, and not saturated with them, of
    /// this generation.
    #[inline]
    pub(crate) const fn can_be_shared_in(self, generation: u32) -> bool {
        // As above: both have the upper bit set.
        let held = (generation as u64) << GENERATION_SHIFT | State::Primary as u64;
        self.0 & (UNPINNED | SATURATED | GENERATION | State::Primary as u64) == held
    }

    /// Returns whether this is a primary with one pin that is neither queued nor marked for
    /// reset, so that its unpin needs only the exchange.
    #[inline]
    pub(crate) const fn is_sole_unmarked_pin(self) -> bool {
        self.0 & (COUNT | QUEUED | RESET | STATE) == State::Primary as u64
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// Returns whether two values of a slot's word are of the same generation.
    #[inline]
    pub(crate) const fn is_of_generation_of(self, other: Self) -> bool {
        ((self.0 ^ other.0) >> GENERATION_SHIFT) as u32 == 0
    }

    /// Returns whether a block that has pins has so many that it may not get another one.
    #[inline]
    pub(crate) const fn is_saturated(self) -> bool {
        self.0 & SATURATED != 0
    }

    #[inline]
    pub(crate) const fn pinned(self) -> Self {
        // From no pins to one, the sign carries out.
        Self(self.0.wrapping_add(ONE_PIN))
    }

    #[inline]
    pub(crate) const fn unpinned(self) -> Self {
        Self(self.0.wrapping_sub(ONE_PIN))
    }

    #[inline]
    pub(crate) const fn queued(self) -> Self {
        Self(self.0 | QUEUED)
    }

    #[inline]
    pub(crate) const fn unqueued(self) -> Self {
        Self(self.0 & !QUEUED)
    }

    #[inline]
    pub(crate) const fn with_reset(self, reset: bool) -> Self {
        Self(self.0 & !RESET | if reset { RESET } else { 0 })
    }

    /// Returns the word of the same tenancy, in this state and with this count.
    #[inline]
    pub(crate) const fn with(self, state: State, count: u64) -> Self {
        let count = count.wrapping_sub(1) << COUNT_SHIFT;
        Self(self.0 & !(STATE | COUNT) | state as u64 | count)
    }

    /// Returns the word of the next generation, which wraps around.
    #[inline]
    const fn next_generation(self) -> Self {
        let next = (self.0 & GENERATION).wrapping_add(ONE_GENERATION) & GENERATION;
        Self(self.0 & !GENERATION | next)
    }

    /// Returns the word after the content is given up: discarded, of the next generation.
    #[inline]
    pub(crate) const fn discarded(self) -> Self {
        self.with(State::Duplicate, 0).next_generation()
    }

    /// Returns the word after the tenancy has ended: exclusive, of the next generation, with
    /// the store's default for `reset`.
    #[inline]
    pub(crate) const fn vacated(self, reset: bool) -> Self {
        self.with(State::Exclusive, 0)
            .with_reset(reset)
            .next_generation()
    }
}

impl std::fmt::Debug for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?}({}) generation {}{}{}",
            self.state(),
            self.count(),
            self.generation(),
            if self.is_queued() { ", queued" } else { "" },
            if self.resets() { ", reset" } else { "" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap() {
        let word = Word::new(false)
            .with(State::Primary, 7)
            .queued()
            .with_reset(true);
        assert_eq!(word.count(), 7);
        assert!(word.is_primary() && word.is_queued() && word.resets());
        assert_eq!(word.generation(), 0);
        let vacated = word.vacated(false);
        assert_eq!(vacated.state(), State::Exclusive);
        assert_eq!(vacated.count(), 0);
        assert_eq!(vacated.generation(), 1);
        assert!(vacated.is_queued(), "the mark outlives the tenancy");
        assert!(!vacated.resets());
    }

    #[test]
    fn generations_wrap() {
        let last = Word::from_bits(Word::new(false).bits() | GENERATION);
        assert_eq!(last.generation(), u32::MAX);
        assert_eq!(last.vacated(false), Word::new(false));
        let pinned = last.with(State::Primary, 3);
        assert_eq!(pinned.next_generation().count(), 3);
        assert_eq!(pinned.unpinned().discarded().generation(), 0);
    }

    #[test]
    fn pins_change_nothing_else() {
        let inactive = Word::new(true).with(State::Primary, 0).queued();
        let (one, two) = (inactive.pinned(), inactive.pinned().pinned());
        assert_eq!([inactive, one, two].map(Word::count), [0, 1, 2]);
        assert_eq!(
            [inactive, one, two].map(Word::is_pinned),
            [false, true, true]
        );
        assert_eq!(
            [inactive, one, two].map(Word::is_shared),
            [false, false, true]
        );
        assert_eq!((two.unpinned(), one.unpinned()), (one, inactive));
        assert_eq!(Word::from_bits(one.bits() + Word::PIN), two);
        assert!(two.is_primary() && two.is_queued() && two.resets());
    }

    #[test]
    fn too_many_pins_are_far_from_none() {
        let most = Word::new(false).with(State::Primary, 1 << 26);
        assert!(!most.is_saturated() && most.can_be_shared());
        let saturated = most.pinned();
        assert!(saturated.is_saturated() && saturated.is_in_use() && !saturated.can_be_shared());
    }

    #[test]
    fn held_blocks_of_a_generation() {
        let word = Word::new(false).with(State::Primary, 1);
        let next = word.next_generation();
        assert!(word.can_be_shared_in(0) && !word.can_be_shared_in(1));
        assert!(next.can_be_shared_in(1) && !next.can_be_shared_in(0));
        assert!(next.is_of_generation_of(next.unpinned().queued()));
        assert!(!next.is_of_generation_of(word) && !word.discarded().is_of_generation_of(word));
        assert!(word.queued().with(State::Duplicate, 3).can_be_shared_in(0));
        let others = [
            word.unpinned(),
            word.with(State::Pending, 1),
            word.with(State::Exclusive, 0),
            word.with(State::Duplicate, 0),
        ];
        assert!(!others.iter().any(|word| word.can_be_shared_in(0)));
    }

    #[test]
    fn inactive_is_a_primary_without_pins() {
        let word = Word::new(false).with(State::Primary, 0);
        assert!(word.is_inactive() && word.queued().is_inactive());
        assert!(!word.pinned().is_inactive());
        assert!(!Word::new(false).is_inactive());
        assert!(!word.with(State::Duplicate, 0).is_inactive());
    }

    #[test]
    fn discarded_is_unheld_and_not_inactive() {
        let inactive = Word::new(true).with(State::Primary, 0).queued();
        let discarded = inactive.discarded();
        assert!(discarded.is_discarded() && !discarded.is_inactive() && !discarded.is_primary());
        assert!(discarded.is_queued(), "the mark outlives the tenancy");
        assert_eq!(discarded.generation(), inactive.generation() + 1);
        assert!(discarded.is_unheld() && inactive.is_unheld());
        let others = [
            Word::new(false),
            inactive.with(State::Pending, 1),
            inactive.with(State::Pending, 0),
            inactive.pinned(),
            discarded.pinned(),
        ];
        assert!(!others.iter().any(|word| word.is_unheld()));
        assert!(!discarded.vacated(false).is_unheld());
    }

    #[test]
    fn a_sole_unmarked_pin() {
        let word = Word::new(false).with(State::Primary, 1);
        assert!(word.is_sole_unmarked_pin());
        assert!(!word.queued().is_sole_unmarked_pin());
        assert!(!word.with_reset(true).is_sole_unmarked_pin());
        assert!(!word.pinned().is_sole_unmarked_pin());
        assert!(!word.unpinned().is_sole_unmarked_pin());
        assert!(!word.with(State::Duplicate, 1).is_sole_unmarked_pin());
    }
}
