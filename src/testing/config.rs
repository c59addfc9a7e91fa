//! Sizes that tests agree on, in tokens a block and blocks a manager.

/// The block size of tests that do not care.
pub const DEFAULT_TEST_BLOCK_SIZE: usize = 4;

/// The number of blocks of tests that do not care.
pub const DEFAULT_TEST_BLOCK_COUNT: usize = 10;

/// Every block size.
pub const TEST_BLOCK_SIZES: &[usize] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// A few block sizes, from the smallest to a large one.
pub const COMMON_TEST_BLOCK_SIZES: &[usize] = &[1, 4, 16, 64];

/// Block sizes by name.
pub mod constants {
    /// The smallest.
    pub const TINY: usize = 1;
    /// That of tests that do not care.
    pub const SMALL: usize = 4;
    /// A common one.
    pub const MEDIUM: usize = 16;
    /// A large one.
    pub const LARGE: usize = 64;
    /// The largest.
    pub const MAX: usize = 1024;
}

/// Whether this is a block size: a power of two up to [`constants::MAX`].
pub fn validate_test_block_size(size: usize) -> bool {
    size.is_power_of_two() && size <= constants::MAX
}

/// The tokens from `base` on that fill a block.
///
/// # Panics
///
/// In debug builds, if there are not as many tokens.
pub fn generate_test_tokens(base: u32, block_size: usize) -> Vec<u32> {
    (base..base + block_size as u32).collect()
}

/// The tokens of `count` blocks, the nth beginning with token 1000 n, so that up to
/// block sizes of 1000 no two have a token in common.
pub fn generate_unique_token_sequences(count: usize, block_size: usize) -> Vec<Vec<u32>> {
    (0..count as u32)
        .map(|n| generate_test_tokens(1000 * n, block_size))
        .collect()
}
