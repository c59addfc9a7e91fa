//! All-or-nothing allocation without a global counter: sharded credits.
//!
//! A **credit** is a permit to take one block: it stands for a block that is free or inactive,
//! and that is not reserved. An allocation of `n` blocks first reserves `n` credits in one
//! atomic step, or is refused. Only then does it look for blocks, and it may take its time:
//! the blocks exist, and no other allocation will take the last of them. So no two threads can
//! deadlock over half-gathered allocations, a refusal costs no search, and the number of
//! available blocks is the sum of a few words.
//!
//! # Where are the credits?
//!
//! In one *central balance*, and in one *shard balance* per shard. While a shard is *open*,
//! its threads reserve from its balance, release into it, and touch nothing else. A shard
//! whose balance does not suffice is *folded*: its credits move to the central balance, where
//! the thread takes what it needs; then it opens the shard again with a part of what is left.
//! A refusal requires that every shard is folded: then the central balance is all there is,
//! and a single load of it proves that at that instant fewer than `n` credits were left.
//!
//! # How do credits move between two words?
//!
//! A thread that is suspended while it moves credits must not hide them. It cannot, because
//! every step is one exchange that any thread may make, and the two words together always tell
//! which step is next. A shard's word holds its phase and balance; the central word holds a
//! *folded* bit per shard:
//!
//! | phase | folded bit | the credits are | next step, by any thread |
//! |---|---|---|---|
//! | `Open(b)` | clear | `b`, in the shard | its threads use it; freeze: `Frozen(b)` |
//! | `Frozen(b)` | clear | `b`, in the shard | central += b and set the bit, in one exchange |
//! | `Frozen(b)` | set | in the central balance | `Folded` |
//! | `Folded` | set | in the central balance | announce a grant: `Granted(k)` |
//! | `Granted(k)` | set | in the central balance | central −= k and clear the bit, in one exchange |
//! | `Granted(k)` | clear | `k`, in the shard | `Open(k)` |
//!
//! Every word carries a version. An exchange of the central word is made from a value that was
//! read *before* the shard's phase, and an exchange of the phase from a value that was read
//! *before* the folded bit it depends on. If the word has not changed by the time of the
//! exchange, then both values were current at one instant.
//!
//! The layout of the words is in [`words`].
//!
//! # Reserve before you take
//!
//! The invariant: *there are never more credits, reserved or not, than blocks that can be
//! found for them.* It holds because
//!
//! 1. a thread that makes a block unavailable has a credit for it first: an allocation for each
//!    block that it will return, a match for each inactive block that it is about to pin;
//! 2. a credit is returned after its block: a release takes its pin off, or frees the block,
//!    and only then returns the credit.
//!
//! So a reservation can always be honoured, and an allocation that has been decided needs
//! nothing but time.
//!
//! # Why can a match find an inactive block and no credit?
//!
//! Because every available block is then reserved by some operation that has not returned: an
//! allocation, a match, or a release. The match waits a moment, and then misses.
//!
//! # What does a refusal say?
//!
//! A credit stays reserved until its operation returns, even if the operation turns out not to
//! need it. (Two threads that match the same inactive block both reserve one, and one of them
//! returns it.) So a refusal says that at some instant during the call, held blocks plus
//! concurrent requests left fewer than `n`. Threads that together never ask for more than
//! there is are never refused.
//!
//! # Retirement
//!
//! When the manager is dropped, the store *retires*: all shards are folded for good. From then
//! on, the exchange that brings the central balance to the full block count is made by the
//! release of the last guard. So the store learns that it is no longer needed, without
//! counting guards.

pub(crate) mod watermark;
mod words;

use std::array;
use std::ptr::NonNull;

use crossbeam_utils::CachePadded;

use crate::sync::step;
use crate::sync::{AtomicU64, Ordering};

use crate::engine::parts::credits::watermark::Watermark;
use crate::engine::parts::credits::words::{CentralBalance, Phase, ShardBalance};

/// The largest number of shard balances: the central word has a folded bit for each. If a store has
/// more shards than that, every eighth shares a balance.
pub(crate) const MAX_BALANCES: usize = 8;

