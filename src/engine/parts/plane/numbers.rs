//! The numbers under which an eviction order knows its blocks.
//!
//! A store's only order knows each block by its slot. If there are several, each of them may come to
//! list all blocks, but together they list a block once. Such an order *numbers* the blocks that it
//! lists, from 0 on, and gives the number of a block that it no longer lists to the next one. So it
//! uses memory for the most blocks that it has listed at once, rather than for all.
//!
//! # Where is a block listed?
//!
//! The [`Places`], one word per slot, say which order lists a block, and under which number:
//!
//! | place | next | which thread |
//! |---|---|---|
//! | nowhere | in an order | the holder of that order, when it lists the block: by an exchange, since two might |
//! | in an order | nowhere | the holder of that order, when it takes the block out |
//!
//! So the holder of an order knows for certain whether that order lists a block. What it sees of
//! other orders may be out of date when it acts on it, and nothing depends on it: see "Which order
//! lists a block?" in [`plane`](super).

use crate::sync::{AtomicU64, Ordering, zeroed};

/// The place of each slot's block. Zero, as new memory is, stands for "nowhere".
pub(super) struct Places(Box<[AtomicU64]>);

/// Where a block is listed, as seen by the holder of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Nowhere,
    /// In the order that is held, under this number.
    Here(u32),
    /// In the order of this shard.
    Elsewhere(usize),
}

impl Place {
    fn word(shard: usize, number: u32) -> u64 {
        (shard as u64 + 1) << 32 | u64::from(number)
    }

    /// Returns what a word means to the holder of the order of `shard`.
    fn of(word: u64, shard: usize) -> Self {
        match (word >> 32).checked_sub(1) {
            None => Self::Nowhere,
            Some(at) if at == shard as u64 => Self::Here(word as u32),
            Some(at) => Self::Elsewhere(at as usize),
        }
    }
}

impl Places {
    pub(super) fn new(slots: usize) -> Self {
        Self(zeroed::array(slots))
    }
}

/// The numbers of the blocks that one order lists, and the ticks at which it has listed them. Only
/// for the holder of the order.
pub(super) struct Numbers {
    shard: usize,
    numbers: Vec<Entry>,
    /// The number to use next; if it is that of no entry, one is added.
    vacant: u32,
}

/// What has a number.
struct Entry {
    tick: u64,
    /// The slot; for a number that is not in use, the number to use after it.
    slot: u32,
}

impl Numbers {
    /// Creates the numbers of the order of `shard`, for up to `count` blocks.
    pub(super) fn new(shard: usize, count: usize) -> Self {
        Self {
            shard,
            // Not touched, and so not provided, before that many are listed.
            numbers: Vec::with_capacity(count),
            vacant: 0,
        }
    }

    /// Returns the shard whose order has these numbers.
    pub(super) fn shard(&self) -> usize {
        self.shard
    }

    /// Returns where a block is listed.
    #[inline(always)]
    pub(super) fn place(&self, places: &Places, slot: u32) -> Place {
        // Relaxed, here and below: who holds an order is told by its lock, and the place of a block
        // that another order lists is a hint.
        Place::of(places.0[slot as usize].load(Ordering::Relaxed), self.shard)
    }

    /// Returns the number of a block that is about to be listed at this tick, or the shard whose
    /// order lists it already.
    #[inline(always)]
    pub(super) fn number(&mut self, places: &Places, slot: u32, tick: u64) -> Result<u32, usize> {
        let place = &places.0[slot as usize];
        let seen = place.load(Ordering::Relaxed);
        let number = self.vacant;
        let word = Place::word(self.shard, number);
        if seen != 0
            || place
                .compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return self.number_again(place.load(Ordering::Relaxed), tick);
        }
        let entry = Entry { tick, slot };
        match self.numbers.get_mut(number as usize) {
            Some(vacant) => self.vacant = std::mem::replace(vacant, entry).slot,
            None => {
                self.numbers.push(entry);
                self.vacant = number + 1;
            }
        }
        Ok(number)
    }

    /// Returns the number of a block whose place is this word, though it was another a moment ago or
    /// is that of a listed block; or the shard whose order is to see to it. That is this one if another
    /// order has just taken the block out.
    #[cold]
    fn number_again(&mut self, word: u64, tick: u64) -> Result<u32, usize> {
        match Place::of(word, self.shard) {
            Place::Here(number) => {
                self.numbers[number as usize].tick = tick;
                Ok(number)
            }
            Place::Elsewhere(shard) => Err(shard),
            Place::Nowhere => Err(self.shard),
        }
    }

    /// Ends the use of a number, and returns the slot that had it.
    #[inline(always)]
    pub(super) fn free(&mut self, places: &Places, number: u32) -> u32 {
        let entry = &mut self.numbers[number as usize];
        let slot = std::mem::replace(&mut entry.slot, self.vacant);
        self.vacant = number;
        places.0[slot as usize].store(0, Ordering::Relaxed);
        slot
    }

    /// Returns the tick at which the block with this number was listed.
    #[inline]
    pub(super) fn tick(&self, number: u32) -> u64 {
        self.numbers[number as usize].tick
    }
}

#[cfg(all(test, not(any(kvbm_loom, kvbm_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_used_again() {
        let places = Places::new(8);
        let mut numbers = Numbers::new(1, 8);
        let listed = [5, 2, 7].map(|slot| numbers.number(&places, slot, 10));
        assert_eq!(listed, [Ok(0), Ok(1), Ok(2)]);
        assert_eq!([0, 2].map(|number| numbers.free(&places, number)), [5, 7]);
        assert_eq!(numbers.place(&places, 5), Place::Nowhere);
        assert_eq!(numbers.number(&places, 3, 20), Ok(2));
        assert_eq!(numbers.number(&places, 2, 30), Ok(1), "listed already");
        assert_eq!(numbers.number(&places, 5, 40), Ok(0));
        assert_eq!([0, 1, 2].map(|number| numbers.tick(number)), [40, 30, 20]);
        let freed = [2, 0, 1].map(|number| numbers.free(&places, number));
        assert_eq!(freed, [3, 5, 2]);
    }

    #[test]
    fn one_order_lists_a_block() {
        let places = Places::new(2);
        let mut orders = [0, 63].map(|shard| Numbers::new(shard, 2));
        assert_eq!(orders[1].number(&places, 1, 0), Ok(0));
        assert_eq!(orders[0].number(&places, 1, 0), Err(63));
        assert_eq!(orders[0].place(&places, 1), Place::Elsewhere(63));
        orders[1].free(&places, 0);
        assert_eq!(orders[0].number(&places, 1, 0), Ok(0));
        assert_eq!(orders[1].place(&places, 1), Place::Elsewhere(0));
    }
}
