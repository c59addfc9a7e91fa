//! The helpers for tests.

use super::kvbm;
use kvbm::testing::config::{
    COMMON_TEST_BLOCK_SIZES, DEFAULT_TEST_BLOCK_COUNT, DEFAULT_TEST_BLOCK_SIZE, TEST_BLOCK_SIZES,
    constants, generate_test_tokens, generate_unique_token_sequences, validate_test_block_size,
};
use kvbm::testing::{
    BlockSequenceBuilder, MetadataA, MetadataB, MetadataC, MeteredFrequencyTracker, TEST_SALT,
    TestMeta, create_iota_token_block, create_test_manager, create_test_manager_metered,
    create_test_manager_with_backend, create_test_manager_with_block_size,
    create_test_manager_with_default_reset_on_release, create_test_token_block, sequential_tokens,
    tokens_for_id,
};
use kvbm::tinylfu::{FrequencyTracker, NoOpTracker};
use kvbm::{BlockManager, BlockMetadata, KvbmSequenceHashProvider};
use std::sync::Arc;

/// Registers a block, drops it, and matches it again.
fn fill<T: BlockMetadata>(manager: &BlockManager<T>) -> (usize, usize) {
    let tokens = create_iota_token_block(100, manager.block_size() as u32);
    let block = manager.allocate_blocks(1).unwrap().pop().unwrap();
    drop(manager.register_block(block.complete(&tokens).unwrap()));
    let matched = manager.match_blocks(&[tokens.kvbm_sequence_hash()]);
    (manager.total_blocks(), matched.len())
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    say!(
        said,
        (DEFAULT_TEST_BLOCK_COUNT, DEFAULT_TEST_BLOCK_SIZE, TEST_SALT)
    );
    say!(said, (TEST_BLOCK_SIZES, COMMON_TEST_BLOCK_SIZES));
    say!(
        said,
        [
            constants::TINY,
            constants::SMALL,
            constants::MEDIUM,
            constants::LARGE,
            constants::MAX
        ]
    );
    say!(said, [0, 1, 3, 1024, 2048].map(validate_test_block_size));
    say!(said, generate_test_tokens(5, 3));
    say!(said, generate_unique_token_sequences(3, 2));
    say!(said, sequential_tokens(4, 3));
    say!(said, [tokens_for_id(9), tokens_for_id(u64::from(u32::MAX))]);
    say!(
        said,
        create_test_token_block(&[1, 2, 3, 4, 5], 4).kvbm_sequence_hash()
    );
    say!(said, create_iota_token_block(7, 16).kvbm_sequence_hash());

    say!(said, fill(&create_test_manager::<TestMeta>(5)));
    say!(
        said,
        fill(&create_test_manager_with_block_size::<MetadataA>(6, 16))
    );
    say!(
        said,
        fill(&create_test_manager_with_default_reset_on_release::<
            MetadataB,
        >(7, true))
    );
    say!(
        said,
        fill(&create_test_manager_with_backend::<MetadataC>(
            8,
            |builder| builder.with_multi_lru_backend()
        ))
    );
    let (manager, tracker) = create_test_manager_metered::<TestMeta>(9);
    say!(said, fill(&manager));
    say!(said, (tracker.touches(), tracker.count_calls()));
    say!(said, (tracker.count(1), tracker.count_calls()));
    tracker.touch(1);
    tracker.reset();
    say!(said, (tracker.touches(), tracker.count_calls()));
    let quiet = MeteredFrequencyTracker::new(Arc::new(NoOpTracker::new()));
    quiet.touch(3);
    say!(said, (quiet.count(3), quiet.touches()));
    say!(said, MeteredFrequencyTracker::with_tinylfu(64).touches());

    say!(
        said,
        (
            TestMeta { value: 3 },
            MetadataA(4),
            MetadataB("b".to_owned()),
            MetadataC
        )
    );
    let blocks = BlockSequenceBuilder::from_tokens((0..16).collect());
    say!(said, blocks.build());
    let blocks = BlockSequenceBuilder::from_tokens((0..16).collect())
        .with_block_size(8)
        .with_salt(9);
    say!(said, blocks.build());
    said
}
