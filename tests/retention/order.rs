//! What do directives do to the eviction order?

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kvbm_lockfree::SequenceHash;
use kvbm_lockfree::eviction::BuiltInPolicy;
use kvbm_lockfree::retention::{Priority, Retention};

use crate::{Builder, Manager, cache, chain, evict, hash, manager, priority, register};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn lower_priorities_go_first() {
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(6, |builder| builder.with_policy(policy));
        let hashes: Vec<_> = (0..6).map(hash).collect();
        cache(&manager, &hashes);
        manager.set_retention(&hashes[0..1], .., priority(80));
        manager.set_retention(&hashes[1..2], .., priority(36).for_duration(HOUR));
        manager.set_retention(&hashes[4..5], .., priority(0));
        manager.set_retention(&hashes[5..6], .., priority(34).for_duration(HOUR));
        let (_blocks, evicted) = evict(&manager, 6);
        assert_eq!(evicted, [4, 5, 2, 3, 1, 0].map(hash), "{policy}");
        manager.audit().unwrap();
    }
}

/// Victims have been taken, and blocks released, before there are priorities.
#[test]
fn the_first_directive_finds_an_order_in_motion() {
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(8, |builder| builder.with_policy(policy));
        cache(&manager, &(0..8).map(hash).collect::<Vec<_>>());
        let (block, evicted) = evict(&manager, 1);
        assert_eq!(evicted, [hash(0)], "{policy}");
        drop(block);
        drop(register(&manager, hash(8)));
        manager.set_retention(&[hash(2)], .., priority(90));
        let last = manager.match_one(hash(8)).unwrap();
        last.set_retention(priority(10));
        drop(last);
        let (_blocks, evicted) = evict(&manager, 8);
        assert_eq!(evicted, [8, 1, 3, 4, 5, 6, 7, 2].map(hash), "{policy}");
    }
}

/// Unit tests of the policies and the engine cover the end of a duration, without a clock.
#[test]
fn a_directive_that_is_taken_back_leaves_the_place() {
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(4, |builder| builder.with_policy(policy));
        let hashes: Vec<_> = (0..4).map(hash).collect();
        cache(&manager, &hashes);
        manager.set_retention(&hashes[..3], .., priority(90));
        let (block, evicted) = evict(&manager, 1);
        assert_eq!(evicted, [hash(3)], "{policy}");
        drop(block);
        drop(register(&manager, hash(4)));
        manager.set_retention(&hashes[1..2], .., Retention::default());
        manager.set_retention(&hashes[2..3], .., priority(95).for_duration(Duration::ZERO));
        let (_blocks, evicted) = evict(&manager, 4);
        let expected = match policy.name() {
            // Leaves are ordered by when they became leaves.
            "lineage-fifo" => [4, 1, 2, 0],
            _ => [1, 2, 4, 0],
        };
        assert_eq!(evicted, expected.map(hash), "{policy}");
    }
}

#[test]
fn a_directive_that_is_taken_back_leaves_the_level() {
    let manager = manager(4, Builder::with_multi_lru_backend);
    cache(&manager, &[0, 1, 2, 3].map(hash));
    for _ in 0..5 {
        drop(manager.match_blocks(&[hash(0)]));
        drop(manager.match_blocks(&[hash(1)]));
    }
    manager.set_retention(&[hash(0)], .., priority(80));
    let (blocks, evicted) = evict(&manager, 3);
    assert_eq!(evicted, [2, 3, 1].map(hash));
    drop(blocks);
    cache(&manager, &[5, 6].map(hash));
    manager.set_retention(&[hash(0)], .., Retention::default());
    let (_blocks, evicted) = evict(&manager, 4);
    assert_eq!(evicted, [5, 6, 0].map(hash));
}

#[test]
fn among_equals_the_last_release_or_change_decides() {
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(8, |builder| builder.with_policy(policy));
        let hashes: Vec<_> = (0..8).map(hash).collect();
        cache(&manager, &hashes);
        let say = |n: usize, of| manager.set_retention(&hashes[n..=n], .., priority(of));
        for (n, of) in [(0, 5), (1, 10), (2, 50), (3, 80), (4, 80), (7, 0)] {
            say(n, of);
        }
        let (_block, evicted) = evict(&manager, 1);
        assert_eq!(evicted, [hash(7)], "{policy}");
        // Only a different priority moves a block.
        say(0, 10);
        say(1, 10);
        say(2, 80);
        let (_blocks, evicted) = evict(&manager, 4);
        assert_eq!(evicted, [1, 0, 5, 6].map(hash), "{policy}");
        // It was the next victim but for its priority.
        say(3, 60);
        drop(manager.match_one(hash(4)));
        let (_block, evicted) = evict(&manager, 1);
        assert_eq!(evicted, [hash(3)], "{policy}");
        let (_blocks, evicted) = evict(&manager, 2);
        assert_eq!(evicted, [2, 4].map(hash), "{policy}");
    }
}

