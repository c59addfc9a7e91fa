//! The slot word: a block's entire state in 64 bits.
//!
//! # Layout
//!
//! ```text
//!  63            32 31 30  29    28    27                    0
//! ┌────────────────┬─────┬─────┬──────┬───────────────────────┐
//! │   generation   │state│reset│queued│         count         │
//! └────────────────┴─────┴─────┴──────┴───────────────────────┘
//! ```
//!
//! * **count**: pins. Each `ImmutableBlock` and `LifecyclePinRef` of the block counts as one,
//!   and so does each duplicate that keeps this primary alive.
//! * **queued**: the slot is on a release log, about to be pushed onto one, or in the hands
//!   of the thread that drains one (see `release_log`). The mark belongs to the slot, not to
//!   its tenancy: it survives eviction and reuse, and only a drainer clears it.
//! * **reset**: on its last unpin the block is reset instead of becoming inactive.
//! * **state**: what the slot belongs to, see [`State`].
//! * **generation**: the number of the tenancy. It changes whenever a registered block gives
//!   up its content, and never while the block is pinned. It wraps around.
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

/// Bits of the pin count.
const COUNT_BITS: u32 = 28;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const QUEUED: u64 = 1 << 28;
const RESET: u64 = 1 << 29;
const STATE_SHIFT: u32 = 30;
const STATE: u64 = 0b11 << STATE_SHIFT;
const GENERATION_SHIFT: u32 = 32;
const GENERATION: u64 = 1 << GENERATION_SHIFT;

/// Half the range of the count. A clone that finds the count at this limit aborts, as with an
/// `Arc`: the other half is room for the threads that are about to abort.
const COUNT_LIMIT: u64 = 1 << (COUNT_BITS - 1);

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
    /// Returns the word of a slot that has never been used: exclusive, of generation 0.
    pub(crate) const fn new(reset: bool) -> Self {
        Self(if reset { RESET } else { 0 })
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn count(self) -> u64 {
        self.0 & COUNT
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
        match (self.0 & STATE) >> STATE_SHIFT {
            0 => State::Exclusive,
            1 => State::Pending,
            2 => State::Primary,
            _ => State::Duplicate,
        }
    }

    #[inline]
    pub(crate) const fn is_primary(self) -> bool {
        self.0 & STATE == (State::Primary as u64) << STATE_SHIFT
    }

    /// Returns whether the block is registered and has no pins.
    #[inline]
    pub(crate) const fn is_inactive(self) -> bool {
        self.0 & (STATE | COUNT) == (State::Primary as u64) << STATE_SHIFT
    }

    /// Returns whether the block is a primary with pins.
    #[inline]
    pub(crate) const fn is_in_use(self) -> bool {
        // One range: a count above 0, under the state of primaries.
        let primary = (State::Primary as u64) << STATE_SHIFT;
        let seen = self.0 & (STATE | COUNT);
        primary < seen && seen <= primary | COUNT
    }

    /// Returns whether the content is given up and the block has not been taken since.
    #[inline]
    pub(crate) const fn is_discarded(self) -> bool {
        self.0 & (STATE | COUNT) == (State::Duplicate as u64) << STATE_SHIFT
    }

    /// Returns whether the block is inactive or discarded: a thread with a credit may take it.
    #[inline]
    pub(crate) const fn is_unheld(self) -> bool {
        // Of the four states, only these two have the upper bit set.
        self.0 & ((State::Primary as u64) << STATE_SHIFT | COUNT)
            == (State::Primary as u64) << STATE_SHIFT
    }

    /// Returns whether this is a primary with one pin that is neither queued nor marked for
    /// reset, so that its unpin needs only the exchange.
    #[inline]
    pub(crate) const fn is_sole_unmarked_pin(self) -> bool {
        self.0 & (STATE | RESET | QUEUED | COUNT) == (State::Primary as u64) << STATE_SHIFT | 1
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// Returns whether the block has the maximum number of pins.
    #[inline]
    pub(crate) const fn is_saturated(self) -> bool {
        self.0 & COUNT_LIMIT != 0
    }

    #[inline]
    pub(crate) const fn pinned(self) -> Self {
        Self(self.0 + 1)
    }

    #[inline]
    pub(crate) const fn unpinned(self) -> Self {
        Self(self.0 - 1)
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
        Self(self.0 & !(STATE | COUNT) | (state as u64) << STATE_SHIFT | count)
    }

    /// Returns the word after the content is given up: discarded, of the next generation.
    #[inline]
    pub(crate) const fn discarded(self) -> Self {
        Self(self.with(State::Duplicate, 0).0.wrapping_add(GENERATION))
    }

    /// Returns the word after the tenancy has ended: exclusive, of the next generation (which
    /// wraps around), with the store's default for `reset`.
    #[inline]
    pub(crate) const fn vacated(self, reset: bool) -> Self {
        Self(
            self.with(State::Exclusive, 0)
                .with_reset(reset)
                .0
                .wrapping_add(GENERATION),
        )
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
        let last = Word::from_bits(u64::MAX << GENERATION_SHIFT);
        assert_eq!(last.generation(), u32::MAX);
        assert_eq!(last.vacated(false), Word::new(false));
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
