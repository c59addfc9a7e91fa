//! Invalid input, and input on which the published crate panics.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use dynamo_tokens::TokenBlockSequence;
use kvbm_lockfree::{BlockError, SequenceHash};

use crate::policy::Policy;
use crate::{BLOCK_SIZE, audit, chain, manager, register, registry};

/// Returns the message with which `f` panics, if it does.
fn panic_message<R>(f: impl FnOnce() -> R) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(f)).err()?;
    let message = match payload.downcast::<String>() {
        Ok(message) => *message,
        Err(payload) => payload.downcast::<&str>().expect("a message").to_string(),
    };
    Some(message)
}

#[test]
fn builder_panics_on_the_same_block_sizes() {
    for size in [0, 1, 2, 3, 16, 1000, 1024, 1025, 2048, usize::MAX] {
        let ours = panic_message(|| kvbm_lockfree::BlockManager::<()>::builder().block_size(size));
        let reference =
            panic_message(|| kvbm_logical::BlockManager::<()>::builder().block_size(size));
        assert_eq!(ours, reference, "block size {size}");
        let valid = size.is_power_of_two() && size <= 1024;
        assert_eq!(ours.is_none(), valid, "block size {size}");
    }
}

#[test]
fn builder_panics_on_the_same_thresholds() {
    let thresholds = [
        (1, 2, 3, true),
        (3, 8, 15, true),
        (3, 3, 8, false),
        (8, 3, 15, false),
        (1, 5, 5, false),
        (3, 8, 16, false),
        (0, 1, 2, false),
    ];
    for (warm, hot, very_hot, valid) in thresholds {
        let ours = panic_message(|| {
            kvbm_lockfree::BlockManager::<()>::builder()
                .with_multi_lru_backend_custom_thresholds(warm, hot, very_hot)
        });
        let reference = panic_message(|| {
            kvbm_logical::BlockManager::<()>::builder()
                .with_multi_lru_backend_custom_thresholds(warm, hot, very_hot)
        });
        assert_eq!(ours, reference, "{warm}, {hot}, {very_hot}");
        assert_eq!(ours.is_none(), valid, "{warm}, {hot}, {very_hot}");
    }
}

/// Returns the error message of every incomplete or contradictory configuration.
macro_rules! builder_errors {
    ($kvbm:ident) => {{
        use $kvbm::{BlockManager, BlockRegistry};
        let builder = BlockManager::<()>::builder;
        let attempts = [
            builder().build(),
            builder().block_count(4).build(),
            builder().registry(BlockRegistry::new()).build(),
            builder()
                .registry(BlockRegistry::new())
                .block_count(0)
                .build(),
            builder()
                .registry(BlockRegistry::new())
                .block_count(4)
                .with_multi_lru_backend()
                .build(),
            builder()
                .registry(BlockRegistry::new())
                .block_count(4)
                .with_multi_lru_backend_custom_thresholds(1, 2, 3)
                .build(),
        ];
        attempts.map(|attempt| {
            let error = attempt.err().expect("the configuration is refused");
            (error.to_string(), format!("{error:?}"))
        })
    }};
}

#[test]
fn builder_errors_read_the_same() {
    assert_eq!(
        builder_errors!(kvbm_lockfree),
        builder_errors!(kvbm_logical)
    );
}

#[test]
fn too_large_allocations_are_refused_and_change_nothing() {
    for policy in Policy::ALL {
        let manager = manager::<()>(policy, 4, &registry());
        let held = register(&manager, &chain(1, 2));
        drop(register(&manager, &chain(2, 1)));
        let before = format!("{:?}", manager.metrics().snapshot());
        for count in [3, 4, 5, usize::MAX / 2, usize::MAX] {
            assert!(
                manager.allocate_blocks(count).is_none(),
                "{policy:?}, {count}"
            );
        }
        assert_eq!(format!("{:?}", manager.metrics().snapshot()), before);
        assert_eq!(manager.available_blocks(), 2);
        audit(&manager);
        assert_eq!(manager.match_blocks(&chain(2, 1)).len(), 1, "{policy:?}");
        drop(held);
        assert!(manager.allocate_blocks(4).is_some(), "{policy:?}");
    }
}

