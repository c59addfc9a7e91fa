//! Tokens and token blocks.

use dynamo_tokens::{SaltHash, TokenBlock, TokenBlockSequence};

/// The salt of the token blocks that this module creates.
pub const TEST_SALT: SaltHash = 42;

/// Creates the first block of a sequence of `tokens`.
///
/// # Panics
///
/// Panics if the tokens do not fill a block, or if `block_size` is 0.
pub fn create_test_token_block(tokens: &[u32], block_size: u32) -> TokenBlock {
    let sequence = TokenBlockSequence::from_slice(tokens, block_size, Some(TEST_SALT));
    match sequence.blocks().first() {
        Some(block) => block.clone(),
        None => panic!(
            "{} tokens do not fill a block of {block_size}",
            tokens.len()
        ),
    }
}

/// Creates a block of `block_size` consecutive tokens, starting with `start`.
///
/// # Panics
///
/// Panics if `block_size` is 0.
pub fn create_iota_token_block(start: u32, block_size: u32) -> TokenBlock {
    create_test_token_block(&sequential_tokens(start, block_size as usize), block_size)
}

/// Returns `count` consecutive tokens, starting with `start`.
pub fn sequential_tokens(start: u32, count: usize) -> Vec<u32> {
    (start..start + count as u32).collect()
}

/// Returns four consecutive tokens, starting with `id`, each truncated to 32 bits.
pub fn tokens_for_id(id: u64) -> Vec<u32> {
    (id..id + 4).map(|token| token as u32).collect()
}
