//! How much has been counted since the last halving, and how often the counters have been halved.
//!
//! # What is the size after a halving?
//!
//! The *size* is the number of raises since the last halving, where a raise is an increment that
//! raised at least one counter. As in the reference, a halving takes it to half of what it was,
//! minus a quarter of the number of counters that were odd: rounding down lost one from each of
//! them, and a raise adds to four counters.
//!
//! Counting the odd counters would visit the whole table. They are known instead: for each of the
//! four bits of a counter, the tally knows in how many counters it is set. A raise changes these
//! numbers by what it does to its four counters, and a halving moves each of them down by one bit.
//!
//! # What may threads do to each other?
//!
//! Size and halvings are in one word. Raises add to it; a halving exchanges it, if there has not been
//! another halving since the decision. So of several threads that decide at once, one halves, and
//! every raise counts exactly once. All accesses are relaxed, as those of the
//! [counters](super::counters) are.
//!
//! The numbers of set bits are separate words, and follow. From one thread at a time they are
//! exact. A raise that races with a halving may be counted under the wrong bit, and a thread that
//! is suspended between a halving and the move of the numbers leaves them unmoved. This affects
//! nothing but how much the next four halvings subtract from the size: each leaves a size between
//! none and half of what it was, and moves the fault one bit further down, and finally out.

#[cfg(not(kvbm_loom))]
use std::sync::atomic::AtomicU64;

#[cfg(kvbm_loom)]
use crate::sync::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// What raises have changed.
#[derive(Clone, Copy, Default)]
pub(super) struct Change {
    /// The number of increments that raised a counter.
    raises: u32,
    /// Added to [`Tally::set`].
    set: [u64; 2],
}

impl Change {
    /// Includes, in the change by one increment, a counter that was raised from `before`, which is
    /// less than 15.
    #[inline(always)]
    pub(super) fn include(&mut self, before: usize) {
        self.raises = 1;
        for (set, by_raise) in self.set.iter_mut().zip(&SET_BY_RAISE) {
            *set = set.wrapping_add(by_raise[before]);
        }
    }

    /// Adds another change.
    #[inline(always)]
    pub(super) fn add(&mut self, other: Self) {
        self.raises += other.raises;
        for (set, other) in self.set.iter_mut().zip(other.set) {
            *set = set.wrapping_add(other);
        }
    }

    #[inline(always)]
    pub(super) fn raises(self) -> u32 {
        self.raises
    }
}

/// By how much a raise of a counter from each value changes the numbers of set bits.
static SET_BY_RAISE: [[u64; 16]; 2] = {
    let mut changes = [[0_u64; 16]; 2];
    let mut value = 0;
    while value < 15 {
        let (before, after) = (set_bits(value), set_bits(value + 1));
        let mut half = 0;
        while half < 2 {
            changes[half][value as usize] = after[half].wrapping_sub(before[half]);
            half += 1;
        }
        value += 1;
    }
    changes
};

/// Returns the bits of a counter as [`Tally::set`] has them.
const fn set_bits(value: u64) -> [u64; 2] {
    [
        value & 1 | (value >> 1 & 1) << 32,
        value >> 2 & 1 | (value >> 3 & 1) << 32,
    ]
}

/// See the module documentation.
pub(super) struct Tally {
    /// The size in the high half, the number of halvings in the low half. Both wrap around.
    size_and_halvings: AtomicU64,
    /// The numbers of counters in which bits 0 and 1, and in which bits 2 and 3 are set, the
    /// lower bit in the lower half.
    set: [AtomicU64; 2],
}

/// A size, and the number of halvings at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    pub(super) size: u32,
    pub(super) halvings: u32,
}

impl Age {
    #[inline(always)]
    fn of(word: u64) -> Self {
        Self {
            size: (word >> 32) as u32,
            halvings: word as u32,
        }
    }

