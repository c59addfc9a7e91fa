//! The managers of both crates behind one trait: their methods that return collections.

// Each benchmark uses some of this.
#![allow(dead_code)]

use dynamo_tokens::PositionalLineageHash as SequenceHash;

use crate::data::Policy;
use crate::workload::{BATCH, chain};

/// The metadata type of the pools.
#[derive(Clone)]
pub struct Tier;

/// The configuration of a pool.
#[derive(Clone, Copy)]
pub struct Shape {
    pub policy: Policy,
    pub blocks: usize,
    /// Whether the registry tracks frequencies. With multi-level LRU it always does.
    pub is_tracked: bool,
    /// Whether the registry emits events, to no subscriber.
    pub has_events: bool,
}

impl Shape {
    pub fn new(policy: Policy, blocks: usize) -> Self {
        Self {
            policy,
            blocks,
            is_tracked: policy == Policy::MultiLru,
            has_events: false,
        }
    }
}

/// The manager of either crate.
pub trait Pool: Sized + Send + Sync {
    /// Guards of some registered blocks.
    type Held: Send;
    type Weak;

    fn new(shape: Shape) -> Self;
    /// Allocates this many blocks, and drops them.
    fn allocate(&self, count: usize);
    fn match_blocks(&self, hashes: &[SequenceHash]) -> Self::Held;
    /// Matches a request, and allocates, stages and registers what is missing.
    fn request(&self, hashes: &[SequenceHash]) -> Self::Held;
    /// Clones the first guard, and drops the clone.
    fn clone_first(held: &Self::Held);
    fn downgrade_first(held: &Self::Held) -> Self::Weak;
    /// Upgrades a weak guard, and drops the new guard.
    fn upgrade(weak: &Self::Weak);
    fn scan(&self, hashes: &[SequenceHash]);
    fn touch(&self, hash: SequenceHash);
    fn check_presence(&self, hashes: &[SequenceHash]);

    /// Returns a pool whose blocks are all inactive.
    fn full(shape: Shape) -> Self {
        let pool = Self::new(shape);
        for number in 0..shape.blocks.div_ceil(BATCH) as u64 {
            drop(pool.request(&chain(u64::MAX - number)));
        }
        pool
    }
}

/// Implements the trait for either crate with the same source.
macro_rules! pool {
    ($krate:ident) => {
        impl Pool for $krate::BlockManager<Tier> {
            type Held = Vec<$krate::ImmutableBlock<Tier>>;
            type Weak = $krate::WeakBlock<Tier>;

            fn new(shape: Shape) -> Self {
                use $krate::manager::{FrequencyTrackingCapacity, LineageEviction};
                let mut registry = $krate::BlockRegistry::builder();
                if shape.is_tracked {
                    let capacity = match shape.blocks {
                        ..=10_000 => FrequencyTrackingCapacity::Small,
                        ..=100_000 => FrequencyTrackingCapacity::Medium,
                        _ => FrequencyTrackingCapacity::Large,
                    };
                    registry = registry.frequency_tracker(capacity.create_tracker());
                }
                if shape.has_events {
                    let events = $krate::events::EventsManager::builder().build();
                    registry = registry.event_manager(std::sync::Arc::new(events));
                }
                let builder = Self::builder()
                    .block_count(shape.blocks)
                    .block_size(16)
                    .registry(registry.build());
                match shape.policy {
                    Policy::Lru => builder.with_lru_backend(),
                    Policy::MultiLru => builder.with_multi_lru_backend(),
                    Policy::Hashmap => builder.with_hashmap_backend(),
                    Policy::LineageTick => builder.with_lineage_backend(),
                    Policy::LineageFifo => {
                        builder.with_lineage_backend_eviction(LineageEviction::Fifo)
                    }
                }
                .build()
                .expect("a valid configuration")
            }

            fn allocate(&self, count: usize) {
                drop(self.allocate_blocks(count).expect("the pool is large"));
            }

            fn match_blocks(&self, hashes: &[SequenceHash]) -> Self::Held {
                $krate::BlockManager::match_blocks(self, hashes)
            }

            fn request(&self, hashes: &[SequenceHash]) -> Self::Held {
                let mut held = $krate::BlockManager::match_blocks(self, hashes);
                let missing = &hashes[held.len()..];
                let blocks = self
                    .allocate_blocks(missing.len())
                    .expect("the pool is large");
                let complete = blocks
                    .into_iter()
                    .zip(missing)
                    .map(|(block, &hash)| block.stage(hash, 16).unwrap())
                    .collect();
                held.extend(self.register_blocks(complete));
                held
            }

            fn clone_first(held: &Self::Held) {
                drop(std::hint::black_box(held[0].clone()));
            }

            fn downgrade_first(held: &Self::Held) -> Self::Weak {
                held[0].downgrade()
            }

            fn upgrade(weak: &Self::Weak) {
                drop(std::hint::black_box(weak.upgrade()));
            }

            fn scan(&self, hashes: &[SequenceHash]) {
                drop(self.scan_matches(hashes, false));
            }

            fn touch(&self, hash: SequenceHash) {
                self.block_registry().touch(hash);
            }

            fn check_presence(&self, hashes: &[SequenceHash]) {
                drop(self.block_registry().check_presence::<Tier>(hashes));
            }
        }
    };
}

pool!(kvbm_lockfree);
pool!(kvbm_logical);
