//! Eras: which inactive blocks a clearing has given up.
//!
//! A store counts its clearings. Each slot remembers the *era* of its last release: the
//! number of clearings there had been. An inactive block of an earlier era is *cleared*;
//! `ops/clear` says what happens to it.
//!
//! # Is a release before or after a clearing?
//!
//! A thread that releases a block writes the era just before the exchange that takes the last
//! pin off, while it still has that pin. So the era is never that of an earlier tenancy, and a
//! thread that sees the word after the exchange sees the era too. A release that runs during a
//! clearing may fall on either side of it. If it reads the era before the clearing, and takes
//! the pin off after the hand has passed, it leaves a cleared block behind the hand, where the
//! policy finds it in due course.
//!
//! # Why are 16 bits of the era enough?
//!
//! Slots keep 16 bits of the era, so a cleared block would look like one of the current era
//! again after 2^16 clearings. It never does, because every clearing *renews* the next
//! `block_count / 2^14 + 1` slots, in a cycle: the cleared blocks among them are given the last
//! era before the current one. They stay cleared, and nothing else changes.
//!
//! *Every slot is renewed at least once in `2^14 + 1` completed clearings.* A thread visits the
//! slots of its share before it moves the *renewed* count past them, and repeats with the next
//! share if another thread has moved the count meanwhile. So each completed clearing has moved
//! the count by a share of its own, and the slots that the count passes have been visited since
//! it reached them. Between two visits of a slot the count moves by less than all slots and a
//! share, that is, in at most `2^14 + 1` moves. A clearing that has begun but whose thread is
//! suspended has not moved the count; there can be no more of those than threads, and the 16
//! bits leave room for 49,000.
//!
//! One thing is left to trust: that no thread stays between reading the era and taking the last
//! pin off while 49,000 clearings begin.
//!
//! # How are cleared blocks found?
//!
//! Allocations that have run out of free blocks go around the slots once after each clearing;
//! the *hand* says how far they have come. A thread looks at some slots from the hand on, and
//! then moves the hand, if it is still where it was. So every slot before the hand has been
//! looked at, perhaps by two threads, and a thread that is suspended on its round leaves no
//! slot unvisited. An allocation looks at a bounded number of slots (see `ops/clear`) and leaves
//! the rest of the round to later ones. Whoever else comes by a cleared block, such as the
//! policy, may take it too: the round only finds those that the policy would keep for longer.
//!
//! # Layout and orderings
//!
//! | word | bits | access |
//! |---|---|---|
//! | `era` | all 32: the number of clearings, wrapping around | release when a clearing increments it, acquire by readers |
//! | `hand` | `0..32` the next slot to look at, `32..64` the era of this round | relaxed: a hint; what is found is decided by the slots' words |
//! | `renewed` | all 64: the number of slots that have ever been renewed, from slot 0 in a cycle | release when a clearing moves it, acquire by the next: the renewals behind the count are seen by the clearing that comes back to them |

use crossbeam_utils::CachePadded;

use crate::engine::parts::slot::Slot;
use crate::sync::limits::ERA_BITS;
use crate::sync::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// The number of slots a thread looks at before it moves the hand.
pub(crate) const STRETCH: u32 = 64;

/// The era of a store, of which slots remember `BITS` bits, and how far allocations have come
/// in search of cleared blocks.
pub(crate) struct Clearing<const BITS: u32 = ERA_BITS> {
    /// The number of clearings.
    era: AtomicU32,
    /// The number of slots that clearings have renewed.
    renewed: AtomicU64,
    /// The hand. Not on the cache line of the era, which every match of an inactive block
    /// reads.
    hand: CachePadded<AtomicU64>,
    /// The number from which the number of cleared blocks is counted down: see "How many are
    /// there?" in `ops/clear`. Only gauges read it, so it is not one of the model's atomics.
    cleared_until: std::sync::atomic::AtomicI64,
}

/// A position in the round of an era: `0..32` the slot, `32..64` the era.
#[derive(Clone, Copy)]
pub(crate) struct Hand(u64);

impl Hand {
    pub(crate) fn new(era: u32, at: u32) -> Self {
        Self(u64::from(era) << 32 | u64::from(at))
    }

