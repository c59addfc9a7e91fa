//! Subscriptions end, for one to a hundred thousand registrations and whatever is dropped last.

use futures::StreamExt;
use kvbm_lockfree::events::KvCacheEvent;

use super::*;

fn all_end(kind: Kind, count: u64) {
    let parts = if kind == Kind::Handles { 2 } else { 3 };
    for order in orders(parts) {
        for elsewhere in [false, true] {
            let what = format!("{count} {kind:?}, {order:?}, elsewhere: {elsewhere}");
            let events = Arc::new(
                EventsManager::builder()
                    .channel_capacity(4 * count as usize + 16)
                    .build(),
            );
            let stream = Box::pin(events.subscribe());
            let parts = set_up(kind, count, &events);
            drop(events);
            let_go(parts, &order, elsewhere);
            let seen: Vec<_> = ends(&what, || futures::executor::block_on(stream.collect()));
            let begun = |event: &&KvCacheEvent| matches!(event, KvCacheEvent::Create(_));
            let begun = seen.iter().filter(begun).count();
            assert_eq!(begun as u64, count, "{what}");
            assert_eq!(seen.len() as u64, 2 * count, "{what}");
            wait_for_threads();
        }
    }
}

#[test]
fn of_few_registrations() {
    let _turn = turn();
    for kind in KINDS {
        for count in [1, 2, 63, 64, 65, 129, 1_000] {
            all_end(kind, count);
        }
    }
}

#[test]
fn of_many_handles() {
    let _turn = turn();
    all_end(Kind::Handles, 100_000);
}

#[test]
fn of_many_blocks() {
    let _turn = turn();
    all_end(Kind::Guards, 100_000);
}

/// Nothing else polls: the end alone wakes a waiter.
#[test]
fn a_waiter_is_woken_by_the_end() {
    let _turn = turn();
    for kind in KINDS {
        let events = Arc::new(EventsManager::builder().build());
        let stream = Box::pin(events.subscribe());
        let parts = set_up(kind, 65, &events);
        drop(events);
        let waiter = thread::spawn(|| futures::executor::block_on(stream.count()));
        let last = parts.len() - 1;
        let order: Vec<_> = (0..=last).collect();
        let_go(parts, &order, false);
        let count = ends("a waiter", || waiter.join().unwrap());
        assert_eq!(count, 2 * 65);
        wait_for_threads();
    }
}

/// Everything is dropped while a clearing is in progress in the background.
#[test]
fn after_a_clearing() {
    let _turn = turn();
    for count in [1, 65, 10_000] {
        let events = Arc::new(EventsManager::builder().channel_capacity(4 * count).build());
        let stream = Box::pin(events.subscribe());
        let registry = BlockRegistry::builder().event_manager(events).build();
        let manager = BlockManager::<Tier>::builder()
            .block_count(count)
            .block_size(16)
            .registry(registry.clone())
            .build()
            .unwrap();
        let blocks = manager.allocate_blocks(count).unwrap();
        let complete = blocks
            .into_iter()
            .zip(0..)
            .map(|(block, content)| block.stage(SequenceHash::root(content), 16).unwrap());
        drop(manager.register_blocks(complete.collect()));
        manager.clear_inactive_pool();
        drop(manager);
        assert_eq!(registry.registered_count(), 0);
        drop(registry);
        let seen = ends("after a clearing", || {
            futures::executor::block_on(stream.count())
        });
        assert_eq!(seen, 2 * count);
        wait_for_threads();
    }
}
