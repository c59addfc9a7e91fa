//! Releasing blocks in a batch has the same effect as dropping them one by one.

use std::fmt::Debug;

use kvbm_lockfree::{BlockManager, ImmutableBlock, SequenceHash};

use crate::policy::Policy;
use crate::{audit, chain, manager, register, registry};

const BLOCKS: usize = 12;

/// Returns registered blocks of two chains, one with a second pin and one that is freed on
/// release, together with the second pin.
fn held(manager: &BlockManager<()>) -> (Vec<ImmutableBlock<()>>, ImmutableBlock<()>) {
    let mut held = register(manager, &chain(1, 4));
    held.extend(register(manager, &chain(2, 4)));
    held[6].set_evict_on_reset(true);
    let second = held[1].clone();
    // Release and match some of them again, so that there are queued releases.
    let hashes: Vec<SequenceHash> = held[2..4].iter().map(|b| b.sequence_hash()).collect();
    held.drain(2..4).for_each(drop);
    for hash in hashes {
        held.extend(manager.match_blocks(&[hash]));
    }
    assert_eq!(held.len(), 8);
    (held, second)
}

fn same<V: PartialEq + Debug>(policy: Policy, one: V, other: V) {
    assert_eq!(one, other, "{policy:?}");
}

#[test]
fn a_batch_leaves_what_single_drops_leave() {
    for policy in Policy::ALL {
        let managers = [(); 2].map(|()| manager(policy, BLOCKS, &registry()));
        let [one_by_one, together] = &managers;
        let [(dropped, second), (mut released, other_second)] = managers.each_ref().map(held);
        for block in dropped {
            drop(block);
        }
        together.release_from(&mut released);
        assert!(released.is_empty());
        same(
            policy,
            one_by_one.available_blocks(),
            together.available_blocks(),
        );
        drop((second, other_second));
        let evicted = managers.each_ref().map(|manager| {
            let (blocks, evicted) = manager
                .allocate_blocks_with_evictions(BLOCKS)
                .expect("no block is held");
            drop(blocks);
            audit(manager);
            evicted
        });
        assert_eq!(evicted[0].len(), 7);
        same(policy, &evicted[0], &evicted[1]);
        same(
            policy,
            format!("{:?}", one_by_one.metrics().snapshot()),
            format!("{:?}", together.metrics().snapshot()),
        );
    }
}

#[test]
fn mutable_blocks_freed_together_are_free() {
    let manager = manager::<()>(Policy::Lru, BLOCKS, &registry());
    let mut blocks = manager.allocate_blocks(BLOCKS).expect("all are free");
    blocks.swap(0, BLOCKS - 1);
    manager.free_from(&mut blocks);
    assert!(blocks.is_empty());
    assert_eq!(manager.available_blocks(), BLOCKS);
    assert_eq!(manager.metrics().snapshot().inflight_mutable, 0);
    audit(&manager);
}

#[test]
fn guards_of_another_manager_go_their_own_way() {
    let registry = registry();
    let [one, other] = [(); 2].map(|()| manager::<()>(Policy::Lru, BLOCKS, &registry));
    let mut held = register(&one, &chain(1, 2));
    held.extend(register(&other, &chain(2, 2)));
    one.release_from(&mut held);
    let mut blocks = one.allocate_blocks(2).expect("blocks are free");
    blocks.extend(other.allocate_blocks(2).expect("blocks are free"));
    one.free_from(&mut blocks);
    for manager in [&one, &other] {
        assert_eq!(manager.available_blocks(), BLOCKS);
        audit(manager);
    }
    // Even after the blocks' manager is dropped.
    let mut held = register(&other, &chain(3, 1));
    drop(other);
    one.release_from(&mut held);
    audit(&one);
}
