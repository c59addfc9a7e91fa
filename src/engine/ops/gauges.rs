//! How many blocks are in which state, from a few words for each shard and each thread.
//!
//! Nobody keeps these numbers. They follow from the credits and from counters that threads
//! raise for themselves, most of which are there for the metrics anyway:
//!
//! | blocks | |
//! |---|---|
//! | available | the credits |
//! | free | all of them, less those handed out of the freelist, plus those put there |
//! | exclusive | those handed out, less those freed and registered |
//! | inactive | available, and neither free nor cleared |
//! | active | neither available nor exclusive |
//!
//! The pins of active blocks are one each, and those that were made and taken off beside
//! another pin. From one thread all of that is exact at every moment. While other threads
//! are at work it is of no one moment: what is taken away is read before what it is taken
//! from (see [`Counter`]), and what would be negative all the same is zero.
//!
//! How many blocks a clearing has cleared is taken from the counts of that moment. Where other
//! threads were at work during it, a few blocks are then taken for cleared that are inactive,
//! or the other way round, until the cleared blocks have been used again.

use crate::metrics::{Counter, Counts, GaugeSource, Gauges};

use crate::registry::Tier;

use crate::engine::store::Store;

/// Blocks by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::engine) struct BlockCounts {
    pub(in crate::engine) free: u64,
    /// Inactive when the store was cleared, and not taken since.
    pub(in crate::engine) cleared: u64,
    pub(in crate::engine) inactive: u64,
    /// With pins, duplicates included.
    pub(in crate::engine) active: u64,
    /// Blocks that were cleared and have been taken, less those discarded without having been
    /// cleared, ever.
    pub(in crate::engine) cleared_taken: i64,
}

impl Store {
    pub(in crate::engine) fn counts(&self) -> BlockCounts {
        self.counts_of(&self.metrics.counts())
    }

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

    /// Pins of all blocks.
    pub(in crate::engine) fn pins(&self) -> u64 {
        let counts = self.metrics.counts();
        pins(&counts, &self.counts_of(&counts))
    }

    /// Blocks on the freelist.
    pub(crate) fn free_blocks(&self) -> usize {
        self.counts().free as usize
    }

    /// The hashes that have a block here. A duplicate has that of its primary.
    ///
    /// Where there has been a clearing they are counted slot by slot: the number of cleared
    /// blocks may be a little off.
    pub(in crate::engine) fn registered(&self) -> u64 {
        if self.clearing.is_used() {
            let mut registered = 0;
            self.for_each(&mut |_| registered += 1);
            return registered;
        }
        let counts = self.metrics.counts();
        let blocks = self.counts_of(&counts);
        (blocks.inactive + blocks.active).saturating_sub(duplicates(&counts))
    }
}

/// Pins of all blocks.
fn pins(counts: &Counts, blocks: &BlockCounts) -> u64 {
    (blocks.active + counts.of(Counter::SharedPins))
        .saturating_sub(counts.of(Counter::SharedUnpins))
}

/// Blocks that are duplicates.
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
            // One that was read late must not come to more than there are.
            .min(self.slots.len() as u64);
        // A duplicate pins its primary, and a lifecycle pin is no guard.
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
