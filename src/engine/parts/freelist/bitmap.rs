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

use super::taken::TakenBlocks;

/// The number of words that are left unused before and after the words of a bitmap, so that no
/// two shards share a cache line.
const MARGIN: usize = 8;

/// The bitmap of one shard.
pub(super) struct FreeBitmap {
    /// The leaf where a search begins. Single-threaded, no leaf before it has a bit set; with
    /// several threads this is a guess, which the summaries correct.
    first: CachePadded<AtomicU32>,
    /// All levels, and [`MARGIN`]s.
    words: Box<[AtomicU64]>,
    /// Where each level begins in `words`. The first begins at [`MARGIN`].
    levels: Box<[usize]>,
}

impl FreeBitmap {
    /// Creates a bitmap with all bits clear.
    pub(super) fn new(bits: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = MARGIN;
        let mut width = bits;
        loop {
            width = width.div_ceil(FAN_OUT);
            levels.push(words);
            words += width;
            if width <= 1 {
                break;
            }
        }
        let words = (0..words + MARGIN).map(|_| AtomicU64::new(0)).collect();
        Self {
            first: CachePadded::new(AtomicU32::new(0)),
            words,
            levels: levels.into(),
        }
    }

    /// Returns word `at` of a level.
    #[inline]
    fn word(&self, level: usize, at: usize) -> &AtomicU64 {
        &self.words[self.levels[level] + at]
    }

    /// Returns leaf `at`: a word of level 0.
    #[inline]
    fn leaf(&self, at: usize) -> &AtomicU64 {
        &self.words[MARGIN + at]
    }

    /// Returns all leaves, in order.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &AtomicU64> {
        let end = self.levels.get(1).copied().unwrap_or(MARGIN + 1);
        self.words[MARGIN..end].iter()
    }

    /// Sets bits of leaf `at`. Returns whether no other bit was set: the caller then
    /// [announces](Self::announce) the leaf.
    ///
    /// # Safety
    ///
    /// These blocks belong to the caller alone, which gives them up.
    #[inline]
    #[must_use = "a leaf that is not announced may be hidden"]
    pub(super) unsafe fn put(&self, at: usize, bits: u64) -> bool {
        // An addition sets the bits, because they are clear: the blocks belong to the caller. It
        // is one instruction on most machines, where `fetch_or` is a loop of exchanges.
        // Release: what the freeing thread did with the blocks happens before the thread that
        // takes them goes on (the acquire in `take_from` and `take_one`).
        let before = self.leaf(at).fetch_add(bits, Ordering::Release);
        debug_assert_eq!(before & bits, 0, "a block in {at} was freed twice");
        before == 0
    }

    /// Sets the summary bits above leaf `at`. Stops at the first summary word that was not
    /// zero, because the levels above already show it.
    pub(super) fn announce(&self, mut at: usize) {
        step!(LeafSet);
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

    /// Takes up to `max` bits, at least one, lowest first, and calls `sink` with those of each
    /// leaf. Returns how many.
    ///
    /// Starts at the guessed leaf; single-threaded, that is the lowest with a bit set.
    #[inline]
    pub(super) fn take(&self, max: usize, sink: &mut impl FnMut(TakenBlocks)) -> usize {
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

    /// Takes up to `max` bits of leaf `at`, at least one, last seen as `word`, and calls `sink`
    /// with them. Returns how many.
    #[inline]
    pub(super) fn take_from(
        &self,
        at: usize,
        word: u64,
        max: usize,
        sink: &mut impl FnMut(TakenBlocks),
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
                    sink(TakenBlocks::of_leaf((at * FAN_OUT) as u32, wanted, count));
                    return count as usize;
                }
                Err(now) => seen = now,
            }
        }
        self.retract(0, at);
        0
    }
}

/// Returns the lowest `max` of the bits that are set in `word`, and their number. Neither `word`
/// nor `max` is zero.
#[inline]
fn lowest(word: u64, max: usize) -> (u64, u32) {
    if max >= 64 {
        return (word, word.count_ones());
    }
    let max = max as u32;
    // Usually, the blocks of a leaf that are free are neighbours.
    let start = word.trailing_zeros();
    let neighbours = (word >> start).trailing_ones();
    if neighbours >= max {
        return (low_bits(max) << start, max);
    }
    if low_bits(neighbours) << start == word {
        return (word, neighbours);
    }
    let (mut rest, mut count) = (word, 0);
    while rest != 0 && count < max {
        rest &= rest - 1;
        count += 1;
    }
    (word & !rest, count)
}

/// Returns a word whose lowest `count` bits are set, of which there is at least one.
#[inline]
pub(super) fn low_bits(count: u32) -> u64 {
    u64::MAX >> (64 - count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowest_bits() {
        assert_eq!(lowest(0b1011_0100, 2), (0b1_0100, 2));
        assert_eq!(lowest(0b1011_0100, 9), (0b1011_0100, 4));
        assert_eq!(lowest(0b1011_0100, 64), (0b1011_0100, 4));
        assert_eq!(lowest(u64::MAX, 64), (u64::MAX, 64));
        assert_eq!(lowest(u64::MAX, usize::MAX), (u64::MAX, 64));
        assert_eq!(lowest(u64::MAX, 63), (u64::MAX >> 1, 63));
        assert_eq!(lowest(u64::MAX << 60, 2), (3 << 60, 2));
        assert_eq!(lowest(u64::MAX << 60, 5), (u64::MAX << 60, 4));
        assert_eq!(lowest(1 << 63 | 1, 1), (1, 1));
        assert_eq!(lowest(1 << 63 | 1, 2), (1 << 63 | 1, 2));
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
        assert_eq!(bitmap.take(1, &mut |_taken| {}), 0);
        // What the rest of the `put` does.
        bitmap.announce(5 * 64 * 64 + 7);
        bitmap.word(2, 5).fetch_or(1, Ordering::Relaxed);
        bitmap.word(3, 0).fetch_or(1 << 5, Ordering::Relaxed);
        assert_eq!(bitmap.take(1, &mut |_taken| {}), 1);
    }
}
