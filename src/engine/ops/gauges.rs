//! Gauges: how many blocks are in which state.
//!
//! No operation maintains these numbers. They are derived on request from the credits and from
//! counters that each thread keeps for itself, most of which the metrics need anyway:
//!
//! | blocks | number |
//! |---|---|
//! | available | the credits |
//! | free | all blocks, minus those taken off the freelist, plus those put onto it |
//! | exclusive | blocks handed out, minus those freed and those registered |
//! | inactive | available blocks that are neither free nor cleared |
//! | active | blocks that are neither available nor exclusive |
//!
//! Each active block has one pin, plus those that were added beside another pin and not taken
//! off since.
//!
//! # How exact are they?
//!
//! Single-threaded, they are always exact. While other threads use the store, the numbers may
//! stem from different moments. Counters that are subtracted are read before those they are
//! subtracted from (see [`Counter`]), and a difference that would still be negative counts as
//! zero.
//!
//! A clearing takes the number of blocks it clears from the gauges of that moment. If other
//! threads use the store during the clearing, a few inactive blocks may afterwards be counted
//! as cleared, or the other way round: no more than there are blocks in the hands of those
//! threads, and until the round of the hand is over or the store is cleared again (see
//! `ops/clear`). The sum of the two is exact.
//!
//! # What does it cost?
//!
//! A pass over the counters of all threads and the balances of all shards: no lock, no wait,
//! and no allocation. A suspended thread delays none of it.

use crate::engine::store::Store;
use crate::metrics::{Counter, Counts, GaugeSource, Gauges};

/// The number of blocks in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct BlockCounts {
    pub(in crate::engine) free: u64,
    /// Blocks that were inactive when the store was cleared, or have been discarded, and that
    /// have not been taken since.
    pub(in crate::engine) cleared: u64,
    pub(in crate::engine) inactive: u64,
    /// Registered blocks with pins, including duplicates.
    pub(in crate::engine) active: u64,
    /// The number of cleared or discarded blocks that have ever been taken, minus the number
    /// discarded without having been cleared.
    pub(in crate::engine) cleared_taken: i64,
}

impl Store {
    /// Counts the blocks in each state, now.
    pub(in crate::engine) fn counts(&self) -> BlockCounts {
        self.counts_of(&self.metrics.counts())
    }

    /// Derives the number of blocks in each state from counters that have just been read.
    fn counts_of(&self, counts: &Counts) -> BlockCounts {
        let of = |counter| counts.of(counter);
        let all = self.slots.len() as u64;
        let available = self.available() as u64;
        let freed = of(Counter::MutableReleased)
            + of(Counter::CompleteReleased)
            + of(Counter::RegistrationDedup)
            + of(Counter::Reset);
        let taken = of(Counter::AllocationsFromReset).saturating_sub(of(Counter::ClearedTaken));
        let free = (all + freed).saturating_sub(taken).min(available);
        let cleared_taken = (of(Counter::ClearedTaken) + of(Counter::ClearedFreed)) as i64
            - of(Counter::Discarded) as i64;
        let cleared = self.clearing.cleared(cleared_taken).min(available - free);
        let exclusive = of(Counter::Allocations).saturating_sub(
            of(Counter::MutableReleased)
                + of(Counter::CompleteReleased)
                + of(Counter::Registrations),
        );
        BlockCounts {
            free,
            cleared,
            inactive: available - free - cleared,
            active: (all - available).saturating_sub(exclusive),
            cleared_taken,
        }
    }

    /// Returns the number of pins of all blocks.
    pub(in crate::engine) fn pins(&self) -> u64 {
        let counts = self.metrics.counts();
        pins(&counts, &self.counts_of(&counts))
    }

    /// Returns the number of blocks on the freelist.
    pub(crate) fn free_blocks(&self) -> usize {
        self.counts().free as usize
    }

    /// Returns the number of hashes that are registered here. A duplicate shares the hash of
    /// its primary.
    pub(in crate::engine) fn registered(&self) -> u64 {
        let counts = self.metrics.counts();
        let blocks = self.counts_of(&counts);
        (blocks.inactive + blocks.active).saturating_sub(duplicates(&counts))
    }
}

/// Derives the number of pins of all blocks.
fn pins(counts: &Counts, blocks: &BlockCounts) -> u64 {
    (blocks.active + counts.of(Counter::SharedPins))
        .saturating_sub(counts.of(Counter::SharedUnpins))
}

/// Derives the number of duplicates.
fn duplicates(counts: &Counts) -> u64 {
    counts
        .of(Counter::DuplicateBlocks)
        .saturating_sub(counts.of(Counter::DuplicatesEnded))
}

impl GaugeSource for Store {
    fn gauges(&self, counts: &Counts) -> Gauges {
        let of = |counter| counts.of(counter);
        let blocks = self.counts_of(counts);
        let mutable = (of(Counter::Allocations) + of(Counter::Unstaged))
            .saturating_sub(of(Counter::Stagings) + of(Counter::MutableReleased))
            // The counters are not read at one instant, so the result is capped at the number
            // of blocks.
            .min(self.slots.len() as u64);
        // Pins that are not immutable guards: those of duplicates on their primaries, and
        // lifecycle pins.
        let lifecycle_pins = of(Counter::PinsTaken).saturating_sub(of(Counter::PinsReleased));
        let others = duplicates(counts) + lifecycle_pins;
        Gauges {
            inflight_mutable: mutable as i64,
            inflight_immutable: pins(counts, &blocks).saturating_sub(others) as i64,
            reset_pool_size: (blocks.free + blocks.cleared) as i64,
            inactive_pool_size: blocks.inactive as i64,
        }
    }

    fn pending_garbage(&self) -> u64 {
        self.registry.garbage()
    }
}
