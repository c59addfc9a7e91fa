//! A set of small numbers that quickly finds its next member at or after a given number.
//!
//! There is one bit per number, with levels of summaries above: a bit of level `n + 1` says
//! whether a word of level `n` has any bit set. Each level is a 64th of the one below, so
//! three levels reach a quarter of a million numbers, and four reach sixteen million.
//!
//! Finding a member reads one word if it is nearby, and otherwise at most two per level.
//! Inserting and removing stop at the first level that does not change. That is the lowest
//! one, unless a word becomes empty or stops being empty.

use super::ensure;

/// A set of numbers below a fixed bound.
pub(crate) struct Bitmap {
    /// The words of all levels, the lowest level first.
    words: Box<[u64]>,
    /// Where each level starts, the lowest first. The last level has one word.
    levels: Box<[usize]>,
}

impl Bitmap {
    /// Creates the empty set over `0..bound`.
    pub(crate) fn new(bound: usize) -> Self {
        let mut levels = Vec::new();
        let mut start = 0;
        let mut words = bound.div_ceil(64).max(1);
        loop {
            levels.push(start);
            start += words;
            if words == 1 {
                break;
            }
            words = words.div_ceil(64);
        }
        Self {
            words: vec![0; start].into_boxed_slice(),
            levels: levels.into_boxed_slice(),
        }
    }

    /// Adds `number`. Does nothing if it is a member.
    #[inline]
    pub(crate) fn insert(&mut self, number: u32) {
        let word = &mut self.words[number as usize / 64];
        let before = *word;
        *word |= 1 << (number % 64);
        if before == 0 {
            self.mark_filled(number as usize / 64);
        }
    }

    /// Removes `number`. Does nothing if it is not a member.
    #[inline]
    pub(crate) fn remove(&mut self, number: u32) {
        let word = &mut self.words[number as usize / 64];
        let before = *word;
        *word &= !(1 << (number % 64));
        if *word == 0 && before != 0 {
            self.mark_emptied(number as usize / 64);
        }
    }

    /// Sets the summary bits of the lowest level's `word`, which was empty.
    #[inline(never)]
    fn mark_filled(&mut self, word: usize) {
        let mut bit = word;
        for &start in &self.levels[1..] {
            let word = &mut self.words[start + bit / 64];
            let before = *word;
            *word |= 1 << (bit % 64);
            if before != 0 {
                return;
            }
            bit /= 64;
        }
    }

    /// Clears the summary bits of the lowest level's `word`, which is now empty.
    #[inline(never)]
    fn mark_emptied(&mut self, word: usize) {
        let mut bit = word;
        for &start in &self.levels[1..] {
            let word = &mut self.words[start + bit / 64];
            *word &= !(1 << (bit % 64));
            if *word != 0 {
                return;
            }
            bit /= 64;
        }
    }

    #[inline]
    pub(crate) fn contains(&self, number: u32) -> bool {
        self.words[number as usize / 64] >> (number % 64) & 1 != 0
    }

    /// Returns the smallest member that is at least `number`.
    #[inline]
    pub(crate) fn first_from(&self, number: u32) -> Option<u32> {
        let number = number as usize;
        let word = self.words[number / 64] >> (number % 64);
        if word != 0 {
            return Some(number as u32 + word.trailing_zeros());
        }
        self.first_behind_word(number / 64)
    }

    /// Returns the smallest member after the lowest level's `word`: goes up to the first
    /// level that knows of one, and down again to the member.
    fn first_behind_word(&self, word: usize) -> Option<u32> {
        let mut bit = word;
        for (level, &start) in self.levels.iter().enumerate().skip(1) {
            let behind = self.words[start + bit / 64] >> (bit % 64) >> 1;
            if behind != 0 {
                bit += 1 + behind.trailing_zeros() as usize;
                for &below in self.levels[..level].iter().rev() {
                    bit = bit * 64 + self.words[below + bit].trailing_zeros() as usize;
                }
                return Some(bit as u32);
            }
            bit /= 64;
        }
        None
    }

    /// Counts the members.
    pub(crate) fn count(&self) -> usize {
        let lowest = self.levels.get(1).copied().unwrap_or(self.words.len());
        let ones = |word: &u64| word.count_ones() as usize;
        self.words[..lowest].iter().map(ones).sum()
    }

    /// Verifies every summary bit against the word it summarizes.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (level, bounds) in self.levels.windows(2).enumerate() {
            let (below, above) = (bounds[0], bounds[1]);
            for word in 0..above - below {
                let summary = self.words[above + word / 64] >> (word % 64) & 1 != 0;
                ensure(summary == (self.words[below + word] != 0), || {
                    format!("bitmap level {level}, word {word}: its summary bit is {summary}")
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::Random;
    use std::collections::BTreeSet;

    #[test]
    fn has_as_many_levels_as_the_bound_needs() {
        for (bound, levels) in [(0, 1), (64, 1), (65, 2), (4096, 2), (4097, 3), (1 << 18, 3)] {
            assert_eq!(Bitmap::new(bound).levels.len(), levels, "bound {bound}");
        }
    }

    #[test]
    fn finds_members_at_the_edges() {
        let mut set = Bitmap::new(4097);
        assert_eq!(set.first_from(0), None);
        for number in [4096, 4095, 64, 63, 0] {
            set.insert(number);
            assert_eq!(set.first_from(0), Some(number));
            set.check().unwrap();
        }
        for (number, next) in [
            (1, Some(63)),
            (63, Some(63)),
            (64, Some(64)),
            (65, Some(4095)),
            (4096, Some(4096)),
        ] {
            assert_eq!(set.first_from(number), next);
        }
        for (number, next) in [
            (0, Some(63)),
            (64, Some(63)),
            (63, Some(4095)),
            (4095, Some(4096)),
            (4096, None),
        ] {
            set.remove(number);
            set.remove(number);
            assert_eq!(set.first_from(0), next);
            set.check().unwrap();
        }
    }

    #[test]
    fn agrees_with_a_tree() {
        let mut random = Random::new(5);
        let bound = 10_000;
        let mut set = Bitmap::new(bound as usize);
        let mut tree = BTreeSet::new();
        // First mostly inserting, then mostly removing, so that words and their summaries
        // become full and empty again.
        for step in 0..40_000 {
            let number = random.below(bound) as u32;
            if random.below(8) < if step < 20_000 { 6 } else { 1 } {
                set.insert(number);
                tree.insert(number);
            } else {
                let number = tree.range(number..).next().copied().unwrap_or(number);
                set.remove(number);
                tree.remove(&number);
            }
            assert_eq!(set.first_from(0), tree.first().copied());
            let from = random.below(bound) as u32;
            assert_eq!(set.first_from(from), tree.range(from..).next().copied());
            assert_eq!(set.contains(number), tree.contains(&number));
        }
        assert_eq!(set.count(), tree.len());
        set.check().unwrap();
    }
}
