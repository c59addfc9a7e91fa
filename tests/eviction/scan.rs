//! A scan of content that is used once must not evict content that is used repeatedly.

use kvbm_lockfree::manager::BlockManagerConfigBuilder;
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

use super::Tier;

const BLOCKS: usize = 2_000;
/// The number of prompts that are used repeatedly: three tenths of the pool, or a twentieth.
const MANY: u64 = 60;
const FEW: u64 = 10;
const PROMPT_BLOCKS: u64 = 10;
const ROUNDS: usize = 20;
/// The size of a document that is used once.
const DOCUMENT_BLOCKS: u64 = 100;
const FIRST_DOCUMENT: u64 = 1 << 40;

fn sequence(first: u64, blocks: u64) -> Vec<SequenceHash> {
    (0..blocks)
        .map(|at| SequenceHash::new(first + at, (at > 0).then(|| first + at - 1), at))
        .collect()
}

fn prompt(n: u64) -> Vec<SequenceHash> {
    sequence((n + 1) * 1_000, PROMPT_BLOCKS)
}

/// Matches or registers the blocks of a sequence, then releases them. Returns the number
/// that were cached.
fn serve(
    manager: &BlockManager<Tier>,
    hashes: &[SequenceHash],
    held: &mut Vec<ImmutableBlock<Tier>>,
) -> usize {
    let cached = manager.match_into(hashes, held);
    for &hash in &hashes[cached..] {
        let block = manager.allocate_one().expect("a sequence fits the pool");
        held.push(manager.register_block(block.stage(hash, 16).expect("of this size")));
    }
    manager.release_from(held);
    cached
}

/// Returns the percentage of the prompts' blocks that are still cached after a scan of
/// `scanned` blocks.
fn kept(
    policy: impl FnOnce(BlockManagerConfigBuilder<Tier>) -> BlockManagerConfigBuilder<Tier>,
    prompts: u64,
    scanned: u64,
) -> u64 {
    let builder = BlockManager::builder()
        .block_count(BLOCKS)
        .block_size(16)
        .registry(BlockRegistry::new());
    let manager = policy(builder).build().expect("a valid configuration");
    let mut held = Vec::new();
    for _ in 0..ROUNDS {
        for n in 0..prompts {
            serve(&manager, &prompt(n), &mut held);
        }
    }
    for n in 0..scanned / DOCUMENT_BLOCKS {
        let document = sequence(FIRST_DOCUMENT + n * DOCUMENT_BLOCKS, DOCUMENT_BLOCKS);
        let cached = serve(&manager, &document, &mut held);
        assert_eq!(cached, 0, "a document comes once");
    }
    let kept: usize = (0..prompts)
        .map(|n| serve(&manager, &prompt(n), &mut held))
        .sum();
    kept as u64 * 100 / (prompts * PROMPT_BLOCKS)
}

#[test]
fn a_million_blocks_that_come_once_push_out_nothing() {
    let kept_by_lrfu = kept(
        BlockManagerConfigBuilder::with_lrfu_backend,
        MANY,
        1_000_000,
    );
    assert!(kept_by_lrfu >= 95, "{kept_by_lrfu}");
    // The prompts fit its main region.
    let kept_by_tinylfu = kept(
        BlockManagerConfigBuilder::with_tinylfu_backend,
        FEW,
        1_000_000,
    );
    assert!(kept_by_tinylfu >= 95, "{kept_by_tinylfu}");
    // For the others, a scan of twice the pool's size is enough to evict everything.
    for policy in [
        BlockManagerConfigBuilder::with_lru_backend,
        BlockManagerConfigBuilder::with_lineage_backend,
    ] {
        assert_eq!(kept(policy, FEW, 2 * BLOCKS as u64), 0);
    }
}
