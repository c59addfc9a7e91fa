//! The words of the credits: the central balance, and one balance per shard.
//!
//! | word | bits | |
//! |---|---|---|
//! | [`CentralBalance`] | `0..29` | balance |
//! | | `29..37` | a *folded* bit per shard |
//! | | `37` | *retired* |
//! | | `38..64` | version |
//! | [`ShardBalance`] | `0..32` | balance |
//! | | `32..34` | [`Phase`] |
//! | | `34..64` | version |
//!
//! Every change is one exchange, and increments the version (which wraps around). The [module
//! above](super) says which changes there are, and which threads may make them.

use super::MAX_BALANCES;

/// A value of the central balance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct CentralBalance(pub(super) u64);

impl CentralBalance {
    const BALANCE_BITS: u32 = 29;
    const BALANCE: u64 = (1 << Self::BALANCE_BITS) - 1;
    const RETIRED: u64 = 1 << 37;
    const VERSION: u64 = 1 << 38;

    /// Returns the number of credits in the central balance.
    #[inline]
    pub(super) fn balance(self) -> u64 {
        self.0 & Self::BALANCE
    }

    fn folded_bit(shard: usize) -> u64 {
        1 << (Self::BALANCE_BITS as usize + shard)
    }

    /// Returns whether the credits of a shard are in the central balance.
    pub(super) fn is_folded(self, shard: usize) -> bool {
        self.0 & Self::folded_bit(shard) != 0
    }

    /// Returns the folded bits of the first `shards` shards.
    pub(super) fn folded_bits(shards: usize) -> u64 {
        (0..shards).map(Self::folded_bit).sum()
    }

    /// Returns whether all of these folded bits are set.
    #[inline]
    pub(super) fn are_folded(self, folded_bits: u64) -> bool {
        self.0 & folded_bits == folded_bits
    }

    /// Returns whether the store is retired: shards are folded for good.
    pub(super) fn is_retired(self) -> bool {
        self.0 & Self::RETIRED != 0
    }

    /// Returns the next version, with this balance.
    pub(super) fn with_balance(self, balance: u64) -> Self {
        debug_assert!(balance <= Self::BALANCE);
        Self((self.0 & !Self::BALANCE | balance).wrapping_add(Self::VERSION))
    }

    /// Returns the same version, with the folded bit of a shard set or clear.
    pub(super) fn with_folded(self, shard: usize, folded: bool) -> Self {
        let bit = Self::folded_bit(shard);
        Self(if folded { self.0 | bit } else { self.0 & !bit })
    }

    /// Returns the next version, retired.
    pub(super) fn retired(self) -> Self {
        Self(self.with_balance(self.balance()).0 | Self::RETIRED)
    }
}

const _: () = assert!(
    1 << (CentralBalance::BALANCE_BITS as usize + MAX_BALANCES) == CentralBalance::RETIRED,
    "a folded bit for every shard"
);

/// The phase of a shard, between having credits of its own and having none.
///
/// Where its credits are depends on the folded bit too: see the table in the
/// [module above](super).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The shard's threads reserve from its balance and release into it.
    ///
    /// The greatest number: see [`ShardBalance::has_open`].
    Open = 3,
    /// The balance does not change any more, and is on its way to the central balance.
    Frozen = 0,
    /// The shard has no credits.
    Folded = 1,
    /// The balance is announced, and on its way from the central balance.
    Granted = 2,
}

/// A value of the balance of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShardBalance(pub(super) u64);

impl ShardBalance {
    const VERSION: u64 = 1 << 34;

    /// Returns the first version, in `phase` with `balance`.
    pub(super) fn new(phase: Phase, balance: u64) -> Self {
        Self(balance | (phase as u64) << 32)
    }

    /// Returns whether the shard is open and has `needed` credits; one comparison tells both.
    #[inline]
    pub(super) fn has_open(self, needed: u64) -> bool {
        self.0 & (Self::VERSION - 1) >= Self::new(Phase::Open, needed).0
    }

    /// Returns the next version, with `count` more credits. Only for an open shard.
    #[inline]
    pub(super) fn plus(self, count: u64) -> Self {
        Self(self.0.wrapping_add(Self::VERSION + count))
    }

    /// Returns the next version, with `count` fewer credits. Only for an open shard that has
    /// as many.
    #[inline]
    pub(super) fn minus(self, count: u64) -> Self {
        Self(self.0.wrapping_add(Self::VERSION - count))
    }

    /// Returns the balance in any phase.
    #[inline]
    pub(super) fn balance(self) -> u64 {
        self.0 & 0xFFFF_FFFF
    }

    #[inline]
    pub(super) fn phase(self) -> Phase {
        match self.0 >> 32 & 0b11 {
            0 => Phase::Frozen,
            1 => Phase::Folded,
            2 => Phase::Granted,
            _ => Phase::Open,
        }
    }

    /// Returns the next version, in `phase` with `balance`.
    #[inline]
    pub(super) fn next(self, phase: Phase, balance: u64) -> Self {
        Self(
            (self.0 & !(Self::VERSION - 1)).wrapping_add(Self::VERSION)
                | Self::new(phase, balance).0,
        )
    }
}
