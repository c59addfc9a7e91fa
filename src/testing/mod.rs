//! Fixtures for testing code that uses this crate.
//!
//! They comprise managers with sensible settings, token blocks, metadata types, a frequency
//! tracker that counts its calls, and a checker for eviction policies. The module needs the
//! feature `testing`.
//!
//! ```
//! use kvbm_lockfree::KvbmSequenceHashProvider;
//! use kvbm_lockfree::testing::{TestMeta, create_iota_token_block, create_test_manager};
//!
//! let manager = create_test_manager::<TestMeta>(10);
//! let tokens = create_iota_token_block(0, 4);
//! let block = manager.allocate_blocks(1).unwrap().pop().unwrap();
//! let block = manager.register_block(block.complete(&tokens).unwrap());
//! assert_eq!(block.sequence_hash(), tokens.kvbm_sequence_hash());
//! ```

pub mod config;
mod eviction;
mod managers;
mod metadata;
mod metered_tracker;
mod sequences;
mod token_blocks;

pub use eviction::{EvictionPolicyFault, check_eviction_policy};
pub use managers::{
    create_test_manager, create_test_manager_metered, create_test_manager_with_backend,
    create_test_manager_with_block_size, create_test_manager_with_default_reset_on_release,
};
pub use metadata::{MetadataA, MetadataB, MetadataC, TestMeta};
pub use metered_tracker::MeteredFrequencyTracker;
pub use sequences::BlockSequenceBuilder;
pub use token_blocks::{
    TEST_SALT, create_iota_token_block, create_test_token_block, sequential_tokens, tokens_for_id,
};
