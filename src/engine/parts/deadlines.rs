//! When do the directives of listed blocks expire?
//!
//! Sequential code that belongs to the policy plane: a hierarchical timing wheel (Varghese and
//! Lauck, 1987). Nothing is allocated after it is created; creating it is O(1) but for the memory,
//! 16 bytes per block, which is zero, as new memory is.
//!
//! # How are deadlines found?
//!
//! A deadline is a number of seven digits to the base 64. A wheel has reached a time, and a slot
//! is in the list of the highest digit in which its deadline differs from that time, and of the
//! value that the digit has. The earliest deadline is therefore in the lowest list of the lowest
//! digit. If that is the last digit, all slots of the list have the same deadline. If not, the
//! wheel *opens* the list: it reaches the earliest time that a deadline in the list can have,
//! and moves the slots, one by one, to lists of lower digits.
//!
//! # What does it cost?
//!
//! Setting and removing a deadline are O(1). Looking for what is due is O(1) plus one *step* for
//! each slot that is moved or found, of which the caller says how many there may be. A slot is
//! moved at most six times before it is found, and as many times less as its duration is shorter:
//! three times, if it is an hour.

use crate::policy::Lists;

/// The number of values of a digit.
const BASE: u32 = 64;
const DIGIT_BITS: u32 = BASE.ilog2();
/// Enough for the deadlines of [`Directives`](super::directives::Directives), of 39 bits.
const DIGITS: usize = 7;

/// The deadlines of listed blocks, earliest first; equal ones in the order in which they were set,
/// mostly.
///
/// Times are milliseconds on the clock of [`Directives::now`].
///
/// [`Directives::now`]: crate::engine::parts::directives::Directives::now
pub(crate) struct Deadlines {
    /// The lists of all digits, the last digit first.
    lists: Lists,
    /// The lists of each digit that are not empty.
    occupied: [u64; DIGITS],
    /// The deadline that each slot had last.
    of: Box<[u64]>,
    /// The time that the wheel has reached. Earlier deadlines count as this one.
    reached: u64,
    /// The list whose slots are being moved.
    opened: Option<u32>,
}

/// Returns a digit of a time.
fn digit(time: u64, digit: usize) -> u32 {
    (time >> (DIGIT_BITS as usize * digit)) as u32 % BASE
}