    pub(crate) fn at(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn era(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl<const BITS: u32> Clearing<BITS> {
    /// The bits of an era that slots remember.
    const MASK: u16 = u16::MAX >> (16 - BITS);

    pub(crate) fn new(block_count: u32) -> Self {
        Self {
            era: AtomicU32::new(0),
            renewed: AtomicU64::new(0),
            hand: CachePadded::new(AtomicU64::new(Hand::new(0, block_count).0)),
            cleared_until: std::sync::atomic::AtomicI64::new(0),
        }
    }

    /// Returns the number of cleared blocks. `taken` is the number of blocks that were ever
    /// taken after having been cleared, minus those that were discarded without having been
    /// cleared.
    pub(crate) fn cleared(&self, taken: i64) -> u64 {
        let until = self.cleared_until.load(Ordering::Relaxed);
        until.saturating_sub(taken).max(0) as u64
    }

    /// Sets the number of cleared blocks, given the current value of `taken`.
    pub(crate) fn set_cleared(&self, count: u64, taken: i64) {
        self.cleared_until
            .store(taken.saturating_add_unsigned(count), Ordering::Relaxed);
    }

    /// Returns the current era, as slots remember it.
    ///
    /// Acquire: a thread that sees the era of a clearing also sees that the registry has been
    /// told of that clearing.
    #[inline]
    pub(crate) fn era(&self) -> u16 {
        self.era.load(Ordering::Acquire) as u16 & Self::MASK
    }

    /// Returns where the next thread should look for cleared blocks.
    pub(crate) fn hand(&self) -> Hand {
        Hand(self.hand.load(Ordering::Relaxed))
    }

    /// Moves the hand if it is still at `seen`; otherwise returns where it is.
    pub(crate) fn move_hand(&self, seen: Hand, new: Hand) -> Result<(), Hand> {
        self.hand
            .compare_exchange(seen.0, new.0, Ordering::Relaxed, Ordering::Relaxed)
            .map(drop)
            .map_err(Hand)
    }

    /// Begins a new era.
    pub(crate) fn begin(&self) {
        // Release: pairs with the acquire in `era`.
        let era = self.era.fetch_add(1, Ordering::Release).wrapping_add(1);
        step!(EraBegun);
        let mut hand = self.hand();
        // A later clearing may have moved the hand already.
        while era.wrapping_sub(hand.era()) as i32 > 0 {
            match self.move_hand(hand, Hand::new(era, 0)) {
                Ok(()) => break,
                Err(now) => hand = now,
            }
        }
    }

    /// Renews the cleared blocks among the next slots, so that their eras stay unambiguous: see
    /// the module documentation. Every clearing calls this once. Looks at
    /// `slots.len() / 2^(BITS - 2) + 1` slots, and as many again for each clearing that does the
    /// same meanwhile.
    pub(crate) fn renew(&self, slots: &[Slot]) {
        let count = slots.len() as u64;
        let share = (count >> (BITS - 2)) + 1;
        let mut from = self.renewed.load(Ordering::Acquire);
        loop {
            for at in from..from + share {
                self.renew_one(&slots[(at % count) as usize]);
            }
            step!(ErasRenewed);
            match self.renewed.compare_exchange(
                from,
                from + share,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return,
                Err(now) => from = now,
            }
        }
    }

    /// Gives a block that is cleared the last era before the current one.
    fn renew_one(&self, slot: &Slot) {
        if !slot.word().is_inactive() {
            // A release will set the era.
            return;
        }
        // Before the current era, which may go on: a block of an era that has passed is cleared.
        // The release that wrote the era has read the store's, so this thread sees at least that
        // one (the release in `Slot::set_era`).
        let seen = slot.era();
        fence(Ordering::Acquire);
        let now = self.era();
        if seen != now {
            slot.renew_era(seen, now.wrapping_sub(1) & Self::MASK);
        }
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use crate::SequenceHash;
    use crate::key::Key;

    const BITS: u32 = 4;
    const ERAS: u32 = 1 << BITS;

    fn slots(count: u32) -> Vec<Slot> {
        (0..count).map(|id| Slot::new(id, false)).collect()
    }

    /// Registers a block and releases it in the current era.
    fn release(slot: &Slot, clearing: &Clearing<BITS>) {
        let hash = SequenceHash::root(1);
        slot.set_key(Key { hash, keyed: 0 });
        slot.promote(slot.begin());
        slot.begin_release(0, clearing.era());
        slot.unpin_last(slot.word()).unwrap();
    }

    fn clear(clearing: &Clearing<BITS>, slots: &[Slot]) {
        clearing.begin();
        clearing.renew(slots);
    }

    /// However many clearings follow, a cleared block is never mistaken for one of the current
    /// era: whichever slot it is, and wherever in the cycle it was released.
    #[test]
    fn a_cleared_block_stays_cleared() {
        for count in [1, 2, 3, 7, 8, 9, 64] {
            let clearing = Clearing::<BITS>::new(count);
            let slots = slots(count);
            for slot in &slots {
                release(slot, &clearing);
                for clearings in 1..=3 * ERAS {
                    clear(&clearing, &slots);
                    for cleared in &slots[..=slot.id() as usize] {
                        let id = cleared.id();
                        assert_ne!(cleared.era(), clearing.era(), "{id} after {clearings}");
                    }
                }
            }
        }
    }

    /// A block of the current era is not touched.
    #[test]
    fn a_block_of_the_current_era_stays() {
        let (clearing, slots) = (Clearing::<BITS>::new(3), slots(3));
        for _ in 0..2 * ERAS {
            clearing.begin();
            release(&slots[1], &clearing);
            clearing.renew(&slots);
            assert_eq!(slots[1].era(), clearing.era());
            let word = slots[1].word();
            slots[1].vacate(word, false).unwrap();
        }
    }

    /// The bound of the module documentation, and that no clearing does more than its share.
    #[test]
    fn every_slot_is_renewed_in_a_quarter_of_the_eras() {
        for count in [1, 5, 64, 1000] {
            let clearing = Clearing::<BITS>::new(count);
            let slots = slots(count);
            let share = u64::from(count / (ERAS / 4) + 1);
            for clearings in 1..=u64::from(ERAS) {
                clear(&clearing, &slots);
                assert_eq!(clearing.renewed.load(Ordering::Relaxed), clearings * share);
            }
            assert!(share * u64::from(ERAS / 4) >= u64::from(count));
        }
    }

    /// Threads that clear at once each move the count by a share of their own, whatever becomes
    /// of the exchanges of the others.
    #[test]
    fn concurrent_clearings_each_do_their_share() {
        const CLEARINGS: u64 = 500;
        let (clearing, slots) = (Clearing::<BITS>::new(64), slots(64));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..CLEARINGS).for_each(|_| clear(&clearing, &slots)));
            }
        });
        let renewed = clearing.renewed.load(Ordering::Relaxed);
        assert_eq!(renewed, 3 * CLEARINGS * (64 / 4 + 1));
    }
}
