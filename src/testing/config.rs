//! Sizes that tests agree on. Block sizes are in tokens, manager sizes in blocks.
//!
//! ```
//! use kvbm_lockfree::testing::config::{TEST_BLOCK_SIZES, validate_test_block_size};
//!
//! assert!(TEST_BLOCK_SIZES.iter().all(|&size| validate_test_block_size(size)));
//! ```

/// The block size for tests that do not depend on one, in tokens.
pub const DEFAULT_TEST_BLOCK_SIZE: usize = 4;

/// The number of blocks for tests that do not depend on one.
pub const DEFAULT_TEST_BLOCK_COUNT: usize = 10;

/// Every valid block size, in tokens.
pub const TEST_BLOCK_SIZES: &[usize] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// A few block sizes, from the smallest to a large one, in tokens.
pub const COMMON_TEST_BLOCK_SIZES: &[usize] = &[1, 4, 16, 64];

/// Named block sizes, in tokens.
pub mod constants {
    /// The smallest block size.
    pub const TINY: usize = 1;
    /// The block size for tests that do not depend on one.
    pub const SMALL: usize = 4;
    /// A common block size.
    pub const MEDIUM: usize = 16;
    /// A large block size.
    pub const LARGE: usize = 64;
    /// The largest block size.
    pub const MAX: usize = 1024;
}

/// Returns whether `size` is a valid block size: a power of two up to [`constants::MAX`].
pub fn validate_test_block_size(size: usize) -> bool {
    size.is_power_of_two() && size <= constants::MAX
}

/// Returns `block_size` consecutive tokens, starting with `base`.
///
/// # Panics
///
/// Panics in debug builds if the tokens exceed `u32::MAX`.
pub fn generate_test_tokens(base: u32, block_size: usize) -> Vec<u32> {
    (base..base + block_size as u32).collect()
}

/// Returns the tokens of `count` blocks. Block `n` starts with token `1000 * n`, so that blocks
/// of up to 1000 tokens have none in common.
pub fn generate_unique_token_sequences(count: usize, block_size: usize) -> Vec<Vec<u32>> {
    (0..count as u32)
        .map(|n| generate_test_tokens(1000 * n, block_size))
        .collect()
}