#[test]
fn staging_the_wrong_size_returns_the_block() {
    let manager = manager::<()>(Policy::Unset, 1, &registry());
    let hash = chain(1, 1)[0];
    let misfit = TokenBlockSequence::from_slice(&[0; 2 * BLOCK_SIZE], 2 * BLOCK_SIZE as u32, None);
    let misfit = misfit.last_complete_block().expect("one block is full");

    let mut block = manager
        .allocate_blocks(1)
        .and_then(|mut b| b.pop())
        .expect("one is free");
    let id = block.block_id();
    for size in [0, BLOCK_SIZE - 1, BLOCK_SIZE + 1, usize::MAX] {
        let error = block.stage(hash, size).expect_err("the size differs");
        let message = format!("Block size mismatch: expected {BLOCK_SIZE} tokens, got {size}");
        assert_eq!(error.to_string(), message);
        let BlockError::BlockSizeMismatch {
            expected,
            actual,
            block: returned,
        } = error;
        assert_eq!((expected, actual), (BLOCK_SIZE, size));
        assert_eq!(returned.block_id(), id);
        block = returned;
    }
    let error = block.complete(misfit).expect_err("the size differs");
    let BlockError::BlockSizeMismatch { actual, block, .. } = error;
    assert_eq!(actual, 2 * BLOCK_SIZE);

    assert_eq!(manager.available_blocks(), 0, "the block is still held");
    assert_eq!(manager.metrics().snapshot().stagings, 0);
    let staged = block.stage(hash, BLOCK_SIZE).expect("the size fits");
    assert_eq!(staged.block_id(), id);
}

/// Returns two hashes that share their position and the fragment by which children refer to
/// them, and a hash that is a child of both.
fn colliding() -> ([SequenceHash; 2], SequenceHash) {
    let pair = [
        SequenceHash::new(42, Some(1), 5),
        SequenceHash::new(42, Some(2), 5),
    ];
    assert_eq!(
        pair[0].parent_fragment_for_child_position(6),
        pair[1].parent_fragment_for_child_position(6)
    );
    (pair, pair[0].extend(7))
}

#[test]
fn colliding_lineage_hashes_are_both_kept() {
    for policy in Policy::ALL {
        for newest_first in [false, true] {
            let manager = manager::<()>(policy, 4, &registry());
            let (pair, child) = colliding();
            let mut blocks = register(&manager, &[pair[0], pair[1], child]);
            let homes: Vec<_> = blocks
                .iter()
                .map(|b| (b.sequence_hash(), b.block_id()))
                .collect();
            if newest_first {
                blocks.reverse();
            }
            drop(blocks);
            audit(&manager);

            for &(hash, home) in &homes {
                let matched = manager.match_blocks(&[hash]);
                assert_eq!(matched.len(), 1, "{policy:?}, {hash:?}");
                assert_eq!(
                    (matched[0].sequence_hash(), matched[0].block_id()),
                    (hash, home)
                );
            }
            audit(&manager);

            let (blocks, evicted) = manager
                .allocate_blocks_with_evictions(4)
                .expect("nothing is held");
            let distinct: HashSet<_> = evicted.iter().copied().collect();
            assert_eq!(
                distinct,
                HashSet::from([pair[0], pair[1], child]),
                "{policy:?}"
            );
            assert_eq!(evicted.len(), 3);
            drop(blocks);
            audit(&manager);
        }
    }
}

#[test]
fn either_colliding_hash_can_be_held_while_the_other_is_evicted() {
    for policy in Policy::ALL {
        let (pair, _) = colliding();
        for held in 0..2 {
            let manager = manager::<()>(policy, 2, &registry());
            drop(register(&manager, &pair));
            let kept = manager.match_blocks(&pair[held..=held]);
            assert_eq!(kept.len(), 1, "{policy:?}");
            let (_fresh, evicted) = manager
                .allocate_blocks_with_evictions(1)
                .expect("the other one is inactive");
            assert_eq!(evicted, [pair[1 - held]], "{policy:?}");
            assert!(manager.allocate_blocks(1).is_none());
            drop(kept);
            assert_eq!(
                manager.match_blocks(&pair[held..=held]).len(),
                1,
                "{policy:?}"
            );
        }
    }
}