/// Whether a release was the last of a retired store: see "Retirement".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Released {
    /// The store is not retired, or credits are still out.
    Live,
    /// This was the last credit of a retired store, which the caller must drop.
    StoreDone,
}

/// What a reading of all words has found.
#[derive(Clone, Copy)]
struct Reading {
    credits: u64,
    /// The sum of all words. A change of a word adds to its version, which stands above its other
    /// fields, and so always adds to the sum: two readings with the same sum have read the same
    /// words.
    words: u64,
}

/// The credits of a store.
///
/// A `home` argument is the shard of the calling thread.
pub(crate) struct Credits {
    central: CachePadded<AtomicU64>,
    /// The first `shard_count` are in use.
    shards: [CachePadded<AtomicU64>; MAX_BALANCES],
    shard_count: usize,
    /// The folded bits of all shards.
    folded_bits: u64,
    block_count: u32,
    watermark: Watermark,
}

impl Credits {
    /// Creates one credit for each of `block_count` blocks, all of them in the central balance.
    ///
    /// Panics if there are no shards, or more than 2^28 blocks.
    pub(crate) fn new(block_count: u32, shards: usize) -> Self {
        assert!(shards > 0 && block_count <= 1 << 28);
        let shards = shards.min(MAX_BALANCES);
        let central = (0..shards).fold(CentralBalance(u64::from(block_count)), |central, shard| {
            central.with_folded(shard, true)
        });
        Self {
            central: CachePadded::new(AtomicU64::new(central.0)),
            shards: array::from_fn(|_| {
                CachePadded::new(AtomicU64::new(ShardBalance::new(Phase::Folded, 0).0))
            }),
            shard_count: shards,
            folded_bits: CentralBalance::folded_bits(shards),
            block_count,
            watermark: Watermark::none(),
        }
    }

    #[inline]
    fn central(&self) -> CentralBalance {
        // Acquire, like every load and exchange here: a phase that is read after the central
        // word must be at least as new as the central word.
        CentralBalance(self.central.load(Ordering::Acquire))
    }

    #[inline]
    fn shard(&self, shard: usize) -> ShardBalance {
        ShardBalance(self.word(shard).load(Ordering::Acquire))
    }

    fn change_central(&self, seen: CentralBalance, new: CentralBalance) -> bool {
        change_central(&self.central, seen, new)
    }

    #[inline]
    fn change_shard(&self, shard: usize, seen: ShardBalance, new: ShardBalance) -> bool {
        change(self.word(shard), seen, new)
    }

    /// Reserves `count` credits, or none. If none, then at some instant during the call fewer
    /// than `count` were left.
    ///
    /// Lock-free. Usually one exchange, of the home shard's word. A refusal is usually two
    /// loads, because one refusal leaves all shards folded for the next.
    #[inline]
    pub(crate) fn reserve(&self, home: usize, count: u32) -> Reservation {
        let count = u64::from(count);
        // If this shard alone keeps that many, the credits have not fallen below the level.
        if self.reserve_beyond(home, count, self.watermark.level()) {
            return MADE_AT_HOME;
        }
        // A refusal takes no credits, so it is not checked against the watermark.
        if self.lacks(self.central(), count) {
            return REFUSED;
        }
        self.reserve_closely(home, count)
    }

    /// Returns whether fewer than `count` credits were left when the central word had this
    /// value: it had fewer, and every shard was folded. If not, there may still be too few.
    #[inline]
    fn lacks(&self, central: CentralBalance, count: u64) -> bool {
        central.balance() < count && central.are_folded(self.folded_bits)
    }

    /// Reserves `count` credits from the home shard, if it has enough for that, even if there is
    /// a low watermark. Returns whether it has.
    #[inline]
    pub(crate) fn reserve_at_home(&self, home: usize, count: u32) -> bool {
        self.reserve_beyond(home, u64::from(count), self.watermark.level())
    }