impl Deadlines {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            lists: Lists::new(slots, DIGITS * BASE as usize),
            occupied: [0; DIGITS],
            of: vec![0; slots].into_boxed_slice(),
            reached: 0,
            opened: None,
        }
    }

    /// Sets a slot's deadline, or removes it, whatever it was before.
    pub(crate) fn set(&mut self, slot: u32, deadline: Option<u64>) {
        self.forget(slot);
        if let Some(deadline) = deadline {
            self.of[slot as usize] = deadline;
            self.link(slot);
        }
    }

    /// Adds a slot to the list of its deadline.
    fn link(&mut self, slot: u32) {
        let deadline = self.of[slot as usize].max(self.reached);
        let differs = deadline ^ self.reached;
        let at = differs.checked_ilog2().unwrap_or(0) / DIGIT_BITS;
        debug_assert!((at as usize) < DIGITS, "deadline {deadline}");
        let value = digit(deadline, at as usize);
        self.lists.push_back(BASE * at + value, slot);
        self.occupied[at as usize] |= 1 << value;
    }

    /// Removes a slot's deadline, if it has one.
    pub(crate) fn forget(&mut self, slot: u32) {
        if let Some(emptied) = self.lists.unlink(slot) {
            self.occupied[(emptied / BASE) as usize] &= !(1 << (emptied % BASE));
        }
    }

    /// Returns whether a slot has a deadline that has passed at the time `now`.
    pub(crate) fn has_passed(&self, slot: u32, now: u64) -> bool {
        self.lists.contains(slot) && self.of[slot as usize] <= now
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.len() == 0
    }

    /// Removes the slot with the earliest deadline, if that has passed, and returns it. Takes the
    /// steps that this needs off `steps`, and returns `None` if there are not enough.
    pub(crate) fn take_due(&mut self, now: u64, steps: &mut u32) -> Option<u32> {
        while *steps > 0 {
            if let Some(slot) = self.opened.and_then(|list| self.lists.first(list)) {
                *steps -= 1;
                self.forget(slot);
                self.link(slot);
                continue;
            }
            self.opened = None;
            let at = self.occupied.iter().position(|&lists| lists != 0)?;
            let value = self.occupied[at].trailing_zeros();
            let begin = self.begin(at, value);
            if begin > now {
                return None;
            }
            self.reached = begin;
            let list = BASE * at as u32 + value;
            if at == 0 {
                *steps -= 1;
                let due = self.lists.first(list)?;
                self.forget(due);
                return Some(due);
            }
            self.opened = Some(list);
        }
        None
    }

    /// Returns the earliest time whose digit number `at` has this value, and whose higher digits
    /// are those of the time that the wheel has reached.
    fn begin(&self, at: usize, value: u32) -> u64 {
        let bits = DIGIT_BITS as usize * at;
        let higher = self.reached >> bits & !u64::from(BASE - 1);
        (higher | u64::from(value)) << bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn due(deadlines: &mut Deadlines, now: u64) -> Vec<u32> {
        std::iter::from_fn(|| deadlines.take_due(now, &mut { u32::MAX })).collect()
    }

    #[test]
    fn what_is_due_comes_out_in_order() {
        let mut deadlines = Deadlines::new(8);
        for (slot, deadline) in [(0, Some(30)), (1, Some(10)), (2, Some(20)), (3, Some(10))] {
            deadlines.set(slot, deadline);
        }
        deadlines.set(2, None);
        deadlines.set(3, Some(20));
        deadlines.forget(7);
        assert!(due(&mut deadlines, 9).is_empty());
        assert!(deadlines.has_passed(1, 10) && !deadlines.has_passed(1, 9));
        assert_eq!(due(&mut deadlines, 20), [1, 3]);
        assert!(!deadlines.has_passed(1, 10));
        assert_eq!(due(&mut deadlines, 30), [0]);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn the_latest_deadline_fits() {
        let mut deadlines = Deadlines::new(2);
        let latest = (1 << 39) - 1;
        deadlines.set(0, Some(latest));
        deadlines.set(1, Some(latest - 1));
        assert_eq!(due(&mut deadlines, latest - 1), [1]);
        assert_eq!(due(&mut deadlines, latest), [0]);
    }

    /// However late the deadline is, and whenever the slot is looked for.
    #[test]
    fn a_slot_is_found_after_at_most_seven_steps() {
        for bit in 0..39 {
            let deadline = ((1 << 39) - 1) >> bit << bit;
            for now in [deadline, 1 << 39] {
                let mut deadlines = Deadlines::new(1);
                deadlines.set(0, Some(deadline));
                let mut steps = 7;
                assert_eq!(deadlines.take_due(deadline - 1, &mut steps), None);
                assert_eq!(deadlines.take_due(now, &mut steps), Some(0));
            }
        }
    }

    /// Compares with an ordered set while the clock runs slowly and quickly, and with few and many
    /// steps at once.
    #[test]
    fn agrees_with_an_ordered_set() {
        use crate::policy::Random;
        const SLOTS: u64 = 50;
        for seed in 0..8 {
            let mut random = Random::new(seed);
            let mut deadlines = Deadlines::new(SLOTS as usize);
            let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
            let (mut now, mut found) = (0, 0);
            for step in 0..20_000 {
                let slot = random.below(SLOTS) as u32;
                match random.below(4) {
                    0 | 1 => {
                        let bits = 1 + random.below(22);
                        let deadline = now + 1 + random.below(1 << bits);
                        model.retain(|&(_, other)| other != slot);
                        model.insert((deadline, slot));
                        deadlines.set(slot, Some(deadline));
                    }
                    2 => {
                        model.retain(|&(_, other)| other != slot);
                        deadlines.forget(slot);
                    }
                    _ => {
                        let bits = 1 + random.below(20);
                        now += random.below(1 << bits);
                        let mut steps = 1 + random.below(60) as u32;
                        while let Some(due) = deadlines.take_due(now, &mut steps) {
                            let &(earliest, _) = model.first().expect("one is left");
                            assert!(earliest <= now);
                            assert!(model.remove(&(earliest, due)), "seed {seed}, step {step}");
                            found += 1;
                        }
                        let is_left = model.first().is_some_and(|&(first, _)| first <= now);
                        assert!(!is_left || steps == 0, "seed {seed}, step {step}");
                    }
                }
                let at = model.iter().find(|&&(_, other)| other == slot);
                let has_passed = at.is_some_and(|&(deadline, _)| deadline <= now);
                assert_eq!(deadlines.has_passed(slot, now), has_passed);
                assert_eq!(deadlines.is_empty(), model.is_empty());
                deadlines.lists.check().unwrap();
            }
            assert!(found > 2_000, "{found}");
        }
    }
}
