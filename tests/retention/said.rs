//! Which blocks does a directive apply to, and what is a policy told?

use std::time::Duration;

use kvbm_lockfree::blocks::BlockDuplicationPolicy;
use kvbm_lockfree::eviction::{EvictionPolicy, InactiveBlock};
use kvbm_lockfree::retention::{Priority, Retention};
use kvbm_lockfree::{BlockId, BlockManager};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::{builder, cache, chain, evict, hash, manager, priority, register};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_guard_says_what_holds() {
    let manager = manager(4, |builder| builder);
    let block = register(&manager, hash(1));
    assert_eq!(block.retention(), Retention::default());
    block.set_retention(priority(80));
    assert_eq!(block.clone().retention(), priority(80));
    block.set_retention(priority(10).for_duration(HOUR));
    let left = block.retention();
    assert_eq!(left.priority, Priority::new(10).unwrap());
    let duration = left.duration.expect("an hour ends");
    assert!(duration <= HOUR + Duration::from_millis(1) && !duration.is_zero());
    block.set_retention(priority(90).for_duration(Duration::ZERO));
    assert_eq!(block.retention(), Retention::default());
    block.set_retention(priority(90).for_duration(Duration::MAX));
    assert_eq!(block.retention(), priority(90));
}

#[test]
fn it_is_the_contents_as_long_as_it_is_cached() {
    let manager = manager(2, |builder| builder.with_lru_backend());
    register(&manager, hash(1)).set_retention(priority(80));
    // The directive outlasts a match and a release.
    assert_eq!(
        manager.match_blocks(&[hash(1)])[0].retention(),
        priority(80)
    );
    drop(manager.match_blocks(&[hash(1)]));
    assert_eq!(
        manager.match_blocks(&[hash(1)])[0].retention(),
        priority(80)
    );
    // Other content in the same block has no directive.
    drop(evict(&manager, 2));
    let blocks = [register(&manager, hash(2)), register(&manager, hash(3))];
    assert!(
        blocks
            .iter()
            .all(|block| block.retention() == Retention::default())
    );
    drop(blocks);
    // The same content in another block has none either.
    drop(evict(&manager, 2));
    assert_eq!(
        register(&manager, hash(1)).retention(),
        Retention::default()
    );
}

#[test]
fn a_duplicates_is_its_primarys() {
    let manager = manager(4, |builder| {
        builder.duplication_policy(BlockDuplicationPolicy::Allow)
    });
    let primary = register(&manager, hash(1));
    let duplicate = register(&manager, hash(1));
    assert_ne!(primary.block_id(), duplicate.block_id());
    duplicate.set_retention(priority(3));
    assert_eq!(primary.retention(), priority(3));
    assert_eq!(duplicate.retention(), priority(3));
}

#[test]
fn a_range_of_tokens() {
    let manager = manager(8, |builder| builder);
    let hashes = chain(1, 4);
    cache(&manager, &hashes);
    let held = register(&manager, hash(9));
    let of = |at: usize| manager.match_one(hashes[at]).unwrap().retention();

    assert_eq!(manager.set_retention(&hashes, 16..33, priority(70)), 2);
    assert_eq!([0, 1, 2, 3].map(of), [35, 70, 70, 35].map(priority));
    assert_eq!(manager.set_retention(&hashes, 40.., priority(20)), 2);
    assert_eq!([0, 1, 2, 3].map(of), [35, 70, 20, 20].map(priority));
    assert_eq!(manager.set_retention(&hashes, 64.., priority(1)), 0);
    assert_eq!(manager.set_retention(&hashes, 5..5, priority(1)), 0);
    // A hash that is present, one that is missing, and the first again.
    let sequence = [hash(9), hash(77), hash(9)];
    assert_eq!(manager.set_retention(&sequence, .., priority(1)), 2);
    assert_eq!(held.retention(), priority(1));
    manager.clear_inactive_pool();
    assert_eq!(manager.set_retention(&hashes, .., priority(1)), 0);
    manager.audit().unwrap();
}

