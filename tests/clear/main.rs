//! Clearing the inactive pool: what is cleared, what stays, and which events are emitted.
//!
//! * `round`: which blocks are handed out afterwards, and how far an allocation looks for them.
//! * `reset`: the same block by block, beside releases and without the eviction order.

mod reset;
mod round;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use kvbm_lockfree::blocks::BlockRegistrationHandle;
use kvbm_lockfree::{BlockManager, BlockRegistry, ImmutableBlock, SequenceHash};

const BLOCKS: usize = 8;

#[derive(Clone, Debug)]
struct Gpu;

fn pool(registry: &BlockRegistry) -> BlockManager<Gpu> {
    BlockManager::builder()
        .block_count(BLOCKS)
        .block_size(16)
        .registry(registry.clone())
        .build()
        .unwrap()
}

fn hash(content: u64) -> SequenceHash {
    SequenceHash::root(content)
}

fn register(manager: &BlockManager<Gpu>, content: u64) -> ImmutableBlock<Gpu> {
    let block = manager.allocate_one().expect("there is room");
    manager.register_block(block.stage(hash(content), 16).unwrap())
}

fn is_attached(handle: &BlockRegistrationHandle) -> bool {
    handle.get::<u32>().with_unique(|_| ()).is_some()
}

#[test]
fn inactive_content_is_forgotten_and_active_content_stays() {
    let registry = BlockRegistry::new();
    let manager = pool(&registry);
    let active = register(&manager, 0);
    for content in 1..5 {
        drop(register(&manager, content));
    }
    manager.clear_inactive_pool();

    assert_eq!(manager.available_blocks(), BLOCKS - 1);
    let gauges = manager.metrics().snapshot();
    assert_eq!(gauges.inactive_pool_size, 0);
    assert_eq!(gauges.reset_pool_size, BLOCKS as i64 - 1);
    assert_eq!(manager.audit().unwrap().forgotten, 4);
    for content in 1..5 {
        assert!(manager.match_blocks(&[hash(content)]).is_empty());
        assert!(!registry.is_registered(hash(content)));
        assert!(registry.match_sequence_hash(hash(content), false).is_none());
    }
    let presence = registry.check_presence::<Gpu>(&[hash(0), hash(1)]);
    assert_eq!(presence, [(hash(0), true), (hash(1), false)]);
    assert_eq!(registry.registered_count(), 1);

    // It was active during the clearing, so it is cached when released later.
    drop(active);
    assert_eq!(manager.match_blocks(&[hash(0)]).len(), 1);

    let (blocks, evicted) = manager.allocate_blocks_with_evictions(BLOCKS).unwrap();
    assert_eq!(evicted, [hash(0)], "what was forgotten is not evicted");
    assert_eq!(manager.metrics().snapshot().evictions, 1);
    drop(blocks);
    assert_eq!(manager.audit().unwrap().free, BLOCKS);
}

#[test]
fn a_forgotten_hash_begins_anew() {
    let registry = BlockRegistry::new();
    let manager = pool(&registry);
    let block = register(&manager, 1);
    let forgotten = block.block_id();
    block.registration_handle().attach_unique(7_u32).unwrap();
    drop(block);
    manager.clear_inactive_pool();
    let block = register(&manager, 1);
    assert_ne!(block.block_id(), forgotten);
    let handle = block.registration_handle();
    assert!(!is_attached(&handle));
    drop((block, handle));
    assert_eq!(manager.match_blocks(&[hash(1)]).len(), 1);
}

#[test]
fn a_handle_keeps_its_hash_and_what_is_attached() {
    let registry = BlockRegistry::new();
    let manager = pool(&registry);
    let handle = {
        let block = register(&manager, 1);
        block.registration_handle()
    };
    handle.attach_unique(7_u32).unwrap();
    manager.clear_inactive_pool();
    assert!(registry.is_registered(hash(1)));
    assert!(!handle.has_block::<Gpu>());
    drop(register(&manager, 1));
    assert!(handle.has_block::<Gpu>());
    assert!(is_attached(&handle));
}

struct Attachment(Arc<AtomicUsize>);

impl Drop for Attachment {
    fn drop(&mut self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[test]
fn attachments_end_with_their_blocks() {
    let registry = BlockRegistry::new();
    let manager = pool(&registry);
    let dropped = Arc::new(AtomicUsize::new(0));
    for content in 0..4 {
        let block = register(&manager, content);
        let handle = block.registration_handle();
        handle.attach(Attachment(Arc::clone(&dropped))).unwrap();
    }
    manager.clear_inactive_pool();
    assert_eq!(dropped.load(Relaxed), 0);
    // Four blocks were free, so all of the forgotten ones are handed out too.
    let blocks = manager.allocate_blocks(BLOCKS).unwrap();
    assert_eq!(dropped.load(Relaxed), 4);
    drop(blocks);
}

/// There are more clearings than distinct eras in a slot, so eras wrap around.
#[test]
fn what_was_forgotten_long_ago_stays_forgotten() {
    let registry = BlockRegistry::new();
    let manager = pool(&registry);
    drop(register(&manager, 1));
    for clearings in 1..200_000 {
        manager.clear_inactive_pool();
        assert!(
            manager.match_blocks(&[hash(1)]).is_empty(),
            "after {clearings} clearings"
        );
    }
    assert_eq!(manager.available_blocks(), BLOCKS);
    manager.audit().unwrap();
}

/// Clearings alternate with releases, so blocks of several eras are in the eviction order.
#[test]
fn clearings_follow_one_another() {
    let registry = BlockRegistry::new();
    let manager = pool(&registry);
    for round in 0..50 {
        for content in 0..BLOCKS as u64 / 2 {
            drop(register(&manager, round * 100 + content));
        }
        manager.clear_inactive_pool();
        let kept: Vec<_> = (0..3)
            .map(|at| register(&manager, round * 100 + at))
            .collect();
        manager.clear_inactive_pool();
        drop(kept);
        let prefix = manager.match_blocks_scattered(&[0, 1, 2, 3].map(|at| hash(round * 100 + at)));
        let found: Vec<_> = prefix.iter().map(Option::is_some).collect();
        assert_eq!(found, [true, true, true, false]);
        drop(prefix);
        manager.audit().unwrap();
    }
}

#[cfg(feature = "events")]
mod events {
    use futures::StreamExt;
    use kvbm_lockfree::events::{EventsManager, KvCacheEvent};

    use super::*;

    #[test]
    fn a_clearing_is_announced_from_the_background() {
        let events = Arc::new(EventsManager::builder().build());
        let stream = Box::pin(events.subscribe());
        let registry = BlockRegistry::builder().event_manager(events).build();
        let manager = pool(&registry);
        let active = register(&manager, 0);
        for content in 1..5 {
            drop(register(&manager, content));
        }
        manager.clear_inactive_pool();

        // Five registrations begin, and four end without any further call.
        let seen: Vec<_> = futures::executor::block_on(stream.take(9).collect());
        let (begun, mut ended) = seen.split_at(5);
        assert_eq!(
            begun,
            [0, 1, 2, 3, 4].map(|at| KvCacheEvent::Create(hash(at)))
        );
        for content in 1..5 {
            let end = KvCacheEvent::Remove(hash(content));
            assert!(ended.contains(&end), "{ended:?}");
        }
        ended = &ended[4..];
        assert!(ended.is_empty());
        let report = manager.audit().unwrap();
        assert_eq!(report.free + report.forgotten, BLOCKS - 1);
        drop(active);
    }
}
