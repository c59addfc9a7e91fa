//! Managers and their builders.

use super::kvbm;
use kvbm::manager::{
    BlockManager, BlockManagerBuilderError, BlockManagerConfigBuilder, BlockManagerResetError,
    FrequencyTrackingCapacity, InactiveBackendConfig, LineageEviction,
};
use kvbm::metrics::MetricsAggregator;
use kvbm::pools::BlockDuplicationPolicy;
use kvbm::{BlockRegistry, SequenceHash};

#[derive(Clone)]
struct Tier;

fn hash(position: u64) -> SequenceHash {
    SequenceHash::new(
        10 + position,
        (position > 0).then(|| 9 + position),
        position,
    )
}

fn builder() -> BlockManagerConfigBuilder<Tier> {
    let tracker = FrequencyTrackingCapacity::Small.create_tracker();
    BlockManagerConfigBuilder::new()
        .block_count(3)
        .block_size(1)
        .registry(BlockRegistry::builder().frequency_tracker(tracker).build())
}

fn serve(manager: &BlockManager<Tier>, said: &mut Vec<String>) {
    for position in [0, 1, 2, 0, 3, 1, 4] {
        let matched = manager.match_blocks(&[hash(position)]);
        if !matched.is_empty() {
            continue;
        }
        let (mut blocks, evicted) = manager.allocate_blocks_with_evictions(1).unwrap();
        say!(said, evicted);
        let block = blocks.pop().unwrap().stage(hash(position), 1).unwrap();
        drop(manager.register_block(block));
    }
    let all: Vec<_> = (0..5).map(hash).collect();
    let scanned = manager.scan_matches(&all, true);
    let mut found: Vec<_> = scanned.keys().collect();
    found.sort_by_key(|hash| hash.position());
    say!(said, found);
    let scattered = manager.match_blocks_scattered(&all);
    say!(
        said,
        scattered.iter().map(Option::is_some).collect::<Vec<_>>()
    );
}

/// Returns the contents of an error, by variant.
fn error_of(error: BlockManagerBuilderError) -> String {
    match error {
        BlockManagerBuilderError::InvalidBlockCount => "count".to_owned(),
        BlockManagerBuilderError::InvalidBackend(said)
        | BlockManagerBuilderError::ValidationError(said) => said,
        BlockManagerBuilderError::BlockSizeMismatch { expected, actual } => {
            format!("{expected} and {actual}")
        }
    }
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    let policies: [fn(BlockManagerConfigBuilder<Tier>) -> BlockManagerConfigBuilder<Tier>; 7] = [
        |builder| builder,
        |builder| builder.with_lru_backend(),
        |builder| builder.with_multi_lru_backend(),
        |builder| builder.with_multi_lru_backend_custom_thresholds(2, 4, 8),
        |builder| builder.with_hashmap_backend(),
        |builder| builder.with_lineage_backend(),
        |builder| builder.with_lineage_backend_eviction(LineageEviction::Fifo),
    ];
    for policy in policies {
        serve(&policy(builder()).build().unwrap(), &mut said);
    }

    let aggregator = MetricsAggregator::new();
    let manager: BlockManager<Tier> = BlockManager::builder()
        .block_count(3)
        .block_size(1)
        .registry(BlockRegistry::new())
        .duplication_policy(BlockDuplicationPolicy::Reject)
        .with_default_reset_on_release(false)
        .aggregator(aggregator)
        .build()
        .unwrap();
    say!(said, manager.total_blocks());
    say!(said, manager.block_size());
    say!(said, manager.duplication_policy());
    say!(said, manager.available_blocks());
    say!(said, manager.id() == manager.id());
    say!(said, manager.metrics().type_label());
    say!(said, manager.block_registry().registered_count());
    say!(said, manager.allocate_blocks(4).is_none());
    let blocks = manager.allocate_blocks(2).unwrap();
    let complete = blocks
        .into_iter()
        .map(|block| block.stage(hash(0), 1).unwrap())
        .collect();
    let registered = manager.register_blocks(complete);
    say!(said, registered[0].block_id() == registered[1].block_id());
    match manager.reset_inactive_pool() {
        Err(BlockManagerResetError::BlockCountMismatch { expected, actual }) => {
            say!(said, (expected, actual));
        }
        Ok(()) => unreachable!(),
    }
    drop(registered);
    say!(said, manager.reset_inactive_pool());

    let wrong: [BlockManagerConfigBuilder<Tier>; 4] = [
        BlockManagerConfigBuilder::default(),
        builder().block_count(0),
        BlockManagerConfigBuilder::default()
            .block_count(1)
            .registry(BlockRegistry::new())
            .with_multi_lru_backend(),
        BlockManagerConfigBuilder::default().block_count(1),
    ];
    for builder in wrong {
        let error = builder.build().err().unwrap();
        let kind = format!("{error:?}");
        let kind = kind.split(['(', ' ']).next().unwrap();
        say!(said, kind);
        say!(said, error_of(error).is_empty());
    }
    say!(said, FrequencyTrackingCapacity::Medium.size());
    say!(said, FrequencyTrackingCapacity::Large.size());
    // The configurations that the methods above are shorthands for.
    let configurations = [
        InactiveBackendConfig::HashMap,
        InactiveBackendConfig::Lru,
        InactiveBackendConfig::MultiLru {
            frequency_thresholds: [2, 4, 8],
        },
        InactiveBackendConfig::Lineage {
            eviction: LineageEviction::Tick,
        },
    ];
    say!(said, configurations.len());
    said
}