    fn word(self) -> u64 {
        u64::from(self.size) << 32 | u64::from(self.halvings)
    }
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            size_and_halvings: AtomicU64::new(0),
            set: [AtomicU64::new(0), AtomicU64::new(0)],
        }
    }

    #[inline(always)]
    pub(super) fn age(&self) -> Age {
        Age::of(self.size_and_halvings.load(Relaxed))
    }

    /// Counts raises. Returns the age with them.
    #[inline(always)]
    pub(super) fn add(&self, change: Change) -> Age {
        for (set, change) in self.set.iter().zip(change.set) {
            if change != 0 {
                set.fetch_add(change, Relaxed);
            }
        }
        let raises = u64::from(change.raises) << 32;
        let before = self.size_and_halvings.fetch_add(raises, Relaxed);
        Age::of(before.wrapping_add(raises))
    }

    /// Counts a halving, unless there has been one since there were `halvings` of them.
    #[cold]
    pub(super) fn halve(&self, halvings: u32) {
        let set = self.set.each_ref().map(|set| set.load(Relaxed));
        let odd = set[0] as u32;
        let mut before = self.size_and_halvings.load(Relaxed);
        loop {
            let age = Age::of(before);
            if age.halvings != halvings {
                return;
            }
            let after = Age {
                size: (age.size / 2).saturating_sub(odd / 4),
                halvings: halvings.wrapping_add(1),
            };
            let exchanged = self.size_and_halvings.compare_exchange_weak(
                before,
                after.word(),
                Relaxed,
                Relaxed,
            );
            match exchanged {
                Ok(_) => break,
                Err(now) => before = now,
            }
        }
        // An addition rather than a store: raises may have added in between.
        let moved = [set[0] >> 32 | set[1] << 32, set[1] >> 32];
        for half in 0..2 {
            self.set[half].fetch_add(moved[half].wrapping_sub(set[half]), Relaxed);
        }
    }
}

#[cfg(all(test, not(kvbm_loom)))]
mod tests {
    use super::*;
    use crate::policy::testing::Random;

    /// The rule in numbers, from all counters.
    #[test]
    fn agrees_with_a_count_of_all_counters() {
        let mut random = Random::new(7);
        for counters in [1, 16, 1_000] {
            let tally = Tally::new();
            let mut model = vec![0_u8; counters];
            let (mut size, mut halvings) = (0_u32, 0);
            for _ in 0..50_000 {
                let mut change = Change::default();
                for _ in 0..4 {
                    let counter = &mut model[random.below(counters as u64) as usize];
                    if *counter < 15 {
                        change.include(usize::from(*counter));
                        *counter += 1;
                    }
                }
                size += change.raises();
                if change.raises() > 0 {
                    assert_eq!(tally.add(change), Age { size, halvings });
                }
                // Rarely, or several in a row.
                if random.below(2 * counters as u64) == 0 || random.below(5) == 0 && size < 9 {
                    tally.halve(halvings);
                    let odd = model.iter().filter(|&counter| counter % 2 == 1).count() as u32;
                    size = (size / 2).saturating_sub(odd / 4);
                    halvings += 1;
                    model.iter_mut().for_each(|counter| *counter /= 2);
                }
                assert_eq!(tally.age(), Age { size, halvings });
            }
            assert!(halvings > 20);
        }
    }

    #[test]
    fn of_two_decisions_to_halve_one_counts() {
        let tally = Tally::new();
        let mut change = Change::default();
        change.include(0);
        for _ in 0..8 {
            tally.add(change);
        }
        tally.halve(0);
        tally.halve(0);
        assert_eq!(tally.age().halvings, 1);
    }

    #[test]
    fn a_size_wraps_around_alone() {
        let tally = Tally::new();
        let change = Change {
            raises: u32::MAX,
            ..Change::default()
        };
        tally.halve(0);
        tally.add(change);
        assert_eq!(
            tally.add(change),
            Age {
                size: u32::MAX - 1,
                halvings: 1
            }
        );
    }
}