    /// Reserves `count` credits from the home shard, if it has those and `rest` more.
    #[inline]
    fn reserve_beyond(&self, home: usize, count: u64, rest: u64) -> bool {
        let word = self.word(home);
        let needed = count + rest;
        loop {
            let seen = ShardBalance(word.load(Ordering::Acquire));
            if !seen.has_open(needed) {
                return false;
            }
            if change(word, seen, seen.minus(count)) {
                return true;
            }
        }
    }

    /// Reserves `count` credits, or none, and checks the low watermark if there is one.
    #[cold]
    fn reserve_closely(&self, home: usize, count: u64) -> Reservation {
        let home = home % MAX_BALANCES;
        if self.watermark.level() == 0 {
            return self.reserve_from_central(home, count);
        }
        self.watermark.rearm(self);
        let reservation = if self.reserve_beyond(home, count, 0) {
            MADE_AT_HOME
        } else {
            self.reserve_from_central(home, count)
        };
        if reservation.is_made {
            self.watermark.mark(self);
        }
        reservation
    }

    /// Reserves `count` credits from the central balance, and opens the home shard. Folds other
    /// shards as long as the central balance does not suffice.
    fn reserve_from_central(&self, home: usize, count: u64) -> Reservation {
        let mut references = 0;
        loop {
            let central = self.central();
            if central.balance() >= count {
                if self.change_central(central, central.with_balance(central.balance() - count)) {
                    step!(TakenFromCentral);
                    self.open(home);
                    return Reservation {
                        is_made: true,
                        references: references + i32::from(self.is_drained(central)),
                    };
                }
                continue;
            }
            // Home first, because the other shards' own threads are using those shards'
            // credits.
            let shards = self.shard_count;
            match (home..shards)
                .chain(0..home)
                .find(|&s| !central.is_folded(s))
            {
                Some(shard) => {
                    references -= i32::from(self.advance(shard) == Released::StoreDone);
                }
                None => {
                    return Reservation {
                        references,
                        ..REFUSED
                    };
                }
            }
        }
    }

    /// Returns `count` credits. This is the last thing that a guard does with its store: unless
    /// it returns [`Released::StoreDone`], the store may be freed by then.
    ///
    /// Lock-free. Usually one exchange, of the home shard's word.
    ///
    /// # Safety
    ///
    /// The caller owns the credits. They keep the store alive until the exchange that returns
    /// them, and no longer. Therefore the balances are passed by address, and that exchange
    /// refers to nothing but the exchanged word.
    pub(crate) unsafe fn release(credits: NonNull<Self>, home: usize, count: u32) -> Released {
        // SAFETY: the caller's contract; nothing has been returned unless the first returns true.
        unsafe {
            if Self::release_at_home(credits, home, count) {
                Released::Live
            } else {
                Self::release_to_central(credits, home, u64::from(count))
            }
        }
    }

    /// Returns `count` credits to the home shard, if it is open. If not, returns `false`, and
    /// the caller still has them.
    ///
    /// # Safety
    ///
    /// The contract of [`release`](Self::release).
    #[inline]
    pub(crate) unsafe fn release_at_home(credits: NonNull<Self>, home: usize, count: u32) -> bool {
        // SAFETY: the caller's credits keep the store alive.
        let word = unsafe { credits.as_ref().word(home) };
        loop {
            let seen = ShardBalance(word.load(Ordering::Acquire));
            if seen.phase() != Phase::Open {
                return false;
            }
            if change(word, seen, seen.plus(u64::from(count))) {
                return true;
            }
        }
    }

    /// Returns credits that belong to no store, as [`release`](Self::release) does.
    #[cfg(test)]
    pub(crate) fn give_back(&self, home: usize, count: u32) -> Released {
        // SAFETY: the tests borrow the credits for the whole call.
        unsafe { Self::release(NonNull::from(self), home, count) }
    }

    /// Returns the word of a shard.
    #[inline]
    fn word(&self, shard: usize) -> &AtomicU64 {
        // The number of shards is a power of two, if it is larger than that of the balances.
        &self.shards[shard % MAX_BALANCES]
    }

