//! One shard of the freelist: a hierarchical atomic bitmap.
//!
//! # Layout
//!
//! Level 0 has one bit per block, in words of [`FAN_OUT`] bits, the *leaves*. Above it are
//! summary levels: bit `i` of a summary word says that word `i` of the level below may have a
//! bit set. The top level is a single word. All levels lie in one array, level 0 first.
//!
//! # Which bits may a thread set and clear?
//!
//! | bit | set by | cleared by |
//! |---|---|---|
//! | of a leaf | the exclusive owner of the block, when it frees the block | the thread whose exchange takes the block |
//! | of a summary | a thread that has made the word below non-zero | a thread that has seen the word below as zero |
//!
//! # Summaries are hints
//!
//! A word's summary bit is set after the word becomes non-zero, and cleared after it becomes
//! zero. The thread that clears it looks at the word again, and sets the bit again if that was
//! wrong. Both write the summary word by an atomic read-modify-write, so the later one has
//! seen what the earlier one did to the level below: once both have finished, no block is
//! hidden.
//!
//! A thread that is suspended between the two steps can hide blocks from [`FreeBitmap::take`]
//! for as long as it is suspended. Looking at every leaf still finds them.

use crossbeam_utils::CachePadded;

use crate::sync::limits::FREELIST_FAN_OUT as FAN_OUT;
use crate::sync::step;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Eight words in a cache line of their own, so that no two shards share a line.
#[repr(align(64))]
struct Line([AtomicU64; 8]);

/// The bitmap of one shard.
pub(super) struct FreeBitmap {
    /// The leaf where a search begins. Single-threaded, no leaf before it has a bit set; with
    /// several threads this is a guess, which the summaries correct.
    first: CachePadded<AtomicU32>,
    lines: Box<[Line]>,
    /// Where each level begins, in words.
    levels: Box<[usize]>,
}

impl FreeBitmap {
    /// Creates a bitmap with all bits clear.
    pub(super) fn new(bits: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = 0;
        let mut width = bits;
        loop {
            width = width.div_ceil(FAN_OUT);
            levels.push(words);
            words += width;
            if width <= 1 {
                break;
            }
        }
        let lines = (0..words.div_ceil(8))
            .map(|_| Line(std::array::from_fn(|_| AtomicU64::new(0))))
            .collect();
        Self {
            first: CachePadded::new(AtomicU32::new(0)),
            lines,
            levels: levels.into(),
        }
    }

    /// Returns word `at` of a level.
    #[inline]
    fn word(&self, level: usize, at: usize) -> &AtomicU64 {
        let at = self.levels[level] + at;
        &self.lines[at / 8].0[at % 8]
    }

    /// Returns leaf `at`: a word of level 0.
    #[inline]
    fn leaf(&self, at: usize) -> &AtomicU64 {
        &self.lines[at / 8].0[at % 8]
    }

