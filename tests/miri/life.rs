//! Blocks are allocated, registered, matched and released on several threads, with directives,
//! clearings, leases, resets and duplicates.

use std::thread;
use std::time::Duration;

use kvbm_lockfree::retention::{Priority, Retention};

use super::*;

const CONTENTS: u64 = 4;

fn one_round(manager: &Manager, seed: u64) {
    for step in 0..10 {
        let content = (seed * 7 + step * 3) % CONTENTS;
        match (seed + step) % 7 {
            0 | 1 => {
                if let Some(block) = manager.allocate_one() {
                    drop(register(manager, block, hash(content)));
                }
            }
            2 => {
                let blocks = manager.match_blocks(&[hash(content), hash(content + 1)]);
                if let Some(block) = blocks.first() {
                    assert_eq!(block.sequence_hash(), hash(content));
                    block.set_retention(Retention::new(Priority::HIGHEST));
                }
                drop(blocks);
            }
            3 => {
                let for_a_moment =
                    Retention::new(Priority::LOWEST).for_duration(Duration::from_millis(1));
                manager.set_retention(&[hash(content)], .., for_a_moment);
            }
            4 => manager.clear_inactive_pool(),
            5 => {
                let found = manager.match_blocks_scattered(&[hash(0), hash(1)]);
                let found: Vec<_> = found.into_iter().flatten().collect();
                drop(manager.lease(found, "client", Some(Duration::ZERO)));
            }
            _ => {
                let _ = manager.reset_inactive_pool();
                let mut blocks = Vec::new();
                let _ = manager.allocate_into(2, &mut blocks);
                manager.free_from(&mut blocks);
                manager.match_into(&[hash(content)], &mut Vec::new());
            }
        }
    }
}

fn live(manager: Manager) {
    thread::scope(|scope| {
        for seed in 0..2 {
            let manager = &manager;
            scope.spawn(move || one_round(manager, seed));
        }
        one_round(&manager, 2);
        manager.holders();
        manager.metrics().snapshot();
    });
    assert_eq!(manager.available_blocks(), BLOCKS);
    manager.audit().unwrap();
}

#[test]
fn least_recently_released() {
    live(lru(&BlockRegistry::new()));
}

#[test]
fn leaves_first() {
    live(lineage(&BlockRegistry::new()));
}

#[test]
fn by_worth() {
    let registry = BlockRegistry::new();
    live(builder(&registry).with_lrfu_backend().build().unwrap());
}

#[test]
fn reset_when_released() {
    let registry = BlockRegistry::new();
    let manager = builder(&registry).with_default_reset_on_release(true);
    live(manager.build().unwrap());
}

#[cfg(feature = "events")]
#[test]
fn with_events() {
    use std::sync::Arc;

    use futures::StreamExt;
    use kvbm_lockfree::events::{EventsManager, KvCacheEvent};

    let events = Arc::new(EventsManager::builder().build());
    let stream = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    live(lru(&registry));
    drop(registry);
    let mut registered = std::collections::HashSet::new();
    for event in futures::executor::block_on(stream.collect::<Vec<_>>()) {
        match event {
            KvCacheEvent::Create(hash) => assert!(registered.insert(hash)),
            KvCacheEvent::Remove(hash) => assert!(registered.remove(&hash)),
        }
    }
    assert!(registered.is_empty());
}
