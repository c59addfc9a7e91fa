//! How often and how lately hashes were used, also of blocks long gone.
//!
//! A table of fixed size. A use has the value 1, which halves with every half-life; what
//! is kept of a hash is the sum of its uses' values as the time at which it would be
//! one ([`Place`]). That is one number, it does not change while time passes, and
//! it can be compared with others'. A hash has a few places where it can stand; the
//! one with the smallest value there gives way to a new hash.
//!
//! # Time
//!
//! Time is counted in half-lives. So a half-life can become longer or shorter at any
//! moment: it decides how fast time goes from then on, and no place has to be changed.
//!
//! Only a use of a hash that the table knows makes time pass. Hashes that come once,
//! however many, do not age what is used again and again. A first use advances the
//! clock as little as a clock can be advanced, so that no two have the same place.

use super::tag::Tag;

/// Places where a hash can stand: a cache line of them.
const WAYS: usize = 4;

/// The time at which the value of a hash's uses is one, in half-lives.
pub(crate) type Place = f64;

#[derive(Clone, Copy)]
struct Entry {
    tag: Tag,
    place: Place,
}

const NOTHING: Entry = Entry {
    tag: Tag::NONE,
    place: f64::NEG_INFINITY,
};

/// See the module documentation.
pub(crate) struct History {
    sets: Box<[[Entry; WAYS]]>,
    /// How many half-lives a use is.
    pace: f64,
    /// In half-lives. Not from 0, next to which numbers are too small to add up.
    now: f64,
}

impl History {
    /// With room for at least so many hashes, at most 2^32.
    pub(crate) fn new(hashes: usize, half_life: f64) -> Self {
        Self {
            sets: vec![[NOTHING; WAYS]; hashes.div_ceil(WAYS)].into_boxed_slice(),
            pace: 1.0 / half_life,
            now: 1.0,
        }
    }

    /// Sets the half-life from now on: in uses of known hashes, of all together.
    pub(crate) fn set_half_life(&mut self, half_life: f64) {
        self.pace = 1.0 / half_life;
    }

    /// Counts a use. Returns the place of the hash after it.
    pub(crate) fn count(&mut self, tag: Tag) -> Place {
        let at = tag.set(self.sets.len());
        let set = &mut self.sets[at];
        let next = self.now.next_up();
        if let Some(entry) = set.iter_mut().find(|entry| entry.tag == tag) {
            self.now = next.max(self.now + self.pace);
            let value = 1.0 + (entry.place - self.now).exp2();
            entry.place = self.now + value.log2();
            return entry.place;
        }
        self.now = next;
        let least = (set.iter_mut()).min_by(|a, b| a.place.total_cmp(&b.place));
        if let Some(entry) = least {
            *entry = Entry { tag, place: next };
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SequenceHash;
    use crate::policy::testing::Random;

    fn tag(n: u64) -> Tag {
        Tag::of(SequenceHash::new(n, None, 0))
    }

    #[test]
    fn first_uses_are_in_order_and_take_no_time() {
        let mut history = History::new(100, 1.0);
        let mut last = 0.0;
        for n in 0..1_000 {
            let place = history.count(tag(n));
            assert!(place > last);
            last = place;
        }
        assert!(last < 1.0 + 1e-9, "{last}");
    }

    #[test]
    fn two_uses_at_once_are_worth_a_half_life() {
        let mut history = History::new(100, 1e6);
        let first = history.count(tag(1));
        let place = history.count(tag(1));
        assert!((place - first - 1.0).abs() < 1e-5, "{place}");
    }

    #[test]
    fn old_uses_fade_with_the_half_life_of_their_time() {
        let mut history = History::new(100, 10.0);
        let pass = |history: &mut History, uses| {
            for _ in 0..uses {
                history.count(tag(2));
            }
        };
        history.count(tag(2));
        history.count(tag(1));
        pass(&mut history, 30);
        history.set_half_life(100.0);
        pass(&mut history, 99);
        let before = history.now;
        let place = history.count(tag(1));
        // Three half-lives of 10 uses and one of 100: a sixteenth is left.
        let expected = before + 0.01 + (1.0_f64 + 1.0 / 16.0).log2();
        assert!((place - expected).abs() < 1e-9, "{place}, not {expected}");
    }

    /// The sums of the values, worked out anew.
    #[test]
    fn a_place_is_the_sum_of_values() {
        let mut random = Random::new(3);
        let mut history = History::new(1_000, 20.0);
        let mut pace = 1.0 / 20.0;
        // The hash of each use, and the time it took.
        let mut uses: Vec<(u64, f64)> = Vec::new();
        for step in 0..3_000 {
            if step % 500 == 499 {
                let half_life = 5.0 + random.below(200) as f64;
                history.set_half_life(half_life);
                pace = 1.0 / half_life;
            }
            let n = random.below(5) * random.below(9);
            let is_known = uses.iter().any(|&(other, _)| other == n);
            uses.push((n, if is_known { pace } else { 0.0 }));
            let place = history.count(tag(n));
            let (mut age, mut value) = (0.0_f64, 0.0_f64);
            for &(other, time) in uses.iter().rev() {
                if other == n {
                    value += (-age).exp2();
                }
                age += time;
            }
            let expected = 1.0 + age + value.log2();
            assert!((place - expected).abs() < 1e-9, "{place}, not {expected}");
        }
    }

    /// A scan of three hundred times as many hashes as there is room for.
    #[test]
    fn frequent_hashes_stay_while_a_million_pass() {
        const FREQUENT: u64 = 1_000;
        let mut history = History::new(3_000, 5_000.0);
        for _ in 0..4 {
            for n in 0..FREQUENT {
                history.count(tag(n));
            }
        }
        let now = history.now;
        for n in 0..1_000_000 {
            history.count(tag(FREQUENT + n));
        }
        let kept = (0..FREQUENT)
            // A hash that is not known has no worth but that of this use.
            .filter(|&n| history.count(tag(n)) > history.now)
            .count();
        // Where four of them share a set, which is expected of one set in twenty, the scan
        // takes the place of one.
        assert!(kept > 940, "{kept}");
        assert!(history.now - now < 3.0, "{}", history.now - now);
    }
}