    /// Returns all leaves, in order.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &AtomicU64> {
        let count = self.levels.get(1).copied().unwrap_or(1);
        self.lines.iter().flat_map(|line| &line.0).take(count)
    }

    /// Sets bits of leaf `at`.
    ///
    /// # Safety
    ///
    /// These blocks belong to the caller alone, which gives them up.
    #[inline]
    pub(super) unsafe fn put(&self, at: usize, bits: u64) {
        // Release: what the freeing thread did with the blocks happens before the thread that
        // takes them goes on (the acquire in `take_from` and `take_one`).
        let before = self.leaf(at).fetch_or(bits, Ordering::Release);
        debug_assert_eq!(before & bits, 0, "a block in {at} was freed twice");
        if before == 0 {
            step!(LeafSet);
            self.announce(at);
        }
    }

    /// Sets the summary bits above leaf `at`. Stops at the first summary word that was not
    /// zero, because the levels above already show it.
    fn announce(&self, mut at: usize) {
        if (at as u32) < self.first.load(Ordering::Relaxed) {
            self.first.store(at as u32, Ordering::Relaxed);
        }
        for level in 1..self.levels.len() {
            // AcqRel: see "Summaries are hints".
            let before = self
                .word(level, at / FAN_OUT)
                .fetch_or(1 << (at % FAN_OUT), Ordering::AcqRel);
            if before != 0 {
                return;
            }
            at /= FAN_OUT;
        }
    }

    /// Clears the summary bits above word `at` of level `from`, which was seen as zero; sets
    /// them again if it is not.
    fn retract(&self, from: usize, at: usize) {
        let mut below = at;
        for level in from + 1..self.levels.len() {
            let bit = 1 << (below % FAN_OUT);
            // AcqRel: see "Summaries are hints".
            let before = self
                .word(level, below / FAN_OUT)
                .fetch_and(!bit, Ordering::AcqRel);
            step!(HintCleared);
            if self.word(level - 1, below).load(Ordering::Acquire) != 0 {
                self.announce_from(level, below);
                return;
            }
            if before & !bit != 0 {
                return;
            }
            below /= FAN_OUT;
        }
    }

    /// Sets all summary bits above word `at` of the level below `level`.
    fn announce_from(&self, level: usize, mut at: usize) {
        for level in level..self.levels.len() {
            self.word(level, at / FAN_OUT)
                .fetch_or(1 << (at % FAN_OUT), Ordering::AcqRel);
            at /= FAN_OUT;
        }
    }

    /// Takes up to `max` bits, lowest first, and calls `sink` with each. Returns how many.
    ///
    /// Starts at the guessed leaf; single-threaded, that is the lowest with a bit set.
    #[inline]
    pub(super) fn take(&self, max: usize, sink: &mut impl FnMut(u32)) -> usize {
        let mut at = self.first.load(Ordering::Relaxed) as usize;
        let mut taken = 0;
        loop {
            let word = self.leaf(at).load(Ordering::Acquire);
            if word != 0 {
                taken += self.take_from(at, word, max - taken, sink);
                if taken == max {
                    return taken;
                }
            }
            match self.find() {
                Some(next) => at = next,
                None => return taken,
            }
        }
    }

    /// Takes the lowest bit of the leaf where searches begin. Returns `None` if that leaf is
    /// empty, or another thread changes it.
    #[inline]
    pub(super) fn take_one(&self) -> Option<u32> {
        let at = self.first.load(Ordering::Relaxed) as usize;
        let leaf = self.leaf(at);
        let seen = leaf.load(Ordering::Relaxed);
        if seen == 0 {
            return None;
        }
        let rest = seen & (seen - 1);
        // Acquire: pairs with the release in `put`.
        leaf.compare_exchange(seen, rest, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        if rest == 0 {
            step!(LeafEmptied);
            self.retract(0, at);
        }
        Some((at * FAN_OUT) as u32 + seen.trailing_zeros())
    }

    /// Returns the lowest leaf that has a bit set, according to the summaries, and makes it
    /// the leaf where searches begin.
    fn find(&self) -> Option<usize> {
        let top = self.levels.len() - 1;
        'top: loop {
            let mut at = 0;
            // Acquire: pairs with the releases of the summaries, so that the bits that a set
            // summary bit stands for are seen.
            let mut word = self.word(top, 0).load(Ordering::Acquire);
            if word == 0 {
                return None;
            }
            for level in (0..top).rev() {
                at = at * FAN_OUT + word.trailing_zeros() as usize;
                word = self.word(level, at).load(Ordering::Acquire);
                if word == 0 {
                    // The summary bit above this word is out of date.
                    self.retract(level, at);
                    continue 'top;
                }
            }
            self.first.store(at as u32, Ordering::Relaxed);
            return Some(at);
        }
    }

    /// Takes up to `max` bits of leaf `at`, last seen as `word`, and calls `sink` with each.
    /// Returns how many.
    #[inline]
    pub(super) fn take_from(
        &self,
        at: usize,
        word: u64,
        max: usize,
        sink: &mut impl FnMut(u32),
    ) -> usize {
        let leaf = self.leaf(at);
        let mut seen = word;
        while seen != 0 {
            let (wanted, count) = lowest(seen, max);
            // Acquire: pairs with the release in `put`.
            match leaf.compare_exchange_weak(
                seen,
                seen & !wanted,
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => {
                    if seen == wanted {
                        step!(LeafEmptied);
                        self.retract(0, at);
                    }
                    let mut left = wanted;
                    while left != 0 {
                        sink((at * FAN_OUT) as u32 + left.trailing_zeros());
                        left &= left - 1;
                    }
                    return count;
                }
                Err(now) => seen = now,
            }
        }
        self.retract(0, at);
        0
    }
}

/// Returns the lowest `max` of the bits that are set in `word`, and their number.
#[inline]
fn lowest(word: u64, max: usize) -> (u64, usize) {
    let (mut rest, mut count) = (word, 0);
    while rest != 0 && count < max {
        rest &= rest - 1;
        count += 1;
    }
    (word & !rest, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_bits() {
        assert_eq!(lowest(0b1011_0100, 2), (0b1_0100, 2));
        assert_eq!(lowest(0b1011_0100, 9), (0b1011_0100, 4));
        assert_eq!(lowest(u64::MAX, 64), (u64::MAX, 64));
        assert_eq!(lowest(1, 0), (0, 0));
    }

    /// A thread that is suspended in the middle of `put` may hide blocks, but must not keep
    /// others from concluding that none can be seen.
    #[test]
    fn a_summary_bit_that_was_set_too_early_is_cleared() {
        let bitmap = FreeBitmap::new(64 * 64 * 64 * 64);
        assert_eq!(bitmap.levels.len(), 4);
        // Set in the top level, clear in the level below, set in the one below that.
        bitmap.word(3, 0).store(1 << 5, Ordering::Relaxed);
        bitmap.word(1, 5 * 64).store(1 << 7, Ordering::Relaxed);
        bitmap.word(0, 5 * 64 * 64 + 7).store(1, Ordering::Relaxed);
        assert_eq!(bitmap.take(1, &mut |_| {}), 0);
        // What the rest of the `put` does.
        bitmap.announce(5 * 64 * 64 + 7);
        bitmap.word(2, 5).fetch_or(1, Ordering::Relaxed);
        bitmap.word(3, 0).fetch_or(1 << 5, Ordering::Relaxed);
        assert_eq!(bitmap.take(1, &mut |_| {}), 1);
    }
}
