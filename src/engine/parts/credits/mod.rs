//! All-or-nothing allocation without a global counter: sharded credits.
//!
//! A **credit** stands for one block that is free or inactive and that nobody
//! has reserved. An allocation of `n` blocks first reserves `n` credits in one
//! atomic step, or is refused; only then does it look for blocks, and it can
//! take its time: the blocks exist, and no other allocation will take the last
//! of them. So there is no half-gathered allocation for two threads to
//! deadlock over, a refusal costs no search, and the number of available
//! blocks is the sum of a few words.
//!
//! # The balances
//!
//! There is one *central* and one balance per shard. While a shard is *open*, its
//! threads reserve from and release into its balance and touch nothing else.
//! A shard whose balance does not suffice is *folded*: its credits go to the
//! central, the thread takes what it needs there and opens the shard again with a
//! share. A refusal needs every shard folded: then the central is all there is, and
//! one load of it proves that at that instant fewer than `n` blocks were
//! available.
//!
//! Moving credits between two words could lose sight of them if the mover were
//! suspended in between. It cannot here, because every step is one exchange
//! that anyone may take, and the two words together always tell which step is
//! next. A shard's word holds its phase and balance; the central's word holds a
//! *folded* bit for each shard:
//!
//! | phase | folded bit | the credits are | next step, by anyone |
//! |---|---|---|---|
//! | `Open(b)` | clear | `b`, in the shard | its threads use it; freeze: `Frozen(b)` |
//! | `Frozen(b)` | clear | `b`, in the shard | central += b and set the bit, in one exchange |
//! | `Frozen(b)` | set | in the central | `Folded` |
//! | `Folded` | set | in the central | announce a share: `Granted(k)` |
//! | `Granted(k)` | set | in the central | central −= k and clear the bit, in one exchange |
//! | `Granted(k)` | clear | `k`, in the shard | `Open(k)` |
//!
//! Every word carries a version. An exchange of the central is made from a value
//! read *before* the shard's phase, and an exchange of the phase from a value
//! read *before* the folded bit it depends on: if the word has not changed by
//! the time of the exchange, then both were so at one instant.
//!
//! # Reserve before you take
//!
//! Whoever makes a block unavailable has a credit for it first: an allocation
//! for every block it will hand out, a match for every inactive block it is about
//! to pin. And a credit is returned after its block: a release takes its pin
//! off, or frees the block, and only then returns the credit. So there are never
//! more credits, reserved or not, than blocks to be found for them. A reservation
//! cannot come to nothing, and an allocation that has been decided needs nothing
//! but time.
//!
//! It also means that a match can find an inactive block and no credit: then
//! every available block is promised to some operation under way, an allocation,
//! a match or a release that has not returned. The match waits a moment, and then
//! misses.
//!
//! A credit is out while its operation is under way, also where that turns out
//! not to need it (two threads that match one inactive block both reserve, and
//! one of them returns). So a refusal says that at some instant of the call the
//! blocks held, and those that operations under way had asked for, left fewer
//! than `n`. Threads that together never ask for more than there is are never
//! refused.
//!
//! # Retirement
//!
//! When the manager is dropped the store *retires*: all shards are folded for
//! good. The exchange that brings the central to the full block count is then the
//! last guard's release, which is how the store knows that nobody needs it any
//! more without counting guards.

pub(crate) mod watermark;

use std::ptr::NonNull;

use crossbeam_utils::CachePadded;

use crate::sync::step;
use crate::sync::{AtomicU64, Ordering};

use crate::engine::parts::credits::watermark::Watermark;

/// Shards a central has folded bits for.
pub(crate) const MAX_SHARDS: usize = 8;

/// `0..29` balance, `29..37` folded bits, `37` retired, `38..64` version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Central(u64);

impl Central {
    const BALANCE_BITS: u32 = 29;
    const BALANCE: u64 = (1 << Self::BALANCE_BITS) - 1;
    const RETIRED: u64 = 1 << 37;
    const VERSION: u64 = 1 << 38;

    fn balance(self) -> u64 {
        self.0 & Self::BALANCE
    }

    fn folded_bit(shard: usize) -> u64 {
        1 << (Self::BALANCE_BITS as usize + shard)
    }

    fn is_folded(self, shard: usize) -> bool {
        self.0 & Self::folded_bit(shard) != 0
    }

    fn is_retired(self) -> bool {
        self.0 & Self::RETIRED != 0
    }