    /// Returns the words of all shards.
    #[inline]
    fn words(&self) -> impl Iterator<Item = &AtomicU64> {
        self.shards[..self.shard_count].iter().map(|shard| &**shard)
    }

    /// Returns credits when the home shard is not open: opens it, or else returns them to the
    /// central balance.
    ///
    /// # Safety
    ///
    /// The contract of [`release`](Self::release).
    #[cold]
    unsafe fn release_to_central(credits: NonNull<Self>, home: usize, count: u64) -> Released {
        let home = home % MAX_BALANCES;
        // SAFETY: the caller's credits keep the store alive until one of the two exchanges
        // below. Each of these is the last access to the store, and refers to one word.
        let (this, shard_word, central_word): (&Self, &AtomicU64, &AtomicU64) = unsafe {
            let this = &*credits.as_ptr();
            (this, this.word(home), &this.central)
        };
        // Only once: otherwise a thread that opens and a thread that folds could undo each
        // other's work without end.
        let mut may_open = true;
        loop {
            let central = this.central();
            if !central.is_folded(home) {
                let seen = this.shard(home);
                if seen.phase() == Phase::Open {
                    if change(shard_word, seen, seen.plus(count)) {
                        return Released::Live;
                    }
                } else {
                    // This is never `StoreDone`: the caller's credits are still out.
                    let _ = this.advance(home);
                }
                continue;
            }
            if may_open && !central.is_retired() {
                may_open = false;
                // Before the credits are returned, while the store is certainly alive. If it
                // fails, the central balance does as well.
                this.open(home);
                if this.shard(home).phase() == Phase::Open {
                    continue;
                }
            }
            let central = this.central();
            if central.is_folded(home) {
                let new = central.with_balance(central.balance() + count);
                // Computed first: after the exchange the store may be freed.
                let released = this.released(new);
                if change_central(central_word, central, new) {
                    return released;
                }
            }
        }
    }

    /// Returns what a release that leaves the central word at this value has to report.
    fn released(&self, central: CentralBalance) -> Released {
        if self.is_drained(central) {
            Released::StoreDone
        } else {
            Released::Live
        }
    }

    /// Returns whether the store is retired and every credit is back.
    fn is_drained(&self, central: CentralBalance) -> bool {
        central.is_retired()
            && central.are_folded(self.folded_bits)
            && central.balance() == u64::from(self.block_count)
    }

    /// Folds all shards for good. Returns [`Released::StoreDone`] if every credit is back;
    /// otherwise the release of the last one will return it. Retiring again does nothing.
    pub(crate) fn retire(&self) -> Released {
        loop {
            let central = self.central();
            if central.is_retired() {
                // An earlier call has dropped the pool's reference, or a release will.
                return Released::Live;
            }
            let new = central.retired();
            if self.change_central(central, new) {
                if self.is_drained(new) {
                    return Released::StoreDone;
                }
                break;
            }
        }
        for shard in 0..self.shard_count {
            while !self.central().is_folded(shard) {
                if self.advance(shard) == Released::StoreDone {
                    return Released::StoreDone;
                }
            }
        }
        Released::Live
    }

    /// Takes the next step for a shard whose folded bit was seen clear: opens it if it was
    /// granted, and otherwise folds it.
    fn advance(&self, shard: usize) -> Released {
        // The central word before the phase: see "How do credits move between two words?".
        let central = self.central();
        let seen = self.shard(shard);
        if central.is_folded(shard) {
            return Released::Live;
        }
        match seen.phase() {
            Phase::Open => {
                self.change_shard(shard, seen, seen.next(Phase::Frozen, seen.balance()));
                step!(ShardFrozen);
            }
            Phase::Granted => {
                if !self.central().is_folded(shard) {
                    self.change_shard(shard, seen, seen.next(Phase::Open, seen.balance()));
                }
            }
            Phase::Frozen => {
                let new = central
                    .with_balance(central.balance() + seen.balance())
                    .with_folded(shard, true);
                if self.change_central(central, new) {
                    step!(ShardFolded);
                    self.change_shard(shard, seen, seen.next(Phase::Folded, 0));
                    return self.released(new);
                }
            }
            // The phase is newer than the central word: the caller looks again.
            Phase::Folded => {}
        }
        Released::Live
    }

