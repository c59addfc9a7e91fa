//! Short scenarios with guards, handles, managers and registries, to be run by Miri.
//!
//! As ordinary tests they take milliseconds and prove little. Under Miri, with Tree Borrows,
//! every access is checked: that its memory is live, that its reference is still valid, and that
//! it does not race with another. `tests/README.md` has the command.

mod ends;
mod life;
mod registry;

use kvbm_lockfree::manager::BlockManagerConfigBuilder;
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, MutableBlock, SequenceHash};

/// The number of blocks in a pool. Small, because Miri is a thousand times slower.
const BLOCKS: usize = 6;

#[derive(Clone)]
struct Tier;

type Manager = BlockManager<Tier>;
type Builder = BlockManagerConfigBuilder<Tier>;

fn builder(registry: &BlockRegistry) -> Builder {
    Manager::builder()
        .block_count(BLOCKS)
        .block_size(16)
        .registry(registry.clone())
}

fn lru(registry: &BlockRegistry) -> Manager {
    builder(registry).with_lru_backend().build().unwrap()
}

fn lineage(registry: &BlockRegistry) -> Manager {
    builder(registry).with_lineage_backend().build().unwrap()
}

fn hash(content: u64) -> SequenceHash {
    SequenceHash::root(content)
}

fn register(
    manager: &Manager,
    block: MutableBlock<Tier>,
    hash: SequenceHash,
) -> ImmutableBlock<Tier> {
    manager.register_block(block.stage(hash, 16).unwrap())
}

fn cached(manager: &Manager, hash: SequenceHash) -> ImmutableBlock<Tier> {
    register(manager, manager.allocate_one().unwrap(), hash)
}