    /// The next version, with this balance.
    fn with_balance(self, balance: u64) -> Self {
        debug_assert!(balance <= Self::BALANCE);
        Self((self.0 & !Self::BALANCE | balance).wrapping_add(Self::VERSION))
    }

    fn with_folded(self, shard: usize, folded: bool) -> Self {
        let bit = Self::folded_bit(shard);
        Self(if folded { self.0 | bit } else { self.0 & !bit })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open = 0,
    Frozen = 1,
    Folded = 2,
    Granted = 3,
}

/// `0..32` balance, `32..34` phase, `34..64` version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ShardBalance(u64);

impl ShardBalance {
    const VERSION: u64 = 1 << 34;

    fn new(phase: Phase, balance: u64) -> Self {
        Self(balance | (phase as u64) << 32)
    }

    /// The balance, if the shard is open.
    #[inline]
    fn open_balance(self) -> Option<u64> {
        let phase_and_balance = self.0 & (Self::VERSION - 1);
        (phase_and_balance < 1 << 32).then_some(phase_and_balance)
    }

    /// The next version, with `count` more. For an open shard.
    #[inline]
    fn plus(self, count: u64) -> Self {
        Self(self.0.wrapping_add(Self::VERSION + count))
    }

    /// The next version, with `count` less. For an open shard that has them.
    #[inline]
    fn minus(self, count: u64) -> Self {
        Self(self.0.wrapping_add(Self::VERSION - count))
    }

    #[inline]
    fn balance(self) -> u64 {
        self.0 & 0xFFFF_FFFF
    }

    #[inline]
    fn phase(self) -> Phase {
        match self.0 >> 32 & 0b11 {
            0 => Phase::Open,
            1 => Phase::Frozen,
            2 => Phase::Folded,
            _ => Phase::Granted,
        }
    }

    /// The next version, in `phase` with `balance`.
    #[inline]
    fn next(self, phase: Phase, balance: u64) -> Self {
        Self(
            (self.0 & !(Self::VERSION - 1)).wrapping_add(Self::VERSION)
                | Self::new(phase, balance).0,
        )
    }
}

/// What a release found out, see "Retirement".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) enum Released {
    /// There is more to come.
    Live,
    /// This was the last credit of a retired store.
    StoreDone,
}

/// A value of all balances, to compare with a later one.
#[derive(Clone, PartialEq, Eq)]
struct Snapshot([u64; MAX_SHARDS + 1]);

/// See the module documentation.
pub(crate) struct Credits {
    central: CachePadded<AtomicU64>,
    shards: Box<[CachePadded<AtomicU64>]>,
    block_count: u32,
    watermark: Watermark,
}

impl Credits {
    /// One credit for each of `block_count` blocks, all of them in the central.
    pub(crate) fn new(block_count: u32, shards: usize) -> Self {
        assert!((1..=MAX_SHARDS).contains(&shards) && block_count <= 1 << 28);
        let central = (0..shards).fold(Central(u64::from(block_count)), |central, shard| {
            central.with_folded(shard, true)
        });
        Self {
            central: CachePadded::new(AtomicU64::new(central.0)),
            shards: (0..shards)
                .map(|_| CachePadded::new(AtomicU64::new(ShardBalance::new(Phase::Folded, 0).0)))
                .collect(),
            block_count,
            watermark: Watermark::none(),
        }
    }

    fn central(&self) -> Central {
        // Acquire, as every load and exchange here: a phase that is read after
        // the central must be at least as new as the central.
        Central(self.central.load(Ordering::Acquire))
    }

    #[inline]
    fn shard(&self, shard: usize) -> ShardBalance {
        ShardBalance(self.shards[shard].load(Ordering::Acquire))
    }

    fn change_central(&self, seen: Central, new: Central) -> bool {
        change_central(&self.central, seen, new)
    }

    #[inline]
    fn change_shard(&self, shard: usize, seen: ShardBalance, new: ShardBalance) -> bool {
        change(&self.shards[shard], seen, new)
    }

    /// Reserves `count` credits or none. If none, then at some instant of the call
    /// fewer than `count` were left.
    #[inline]
    pub(crate) fn reserve(&self, home: usize, count: u32) -> Reservation {
        let count = u64::from(count);
        // Where that much is left, the low watermark is not passed.
        if self.reserve_at_home(home, count, self.watermark.level()) {
            return MADE_AT_HOME;
        }
        self.reserve_closely(home, count)
    }

