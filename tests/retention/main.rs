//! Retention directives: what do they do to the eviction order, and for how long?
//!
//! * `said`: which blocks a directive applies to, given through a guard or by a range of
//!   tokens, and what a user's own policy is told.
//! * `order`: the eviction order with every policy; threads that give directives while others
//!   evict lose nothing.
//! * `content`: a directive ends with its content.

mod content;
mod order;
mod said;

use kvbm_lockfree::manager::{BlockManagerConfigBuilder, FrequencyTrackingCapacity};
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, MutableBlock, SequenceHash};

const BLOCK_SIZE: usize = 16;

type Manager = BlockManager<()>;
type Builder = BlockManagerConfigBuilder<()>;

fn builder(block_count: usize) -> Builder {
    let tracker = FrequencyTrackingCapacity::Small.create_tracker();
    Manager::builder()
        .block_count(block_count)
        .block_size(BLOCK_SIZE)
        .registry(BlockRegistry::builder().frequency_tracker(tracker).build())
}

fn manager(block_count: usize, configure: impl FnOnce(Builder) -> Builder) -> Manager {
    configure(builder(block_count))
        .build()
        .expect("the configuration is valid")
}

fn priority(priority: u8) -> Retention {
    Retention::new(Priority::new(priority).expect("at most 100"))
}

/// Returns the hash of content that is not the parent of any other.
fn hash(n: u64) -> SequenceHash {
    SequenceHash::root(n)
}

/// Returns the hashes of a sequence.
fn chain(base: u64, length: u64) -> Vec<SequenceHash> {
    let own = |position| 1_000 * base + position;
    (0..length)
        .map(|position| {
            let parent = (position > 0).then(|| own(position - 1));
            SequenceHash::new(own(position), parent, position)
        })
        .collect()
}

fn register(manager: &Manager, hash: SequenceHash) -> ImmutableBlock<()> {
    let block = manager.allocate_one().expect("a block is available");
    manager.register_block(block.stage(hash, BLOCK_SIZE).expect("of this size"))
}

/// Caches these hashes in inactive blocks, released in this order.
fn cache(manager: &Manager, hashes: &[SequenceHash]) {
    for &hash in hashes {
        drop(register(manager, hash));
    }
}

/// Allocates `count` blocks, and returns them with the hashes evicted for them.
fn evict(manager: &Manager, count: usize) -> (Vec<MutableBlock<()>>, Vec<SequenceHash>) {
    let evicted = manager.allocate_blocks_with_evictions(count);
    evicted.expect("as many are available")
}
