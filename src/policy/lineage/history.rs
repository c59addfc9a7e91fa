//! How often and how lately hashes were used, also of blocks long gone.
//!
//! A table of fixed size. A use has the value 1, which halves with every half-life; what
//! is kept of a hash is the sum of its uses' values as the time at which it would be
//! one ([`Place`]). That is one number, it does not change while time passes, and
//! it can be compared with others'. A hash has a few places where it can stand; the
//! one with the smallest value there gives way to a new hash.

use crate::SequenceHash;

/// Places where a hash can stand: a cache line of them.
const WAYS: usize = 4;

/// Half-lives after which a use is as good as forgotten, and as many uses may be kept.
const HALF_LIVES: usize = 4;

/// The time at which the value of a hash's uses is one, in releases.
pub(super) type Place = f64;

#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    place: Place,
}

const NOTHING: Entry = Entry {
    tag: 0,
    place: f64::NEG_INFINITY,
};

/// See the module documentation.
pub(super) struct History {
    /// A power of two of them.
    sets: Box<[[Entry; WAYS]]>,
    half_life: f64,
    /// Counts uses.
    now: f64,
}

impl History {
    /// With a half-life in uses, of all hashes together.
    pub(super) fn new(half_life: u32) -> Self {
        let sets = (half_life as usize * HALF_LIVES / WAYS).next_power_of_two();
        Self {
            sets: vec![[NOTHING; WAYS]; sets].into_boxed_slice(),
            half_life: f64::from(half_life),
            now: 0.0,
        }
    }

    /// Counts a use. Returns the place of the hash after it.
    pub(super) fn count(&mut self, hash: SequenceHash) -> Place {
        self.now += 1.0;
        let tag = tag(hash);
        let at = (tag >> 32) as usize & (self.sets.len() - 1);
        let set = &mut self.sets[at];
        let way = (0..WAYS)
            .find(|&way| set[way].tag == tag)
            .or_else(|| (0..WAYS).min_by(|&a, &b| set[a].place.total_cmp(&set[b].place)));
        let entry = &mut set[way.unwrap_or(0)];
        let before = if entry.tag == tag {
            entry.place
        } else {
            f64::NEG_INFINITY
        };
        let value = 1.0 + ((before - self.now) / self.half_life).exp2();
        *entry = Entry {
            tag,
            place: self.now + self.half_life * value.log2(),
        };
        entry.place
    }
}

/// A number that tells hashes apart, other than 0.
fn tag(hash: SequenceHash) -> u64 {
    let bits = hash.as_u128();
    let folded = (bits >> 64) as u64 ^ (bits as u64).rotate_left(32);
    // Fibonacci hashing: the high half of a product depends on all bits.
    let product = u128::from(folded) * 0x9e37_79b9_7f4a_7c15;
    (product >> 64) as u64 ^ product as u64 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> SequenceHash {
        SequenceHash::new(n, None, 0)
    }

    #[test]
    fn a_first_use_has_the_place_of_its_time() {
        let mut history = History::new(100);
        assert_eq!(history.count(hash(1)), 1.0);
        assert_eq!(history.count(hash(2)), 2.0);
    }

    #[test]
    fn two_uses_at_once_are_worth_a_half_life() {
        let mut history = History::new(1_000_000);
        history.count(hash(1));
        let place = history.count(hash(1));
        assert!((place - 1_000_002.0).abs() < 1.0, "{place}");
    }

    #[test]
    fn old_uses_fade() {
        let mut history = History::new(10);
        history.count(hash(1));
        for n in 2..101 {
            history.count(hash(n));
        }
        // Ten half-lives later a use is worth a thousandth.
        let place = history.count(hash(1));
        assert!((101.0..101.1).contains(&place), "{place}");
    }

    #[test]
    fn frequent_hashes_stay_while_others_pass() {
        let mut history = History::new(1_000);
        for _ in 0..50 {
            history.count(hash(0));
        }
        for n in 1..2_000 {
            history.count(hash(n));
        }
        let place = history.count(hash(0));
        // 50 uses two half-lives ago, and one now.
        let expected = 2_050.0 + 1_000.0 * (50.0_f64 / 4.0 + 1.0).log2();
        assert!((place - expected).abs() < 30.0, "{place}, not {expected}");
    }
}