    /// Reserves `count` credits of the home shard, if it has them and `rest` more.
    #[inline]
    fn reserve_at_home(&self, home: usize, count: u64, rest: u64) -> bool {
        let word = &self.shards[home];
        let needed = count + rest;
        loop {
            let share = ShardBalance(word.load(Ordering::Acquire));
            if share.open_balance().is_none_or(|balance| balance < needed) {
                return false;
            }
            if change(word, share, share.minus(count)) {
                return true;
            }
        }
    }

    /// Reserves `count` credits or none, and watches for the low watermark.
    #[cold]
    fn reserve_closely(&self, home: usize, count: u64) -> Reservation {
        if self.watermark.level() == 0 {
            return self.reserve_from_central(home, count);
        }
        self.watermark.rearm(self);
        let reservation = if self.reserve_at_home(home, count, 0) {
            MADE_AT_HOME
        } else {
            self.reserve_from_central(home, count)
        };
        if reservation.is_made {
            self.watermark.mark(self);
        }
        reservation
    }

    fn reserve_from_central(&self, home: usize, count: u64) -> Reservation {
        let mut references = 0;
        loop {
            let central = self.central();
            if central.balance() >= count {
                if self.change_central(central, central.with_balance(central.balance() - count)) {
                    step!(TakenFromPot);
                    self.open(home);
                    return Reservation {
                        is_made: true,
                        references: references + i32::from(self.is_drained(central)),
                    };
                }
                continue;
            }
            // Home first: the others are other threads' working capital.
            let shards = self.shards.len();
            match (home..shards)
                .chain(0..home)
                .find(|&s| !central.is_folded(s))
            {
                Some(shard) => {
                    references -= i32::from(self.advance(shard) == Released::StoreDone);
                }
                None => {
                    return Reservation {
                        is_made: false,
                        references,
                    };
                }
            }
        }
    }

    /// Returns `count` credits. The last thing a guard does with its store:
    /// unless this returns [`Released::StoreDone`], the store may be gone afterwards.
    ///
    /// # Safety
    ///
    /// The credits are the caller's to return. They keep the store until the exchange
    /// that returns them, and no longer: so the balances come by their address, and
    /// nothing but the exchanged word is referred to in that exchange.
    #[inline]
    pub(crate) unsafe fn release(credits: NonNull<Self>, home: usize, count: u32) -> Released {
        let count = u64::from(count);
        // SAFETY: the caller's credits keep the store.
        let word = unsafe { &*Self::word(credits, home) };
        loop {
            let share = ShardBalance(word.load(Ordering::Acquire));
            if share.open_balance().is_none() {
                // SAFETY: as above: nothing has been returned yet.
                return unsafe { Self::release_to_central(credits, home, count) };
            }
            if change(word, share, share.plus(count)) {
                return Released::Live;
            }
        }
    }

    /// As [`release`](Self::release), of credits that are in no store.
    #[cfg(test)]
    pub(crate) fn give_back(&self, home: usize, count: u32) -> Released {
        // SAFETY: the tests borrow them for the whole call.
        unsafe { Self::release(NonNull::from(self), home, count) }
    }

    /// A shard's word.
    ///
    /// # Safety
    ///
    /// The store is alive.
    #[inline]
    unsafe fn word(credits: NonNull<Self>, home: usize) -> *const AtomicU64 {
        // SAFETY: the caller's contract.
        let shard = unsafe { &(&(*credits.as_ptr()).shards)[home] };
        &raw const **shard
    }

    /// # Safety
    ///
    /// As [`release`](Self::release).
    #[cold]
    unsafe fn release_to_central(credits: NonNull<Self>, home: usize, count: u64) -> Released {
        // SAFETY: the caller's credits keep the store until one of the two exchanges
        // below, which are the last that is done with it, and refer to one word each.
        let (this, shard_word, central_word): (&Self, &AtomicU64, &AtomicU64) = unsafe {
            let this = &*credits.as_ptr();
            (this, &*Self::word(credits, home), &this.central)
        };
        // Once: two threads, one that opens and one that folds, would never end.
        let mut may_open = true;
        loop {
            let central = this.central();
            if !central.is_folded(home) {
                let share = this.shard(home);
                if share.phase() == Phase::Open {
                    if change(shard_word, share, share.plus(count)) {
                        return Released::Live;
                    }
                } else {
                    // Never the last step: the caller's credits are missing.
                    let _ = this.advance(home);
                }
                continue;
            }
            if may_open && !central.is_retired() {
                may_open = false;
                // Before the credits are returned, while the store is surely
                // there. Where it fails, the central serves as well.
                this.open(home);
                let share = this.shard(home);
                if share.phase() == Phase::Open {
                    continue;
                }
            }
            let central = this.central();
            if central.is_folded(home) {
                let new = central.with_balance(central.balance() + count);
                // Found out first: after the exchange the store may be gone.
                let released = this.released(new);
                if change_central(central_word, central, new) {
                    return released;
                }
            }
        }
    }

