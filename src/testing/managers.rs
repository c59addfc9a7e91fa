//! Managers, each with its own registry that tracks frequencies.

use std::sync::Arc;

use crate::blocks::BlockMetadata;
use crate::manager::{BlockManager, BlockManagerConfigBuilder, FrequencyTrackingCapacity};
use crate::registry::BlockRegistry;
use crate::tinylfu::FrequencyTracker;

use super::config::DEFAULT_TEST_BLOCK_SIZE;
use super::metered_tracker::MeteredFrequencyTracker;

/// Creates a manager with blocks of four tokens that evicts the least recently used one.
///
/// # Panics
///
/// Like the other functions that create managers, panics if the configuration is invalid, for
/// example because a manager cannot have `block_count` blocks.
pub fn create_test_manager<T: BlockMetadata>(block_count: usize) -> BlockManager<T> {
    create_test_manager_with_backend(block_count, BlockManagerConfigBuilder::with_lru_backend)
}

/// Creates a manager with blocks of four tokens that `configure` configures further.
pub fn create_test_manager_with_backend<T: BlockMetadata>(
    block_count: usize,
    configure: impl FnOnce(BlockManagerConfigBuilder<T>) -> BlockManagerConfigBuilder<T>,
) -> BlockManager<T> {
    build(block_count, default_tracker(), configure)
}

/// Creates a manager like [`create_test_manager`], but with blocks of `block_size` tokens.
pub fn create_test_manager_with_block_size<T: BlockMetadata>(
    block_count: usize,
    block_size: usize,
) -> BlockManager<T> {
    create_test_manager_with_backend(block_count, |builder| {
        builder.block_size(block_size).with_lru_backend()
    })
}

/// Creates a manager like [`create_test_manager`], and chooses whether blocks are freed rather
/// than becoming inactive when they are released.
pub fn create_test_manager_with_default_reset_on_release<T: BlockMetadata>(
    block_count: usize,
    default_reset_on_release: bool,
) -> BlockManager<T> {
    create_test_manager_with_backend(block_count, |builder| {
        builder
            .with_lru_backend()
            .with_default_reset_on_release(default_reset_on_release)
    })
}

/// Creates a manager like [`create_test_manager`], and returns it with its frequency tracker,
/// which counts its calls.
pub fn create_test_manager_metered<T: BlockMetadata>(
    block_count: usize,
) -> (BlockManager<T>, Arc<MeteredFrequencyTracker>) {
    let tracker =
        MeteredFrequencyTracker::with_tinylfu(FrequencyTrackingCapacity::default().size());
    let manager = build(
        block_count,
        Arc::clone(&tracker) as _,
        BlockManagerConfigBuilder::with_lru_backend,
    );
    (manager, tracker)
}

fn default_tracker() -> Arc<dyn FrequencyTracker<u128>> {
    FrequencyTrackingCapacity::default().create_tracker()
}

fn build<T: BlockMetadata>(
    block_count: usize,
    tracker: Arc<dyn FrequencyTracker<u128>>,
    configure: impl FnOnce(BlockManagerConfigBuilder<T>) -> BlockManagerConfigBuilder<T>,
) -> BlockManager<T> {
    let registry = BlockRegistry::builder().frequency_tracker(tracker).build();
    let builder = BlockManager::builder()
        .block_count(block_count)
        .block_size(DEFAULT_TEST_BLOCK_SIZE)
        .registry(registry);
    match configure(builder).build() {
        Ok(manager) => manager,
        Err(error) => panic!("cannot create a manager of {block_count} blocks: {error}"),
    }
}
