//! How often and how recently hashes were used, including hashes of blocks long gone.
//!
//! This is a table of fixed size. A use has the value 1, which halves with every half-life.
//! For each hash, the table stores the time at which the sum of its uses' values would be one
//! ([`Place`]). This is a single number, which does not change as time passes, and which can be
//! compared with that of another hash. There are a few places where a hash can be stored; the
//! hash with the smallest value there is replaced by a new one.
//!
//! # How is time counted?
//!
//! In half-lives. A half-life can therefore become longer or shorter at any moment: it decides
//! how fast time passes from then on, and nothing in the table has to change.
//!
//! Time passes only when a hash that the table knows is used. Hashes that are used once, however
//! many there are, do not age those that are used again and again. A first use advances the
//! clock by the smallest amount possible, so that no two hashes have the same place.

use super::tag::Tag;

/// The number of places where a hash can be stored: one cache line of them.
const WAYS: usize = 4;

/// The time, in half-lives, at which the value of a hash's uses is one.
pub(crate) type Place = f64;

/// Returns a number that orders places as they are ordered. (Places are positive, and positive
/// floats have the order of their bits.)
pub(crate) fn key(place: Place) -> u64 {
    place.to_bits()
}

#[derive(Clone, Copy)]
struct HistoryEntry {
    tag: Tag,
    place: Place,
}

const NOTHING: HistoryEntry = HistoryEntry {
    tag: Tag::NONE,
    place: f64::NEG_INFINITY,
};

/// See the module documentation.
pub(crate) struct History {
    sets: Box<[[HistoryEntry; WAYS]]>,
    /// The number of half-lives per use.
    pace: f64,
    /// The current time in half-lives. It does not start at 0, near which the smallest steps
    /// are too small to add up.
    now: f64,
}

impl History {
    /// Creates a history with room for at least `hashes` hashes, at most 2^32.
    pub(crate) fn new(hashes: usize, half_life: f64) -> Self {
        Self {
            sets: vec![[NOTHING; WAYS]; hashes.div_ceil(WAYS)].into_boxed_slice(),
            pace: 1.0 / half_life,
            now: 1.0,
        }
    }

    /// Sets the half-life from now on. Its unit is uses of known hashes, over all hashes
    /// together.
    pub(crate) fn set_half_life(&mut self, half_life: f64) {
        self.pace = 1.0 / half_life;
    }

    /// Counts a use. Returns the hash's place after it.
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
            *entry = HistoryEntry { tag, place: next };
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

    /// The sums of the values, computed afresh.
    #[test]
    fn a_place_is_the_sum_of_values() {
        let mut random = Random::new(3);
        let mut history = History::new(1_000, 20.0);
        let mut pace = 1.0 / 20.0;
        // The hash of each use, and its time.
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
            // A hash that is not known has only the value of this use.
            .filter(|&n| history.count(tag(n)) > history.now)
            .count();
        // If four of them share a set, which is expected of one set in twenty, the scan
        // takes the place of one.
        assert!(kept > 940, "{kept}");
        assert!(history.now - now < 3.0, "{}", history.now - now);
    }
}