    fn released(&self, central: Central) -> Released {
        if self.is_drained(central) {
            Released::StoreDone
        } else {
            Released::Live
        }
    }

    /// Retired, with every credit back.
    fn is_drained(&self, central: Central) -> bool {
        central.is_retired()
            && (0..self.shards.len()).all(|shard| central.is_folded(shard))
            && central.balance() == u64::from(self.block_count)
    }

    /// Folds all shards for good. Returns [`Released::StoreDone`] if every credit is
    /// back; if not, the release of the last one will return it.
    pub(crate) fn retire(&self) -> Released {
        loop {
            let central = self.central();
            let new = Central(central.with_balance(central.balance()).0 | Central::RETIRED);
            if self.change_central(central, new) {
                if self.is_drained(new) {
                    return Released::StoreDone;
                }
                break;
            }
        }
        for shard in 0..self.shards.len() {
            while !self.central().is_folded(shard) {
                if self.advance(shard) == Released::StoreDone {
                    return Released::StoreDone;
                }
            }
        }
        Released::Live
    }

    /// Takes the next step of a shard whose folded bit was seen clear: opens it
    /// if it was granted, and else folds it.
    fn advance(&self, shard: usize) -> Released {
        // The central before the phase: see the module documentation.
        let central = self.central();
        let share = self.shard(shard);
        if central.is_folded(shard) {
            return Released::Live;
        }
        match share.phase() {
            Phase::Open => {
                self.change_shard(shard, share, share.next(Phase::Frozen, share.balance()));
                step!(ShareFrozen);
            }
            Phase::Granted => {
                if !self.central().is_folded(shard) {
                    self.change_shard(shard, share, share.next(Phase::Open, share.balance()));
                }
            }
            Phase::Frozen => {
                let new = central
                    .with_balance(central.balance() + share.balance())
                    .with_folded(shard, true);
                if self.change_central(central, new) {
                    step!(ShareFolded);
                    self.change_shard(shard, share, share.next(Phase::Folded, 0));
                    return self.released(new);
                }
            }
            // The phase is newer than the central: look again.
            Phase::Folded => {}
        }
        Released::Live
    }

    /// Opens a folded shard with a share of the central, if there is enough in it.
    fn open(&self, shard: usize) {
        let share = self.shard(shard);
        let central = self.central();
        if !central.is_folded(shard) || central.is_retired() {
            return;
        }
        match share.phase() {
            Phase::Frozen => {
                self.change_shard(shard, share, share.next(Phase::Folded, 0));
            }
            Phase::Folded => {
                let grant = central.balance() / (2 * self.shards.len() as u64);
                if grant > 0 {
                    self.change_shard(shard, share, share.next(Phase::Granted, grant));
                    step!(ShareGranted);
                }
            }
            Phase::Granted => {}
            // The central is newer than the phase: look again another time.
            Phase::Open => return,
        }
        let central = self.central();
        let share = self.shard(shard);
        if share.phase() == Phase::Granted
            && central.is_folded(shard)
            && !central.is_retired()
            && central.balance() >= share.balance()
            && self.change_central(
                central,
                central
                    .with_balance(central.balance() - share.balance())
                    .with_folded(shard, false),
            )
        {
            step!(ShareWithdrawn);
            self.change_shard(shard, share, share.next(Phase::Open, share.balance()));
        }
    }

    pub(crate) fn watermark(&self) -> &Watermark {
        &self.watermark
    }

    /// The credits in the central: no more than there are.
    pub(crate) fn in_central(&self) -> u64 {
        self.central().balance()
    }

    /// Whether a shard has a share of its own to work with.
    #[cfg(all(test, kvbm_loom))]
    pub(crate) fn is_open(&self, shard: usize) -> bool {
        self.shard(shard).phase() == Phase::Open
    }

    /// The number of credits: exact while nobody reserves or returns any, and
    /// always between zero and the block count.
    pub(crate) fn available(&self) -> u32 {
        let mut before = self.snapshot();
        // A snapshot that was the same twice was so at an instant in between.
        for _ in 0..8 {
            let after = self.snapshot();
            if before == after {
                break;
            }
            before = after;
        }
        let central = Central(before.0[MAX_SHARDS]);
        let shares: u64 = (0..self.shards.len())
            .filter(|&shard| !central.is_folded(shard))
            .map(|shard| ShardBalance(before.0[shard]).balance())
            .sum();
        (central.balance() + shares).min(u64::from(self.block_count)) as u32
    }