/// A directive for a block whose release is still queued counts with that release, and of
/// several directives for a block only the last counts.
#[test]
fn the_order_hears_of_releases_first() {
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(4, |builder| builder.with_policy(policy));
        let hashes: Vec<_> = (0..4).map(hash).collect();
        cache(&manager, &hashes);
        let say = |n: usize, of| manager.set_retention(&hashes[n..=n], .., priority(of));
        say(3, 0);
        let (_block, evicted) = evict(&manager, 1);
        assert_eq!(evicted, [hash(3)], "{policy}");

        let held = [2, 1, 0].map(|n| manager.match_one(hash(n)).unwrap());
        say(1, 50);
        drop(held);
        say(0, 50);
        say(2, 60);
        say(2, 50);
        let (_blocks, evicted) = evict(&manager, 3);
        assert_eq!(evicted, [2, 1, 0].map(hash), "{policy}");
    }
}

#[test]
fn the_end_of_a_duration_is_noticed() {
    let manager = manager(2, |builder| builder.with_lru_backend());
    cache(&manager, &[hash(1), hash(2)]);
    let soon = Duration::from_millis(20);
    manager.set_retention(&[hash(1)], .., priority(90).for_duration(soon));
    while manager.match_one(hash(1)).unwrap().retention() != Retention::default() {
        thread::sleep(soon);
    }
    // This block is now the one released last.
    let (_block, evicted) = evict(&manager, 1);
    assert_eq!(evicted, [hash(2)]);
}

#[test]
fn leaves_go_first_whatever_is_said() {
    let leaf_first = BuiltInPolicy::ALL
        .iter()
        .filter(|policy| policy.is_leaf_first());
    for &policy in leaf_first {
        let manager = manager(6, |builder| builder.with_policy(policy));
        let (kept, other) = (chain(1, 3), chain(2, 3));
        cache(&manager, &kept);
        cache(&manager, &other);
        // The last block of one sequence, and the first of the other.
        assert_eq!(manager.set_retention(&kept, 47.., priority(80)), 1);
        assert_eq!(manager.set_retention(&other, ..1, priority(0)), 1);
        let (_blocks, evicted) = evict(&manager, 6);
        let expected: Vec<_> = other.iter().rev().chain(kept.iter().rev()).collect();
        assert!(evicted.iter().eq(expected), "{policy}: {evicted:?}");
    }
}

#[test]
fn a_prompt_outlives_a_scan_for_as_long_as_it_is_said() {
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(64, |builder| builder.with_policy(policy));
        let prompt = chain(1, 8);
        cache(&manager, &prompt);
        manager.set_retention(&prompt, .., priority(90).for_duration(HOUR));
        for n in 0..1_000 {
            cache(&manager, &[hash(10_000 + n)]);
        }
        assert_eq!(manager.match_blocks(&prompt).len(), 8, "{policy}");
        manager.set_retention(&prompt, .., Retention::default());
        for n in 0..1_000 {
            cache(&manager, &[hash(20_000 + n)]);
        }
        // LRFU keeps the prompt anyway: it was used twice as often as everything else.
        let expected = if policy.name() == "lrfu" { 8 } else { 0 };
        assert_eq!(manager.match_blocks(&prompt).len(), expected, "{policy}");
        manager.audit().unwrap();
    }
}

/// Directives race with matches, releases and evictions, and the order is right afterwards.
#[test]
fn directives_race_with_everything() {
    const BLOCKS: usize = 48;
    const CONTENTS: u64 = 96;
    for &policy in BuiltInPolicy::ALL {
        let manager = manager(BLOCKS, |builder| builder.with_policy(policy));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for speaker in 0..2_u64 {
                let (manager, stop) = (&manager, &stop);
                scope.spawn(move || {
                    let mut n = speaker;
                    while !stop.load(Ordering::Relaxed) {
                        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let of = priority((n >> 40) as u8 % 101);
                        let retention = match n >> 50 & 3 {
                            0 => of,
                            1 => of.for_duration(HOUR),
                            2 => of.for_duration(Duration::from_millis(1)),
                            _ => Retention::default(),
                        };
                        manager.set_retention(&[hash((n >> 33) % CONTENTS)], .., retention);
                    }
                });
            }
            let workers: Vec<_> = (0..2)
                .map(|worker| {
                    let manager = &manager;
                    scope.spawn(move || work(manager, worker, CONTENTS))
                })
                .collect();
            for worker in workers {
                worker.join().unwrap();
            }
            stop.store(true, Ordering::Relaxed);
        });
        manager
            .audit()
            .unwrap_or_else(|fault| panic!("{policy}: {fault}"));
        // The remaining blocks are in order.
        for n in 0..CONTENTS {
            let of = Priority::new(n as u8 % 101).unwrap();
            manager.set_retention(&[hash(n)], .., Retention::new(of));
        }
        let (_blocks, evicted) = evict(&manager, BLOCKS);
        let order: Vec<_> = (0..CONTENTS)
            .map(hash)
            .filter(|hash| evicted.contains(hash))
            .collect();
        assert_eq!(evicted, order, "{policy}");
    }
}

fn work(manager: &Manager, worker: u64, contents: u64) {
    for round in 0..3_000 {
        let n = (round * 7 + worker * 31) % contents;
        let block = match manager.match_one(hash(n)) {
            Some(block) => block,
            None => register(manager, hash(n)),
        };
        assert_eq!(block.sequence_hash(), hash(n));
        if round % 3 == 0 {
            block.set_retention(priority(n as u8));
        }
        let _: SequenceHash = block.sequence_hash();
    }
}
