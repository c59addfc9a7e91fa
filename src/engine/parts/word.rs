//! The slot word: a block's whole life in 64 bits.
//!
//! ```text
//!  63            32 31 30  29    28   27                    0
//! ┌────────────────┬─────┬─────┬─────┬───────────────────────┐
//! │   generation   │state│reset│queued│         count         │
//! └────────────────┴─────┴─────┴─────┴───────────────────────┘
//! ```
//!
//! * **count**: pins. Every `ImmutableBlock` and `LifecyclePinRef` of the block
//!   is one, and so is every duplicate that keeps this primary alive.
//! * **queued**: the slot is on a released stack, or in the hand of whoever
//!   drains one (see `released`). It belongs to the slot, not to its tenancy:
//!   it survives eviction and reuse, and only a drainer clears it.
//! * **reset**: on its last unpin the block is reset instead of becoming
//!   inactive.
//! * **state**: who the slot belongs to, see [`State`].
//! * **generation**: the tenancy. It changes whenever a registered block gives
//!   up its content, and never while the block is pinned.
//!
//! # Transitions
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
//! | transition | who may make it |
//! |---|---|
//! | Exclusive → Pending → Exclusive or Duplicate | the owner of the complete guard |
//! | Pending → Primary | anyone who has seen the slot linked in the index |
//! | Primary(n) → Primary(n + 1) | anyone, for any n, if the word has not changed since it was read |
//! | Duplicate(n) → Duplicate(n + 1) | anyone, for n > 0 |
//! | Primary(0) → Discarded, next generation | whoever registers its hash and cannot have the block |
//! | Primary(0) or Discarded → Exclusive, next generation | whoever wins the exchange: it then owns the block |
//! | Primary(1) with reset → Exclusive, next generation | the last holder |
//! | Duplicate(1) → Exclusive, next generation | the last holder |
//!
//! **Discarded** is a duplicate without pins. Its content is given up: it is in the way of no
//! registration any more. But it is still wherever the policy can find it, and perhaps still
//! linked in the index; whoever takes it does with it what is done with an evicted block. So
//! a block is discarded in one exchange, and is in reach of allocations all the time.
//!
//! **Inactive is not a place**: it is `Primary(0)`. A match of an inactive block
//! and of an active one are the same exchange.

/// Bits of the pin count.
const COUNT_BITS: u32 = 28;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const QUEUED: u64 = 1 << 28;
const RESET: u64 = 1 << 29;
const STATE_SHIFT: u32 = 30;
const STATE: u64 = 0b11 << STATE_SHIFT;
const GENERATION_SHIFT: u32 = 32;
const GENERATION: u64 = 1 << GENERATION_SHIFT;

/// Half the range of the count. A clone that finds the count here aborts, as
/// `Arc` does: the other half is what threads that are about to abort may add.
const COUNT_LIMIT: u64 = 1 << (COUNT_BITS - 1);

/// Who a slot belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// To a freelist, or to one mutable or complete guard.
    Exclusive = 0,
    /// To a registration that has not been decided.
    Pending = 1,
    /// To its sequence hash: matchable while linked; inactive when not pinned.
    Primary = 2,
    /// To its guards: a further copy of a hash that has a primary. Without guards: to
    /// nobody, see "Discarded".
    Duplicate = 3,
}

/// A value of the slot word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(u64);

impl Word {
    /// A slot that has never been used.
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

    /// Registered and held by nobody.
    #[inline]
    pub(crate) const fn is_inactive(self) -> bool {
        self.0 & (STATE | COUNT) == (State::Primary as u64) << STATE_SHIFT
    }

    /// Registered, with pins.
    #[inline]
    pub(crate) const fn is_in_use(self) -> bool {
        // One range: a count above 0, under the state of primaries.
        let primary = (State::Primary as u64) << STATE_SHIFT;
        let seen = self.0 & (STATE | COUNT);
        primary < seen && seen <= primary | COUNT
    }

    /// Its content is given up, and nobody has taken it yet.
    #[inline]
    pub(crate) const fn is_discarded(self) -> bool {
        self.0 & (STATE | COUNT) == (State::Duplicate as u64) << STATE_SHIFT
    }

    /// Inactive or discarded: whoever has a credit may take it.
    #[inline]
    pub(crate) const fn is_unheld(self) -> bool {
        // The two states have the upper bit in common, and no others have.
        self.0 & ((State::Primary as u64) << STATE_SHIFT | COUNT)
            == (State::Primary as u64) << STATE_SHIFT
    }

    /// A primary with one pin and nothing else to be said of it: neither queued nor
    /// to be reset.
    #[inline]
    pub(crate) const fn is_sole_unmarked_pin(self) -> bool {
        self.0 & (STATE | RESET | QUEUED | COUNT) == (State::Primary as u64) << STATE_SHIFT | 1
    }

    #[inline]
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }

    /// Whether one more pin would be one too many.
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

    /// The same tenancy in another state with another count.
    #[inline]
    pub(crate) const fn with(self, state: State, count: u64) -> Self {
        Self(self.0 & !(STATE | COUNT) | (state as u64) << STATE_SHIFT | count)
    }

    /// The content is given up: a discarded slot of the next generation.
    #[inline]
    pub(crate) const fn discarded(self) -> Self {
        Self(self.with(State::Duplicate, 0).0.wrapping_add(GENERATION))
    }

    /// The tenancy ends: an exclusive slot of the next generation (which
    /// wraps), with the store's default for `reset`.
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
        assert!(vacated.is_queued(), "a note outlives the tenancy");
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
    fn discarded_is_nobodys() {
        let inactive = Word::new(true).with(State::Primary, 0).queued();
        let discarded = inactive.discarded();
        assert!(discarded.is_discarded() && !discarded.is_inactive() && !discarded.is_primary());
        assert!(discarded.is_queued(), "a note outlives the tenancy");
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
    fn what_a_plain_pin_is() {
        let word = Word::new(false).with(State::Primary, 1);
        assert!(word.is_sole_unmarked_pin());
        assert!(!word.queued().is_sole_unmarked_pin());
        assert!(!word.with_reset(true).is_sole_unmarked_pin());
        assert!(!word.pinned().is_sole_unmarked_pin());
        assert!(!word.unpinned().is_sole_unmarked_pin());
        assert!(!word.with(State::Duplicate, 1).is_sole_unmarked_pin());
    }
}