    /// All balances and versions, one after the other. Two equal snapshots mean
    /// that no credit was reserved or returned in between.
    fn snapshot(&self) -> Snapshot {
        let mut words = [0; MAX_SHARDS + 1];
        words[MAX_SHARDS] = self.central().0;
        for (shard, word) in words.iter_mut().enumerate().take(self.shards.len()) {
            *word = self.shard(shard).0;
        }
        Snapshot(words)
    }
}

#[inline]
fn change(word: &AtomicU64, seen: ShardBalance, new: ShardBalance) -> bool {
    word.compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

fn change_central(word: &AtomicU64, seen: Central, new: Central) -> bool {
    word.compare_exchange(seen.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
        .is_ok()
}

/// What came of a reservation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub(crate) struct Reservation {
    /// Whether the credits are the caller's.
    pub(crate) is_made: bool,
    /// References to the store that the caller must take (or, if negative, drop)
    /// on behalf of the pool: 1 if a retired store had every credit back and now
    /// has a guard again. Zero unless the store is retired.
    pub(crate) references: i32,
}

const MADE_AT_HOME: Reservation = Reservation {
    is_made: true,
    references: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing() {
        let credits = Credits::new(100, 3);
        assert!(credits.reserve(0, 60).is_made);
        assert!(!credits.reserve(1, 60).is_made);
        assert_eq!(credits.available(), 40);
        assert!(credits.reserve(2, 40).is_made);
        assert!(!credits.reserve(0, 1).is_made);
        assert_eq!(credits.available(), 0);
        assert_eq!(credits.give_back(1, 100), Released::Live);
        assert!(credits.reserve(0, 100).is_made);
    }

    #[test]
    fn a_refusal_takes_what_every_shard_has_into_account() {
        let credits = Credits::new(64, 4);
        for home in 0..4 {
            assert!(credits.reserve(home, 1).is_made);
            assert_eq!(credits.give_back(home, 1), Released::Live);
        }
        assert!(credits.reserve(3, 64).is_made);
        assert_eq!(credits.available(), 0);
    }

    #[test]
    fn the_last_release_of_a_retired_store_says_so() {
        let credits = Credits::new(10, 2);
        assert!(credits.reserve(0, 3).is_made && credits.reserve(1, 3).is_made);
        assert_eq!(credits.retire(), Released::Live);
        assert_eq!(credits.give_back(1, 3), Released::Live);
        assert_eq!(credits.give_back(0, 3), Released::StoreDone);
        assert_eq!(credits.reserve(0, 1).references, 1);
        assert_eq!(credits.reserve(0, 1).references, 0);
        assert_eq!(credits.give_back(0, 1), Released::Live);
        assert_eq!(credits.give_back(1, 1), Released::StoreDone);
        assert_eq!(Credits::new(1, 1).retire(), Released::StoreDone);
    }

    #[test]
    fn threads_neither_make_nor_lose_credits() {
        let credits = Credits::new(256, 2);
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                let credits = &credits;
                scope.spawn(move || {
                    for round in 0..20_000 {
                        let count = 1 + (round * 7 + thread * 13) % 64;
                        assert!(
                            credits.reserve(thread as usize % 2, count).is_made,
                            "refused {count}"
                        );
                        let home = (thread + round) as usize % 2;
                        assert_eq!(credits.give_back(home, count), Released::Live);
                    }
                });
            }
        });
        assert_eq!(credits.available(), 256);
    }

    #[test]
    fn exactly_one_release_is_the_last() {
        for round in 0..200 {
            let credits = Credits::new(4, 2);
            assert!(credits.reserve(round % 2, 4).is_made);
            let last: usize = std::thread::scope(|scope| {
                let guards: Vec<_> = (0..4)
                    .map(|guard| {
                        let credits = &credits;
                        scope.spawn(move || credits.give_back(guard % 2, 1))
                    })
                    .collect();
                let retired = credits.retire();
                guards
                    .into_iter()
                    .map(|guard| guard.join().unwrap())
                    .chain([retired])
                    .filter(|&released| released == Released::StoreDone)
                    .count()
            });
            assert_eq!(last, 1);
        }
    }
}