    /// Opens a folded shard with a part of the central balance, if that has enough. May leave
    /// the shard folded if another thread interferes.
    fn open(&self, shard: usize) {
        let seen = self.shard(shard);
        let central = self.central();
        if !central.is_folded(shard) || central.is_retired() {
            return;
        }
        match seen.phase() {
            Phase::Frozen => {
                self.change_shard(shard, seen, seen.next(Phase::Folded, 0));
            }
            Phase::Folded => {
                let grant = central.balance() / (2 * self.shard_count as u64);
                if grant > 0 {
                    self.change_shard(shard, seen, seen.next(Phase::Granted, grant));
                    step!(ShardGranted);
                }
            }
            Phase::Granted => {}
            // The central word is newer than the phase: leave the shard as it is.
            Phase::Open => return,
        }
        let central = self.central();
        let seen = self.shard(shard);
        if seen.phase() == Phase::Granted
            && central.is_folded(shard)
            && !central.is_retired()
            && central.balance() >= seen.balance()
            && self.change_central(
                central,
                central
                    .with_balance(central.balance() - seen.balance())
                    .with_folded(shard, false),
            )
        {
            step!(ShardWithdrawn);
            self.change_shard(shard, seen, seen.next(Phase::Open, seen.balance()));
        }
    }

    /// Returns the low watermark.
    pub(crate) fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// Returns the credits in the central balance: a lower bound of the total.
    pub(crate) fn in_central(&self) -> u64 {
        self.central().balance()
    }

    /// Returns whether a shard has a balance of its own to work with.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) fn is_open(&self, shard: usize) -> bool {
        self.shard(shard).phase() == Phase::Open
    }

    /// Returns the number of credits that are not reserved: exact while no other thread
    /// reserves or returns any, and always between zero and the block count.
    pub(crate) fn available(&self) -> u32 {
        let mut reading = self.read_all();
        // If the words are the same afterwards, all of them had these values at an instant in
        // between.
        for _ in 0..8 {
            if self.sum_of_words() == reading.words {
                break;
            }
            reading = self.read_all();
        }
        reading.credits.min(u64::from(self.block_count)) as u32
    }

    /// Reads all words, one after the other, and adds up the balances.
    #[inline]
    fn read_all(&self) -> Reading {
        let central = self.central();
        let mut reading = Reading {
            credits: central.balance(),
            words: central.0,
        };
        for (shard, word) in self.words().enumerate() {
            let word = ShardBalance(word.load(Ordering::Acquire));
            reading.words = reading.words.wrapping_add(word.0);
            if !central.is_folded(shard) {
                reading.credits += word.balance();
            }
        }
        reading
    }

    /// Reads all words, one after the other, and adds them up.
    #[inline]
    fn sum_of_words(&self) -> u64 {
        self.words().fold(self.central().0, |sum, word| {
            sum.wrapping_add(word.load(Ordering::Acquire))
        })
    }
}

/// Exchanges the word of a shard. Returns whether it was still `seen`.
#[inline]
fn change(word: &AtomicU64, seen: ShardBalance, new: ShardBalance) -> bool {
    word.compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

/// Exchanges the central word. Returns whether it was still `seen`.
fn change_central(word: &AtomicU64, seen: CentralBalance, new: CentralBalance) -> bool {
    word.compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

/// The result of a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Reservation {
    /// Whether the caller now has the credits.
    pub(crate) is_made: bool,
    /// The number of references to the store that the caller must take (or, if negative, drop)
    /// on behalf of the pool: 1 if a retired store had every credit back and now has a guard
    /// again. Zero unless the store is retired.
    pub(crate) references: i32,
}

/// A reservation that touched only the home shard, and so changes no references.
const MADE_AT_HOME: Reservation = Reservation {
    is_made: true,
    references: 0,
};

/// A refusal that changes no references.
const REFUSED: Reservation = Reservation {
    is_made: false,
    references: 0,
};

#[cfg(test)]
mod tests;