/// A FIFO policy that records the priorities it is told.
struct Told {
    order: VecDeque<BlockId>,
    said: Arc<Mutex<Vec<(BlockId, u8)>>>,
}

impl EvictionPolicy for Told {
    fn insert(&mut self, block: InactiveBlock) {
        self.order.push_back(block.block_id);
    }

    fn remove(&mut self, block_id: BlockId) {
        self.order.retain(|&other| other != block_id);
    }

    fn pop(&mut self) -> Option<BlockId> {
        self.order.pop_front()
    }

    fn set_priority(&mut self, block_id: BlockId, priority: Priority) {
        assert!(self.order.contains(&block_id), "it is in the order");
        self.said.lock().unwrap().push((block_id, priority.get()));
    }
}

#[test]
fn a_policy_of_ones_own_is_told() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let policy = Told {
        order: VecDeque::new(),
        said: Arc::clone(&said),
    };
    let manager: BlockManager<()> = builder(4).with_eviction_policy(policy).build().unwrap();
    let ids: Vec<_> = (0..4)
        .map(|n| register(&manager, hash(n)).block_id())
        .collect();
    let take = || std::mem::take(&mut *said.lock().unwrap());

    // One directive before the release, and one after.
    let block = manager.match_one(hash(3)).unwrap();
    block.set_retention(priority(80));
    drop(block);
    manager.set_retention(&[hash(2)], .., priority(10).for_duration(HOUR));
    let (_block, evicted) = evict(&manager, 1);
    assert_eq!(evicted, [hash(0)]);
    let mut told = take();
    told.sort_unstable();
    // The policy may be told the same priority twice.
    told.dedup();
    let mut expected = vec![(ids[2], 10), (ids[3], 80)];
    expected.sort_unstable();
    assert_eq!(
        told.iter()
            .filter(|said| said.1 != 35)
            .copied()
            .collect::<Vec<_>>(),
        expected
    );

    // Withdraw a directive.
    manager.set_retention(&[hash(2)], .., Retention::default());
    let (_blocks, evicted) = evict(&manager, 2);
    assert_eq!(evicted, [hash(1), hash(2)]);
    assert!(take().contains(&(ids[2], 35)));
}

/// Behaves like [`Told`] for a number of victims, then returns none.
struct Failing {
    told: Told,
    victims: u32,
}

impl EvictionPolicy for Failing {
    fn insert(&mut self, block: InactiveBlock) {
        self.told.insert(block);
    }

    fn remove(&mut self, block_id: BlockId) {
        self.told.remove(block_id);
    }

    fn pop(&mut self) -> Option<BlockId> {
        self.victims = self.victims.checked_sub(1)?;
        self.told.pop()
    }
}

#[test]
fn a_policy_that_fails_leaves_the_priorities() {
    let told = Told {
        order: VecDeque::new(),
        said: Arc::default(),
    };
    let policy = Failing { told, victims: 1 };
    let manager: BlockManager<()> = builder(5).with_eviction_policy(policy).build().unwrap();
    let hashes: Vec<_> = (0..5).map(hash).collect();
    cache(&manager, &hashes);
    manager.set_retention(&hashes[1..2], .., priority(80));
    manager.set_retention(&hashes[3..4], .., priority(10).for_duration(HOUR));
    let (_block, evicted) = evict(&manager, 1);
    assert_eq!(evicted, [hash(0)]);
    let (_blocks, mut evicted) = evict(&manager, 4);
    // Blocks of equal priority are in slot order, which is arbitrary: sort them.
    evicted[1..3].sort_unstable_by_key(|&other| hashes.iter().position(|&hash| hash == other));
    assert_eq!(evicted, [3, 2, 4, 1].map(hash));
    manager.audit().unwrap();
}
