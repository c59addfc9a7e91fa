//! Batches are the same as the reference's; when a batch is complete; and their order.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use kvbm_lockfree::events as ours;
use kvbm_lockfree::{BlockManager, BlockRegistry, SequenceHash};
use kvbm_logical::events as reference;
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::hash;

/// A window so long that it never completes a batch.
const LONG: Duration = Duration::from_secs(600);

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_batches(
        events in prop::collection::vec((any::<bool>(), 0..50_u64), 0..100),
        size in 1..20_usize,
    ) {
        let size = NonZeroUsize::new(size).unwrap();
        let input = events.clone().into_iter().map(|(is_create, at)| {
            if is_create {
                ours::KvCacheEvent::Create(hash(at))
            } else {
                ours::KvCacheEvent::Remove(hash(at))
            }
        });
        let config = ours::BatchingConfig::default().with_window(LONG).with_max_size(size);
        let ours: Vec<_> = run(ours::EventBatcher::new(config, 5).batch(stream::iter(input.collect::<Vec<_>>())).collect());

        let input = events.into_iter().map(|(is_create, at)| {
            if is_create {
                reference::KvCacheEvent::Create(hash(at))
            } else {
                reference::KvCacheEvent::Remove(hash(at))
            }
        });
        let config = reference::BatchingConfig::default().with_window(LONG).with_max_size(size);
        let reference: Vec<_> = run(reference::EventBatcher::new(config, 5).batch(stream::iter(input.collect::<Vec<_>>())).collect());

        prop_assert_eq!(
            ours.iter().map(|batch| serde_json::to_string(batch).unwrap()).collect::<Vec<_>>(),
            reference.iter().map(|batch| serde_json::to_string(batch).unwrap()).collect::<Vec<_>>()
        );
    }
}

/// The runtime's clock is paused while tasks are runnable, so times are exact.
#[test]
fn the_first_event_waits_for_the_window() {
    run(async {
        let (sender, receiver) = mpsc::unbounded_channel();
        let config = ours::BatchingConfig::default().with_window(Duration::from_millis(10));
        let batches =
            ours::EventBatcher::new(config, 5).batch(UnboundedReceiverStream::new(receiver));
        let mut batches = Box::pin(batches);
        let begin = Instant::now();
        let sending = tokio::spawn(async move {
            for at in 0..30 {
                sender.send(ours::KvCacheEvent::Create(hash(at))).unwrap();
                sleep(Duration::from_millis(1)).await;
            }
            sleep(Duration::from_millis(100)).await;
            sender.send(ours::KvCacheEvent::Create(hash(30))).unwrap();
            sleep(Duration::from_millis(100)).await;
        });
        let mut seen = 0;
        let mut last = Duration::ZERO;
        while let Some(batch) = batches.next().await {
            let ours::KvCacheEvents::Create(hashes) = batch.events else {
                panic!("{batch:?}");
            };
            assert!(hashes.len() <= 11, "{} events in 10 ms", hashes.len());
            seen += hashes.len();
            last = begin.elapsed();
        }
        sending.await.unwrap();
        assert_eq!(seen, 31);
        // The window begins with the event, however long the silence before it.
        let waited = last - Duration::from_millis(130);
        assert!(
            (10..=12).contains(&waited.as_millis()),
            "the last waited {waited:?}"
        );
    });
}

/// The end of such a window is beyond the clock's range.
#[test]
fn a_window_without_end_waits_for_a_full_batch_another_kind_or_the_end() {
    let half = Duration::from_secs(u64::MAX / 4);
    let forever = [Duration::MAX, Duration::MAX / 2, half, YEAR * 100];
    for window in forever {
        run(async {
            let (sender, receiver) = mpsc::unbounded_channel();
            let config = ours::BatchingConfig::default()
                .with_window(window)
                .with_max_size(NonZeroUsize::new(3).unwrap());
            let batches =
                ours::EventBatcher::new(config, 5).batch(UnboundedReceiverStream::new(receiver));
            let mut batches = Box::pin(batches);
            // After a pause, so that a deadline that was not moved has passed.
            let mut waits = async || {
                tokio::select! {
                    batch = batches.next() => batch.map(|batch| batch.events),
                    () = sleep(LONG) => Some(ours::KvCacheEvents::Shutdown),
                }
            };
            let none = Some(ours::KvCacheEvents::Shutdown);
            let create = |at| sender.send(ours::KvCacheEvent::Create(hash(at))).unwrap();
            assert_eq!(waits().await, none);
            create(1);
            assert_eq!(waits().await, none, "{window:?}");
            create(2);
            assert_eq!(waits().await, none, "{window:?}");
            create(3);
            let full = ours::KvCacheEvents::Create(vec![hash(1), hash(2), hash(3)]);
            assert_eq!(waits().await, Some(full));
            create(4);
            assert_eq!(waits().await, none);
            sender.send(ours::KvCacheEvent::Remove(hash(4))).unwrap();
            let of_one_kind = ours::KvCacheEvents::Create(vec![hash(4)]);
            assert_eq!(waits().await, Some(of_one_kind));
            assert_eq!(waits().await, none);
            drop(sender);
            let last = ours::KvCacheEvents::Remove(vec![hash(4)]);
            assert_eq!(waits().await, Some(last));
            assert_eq!(waits().await, None);
        });
    }
}

#[test]
fn without_a_window_no_event_waits_for_others() {
    run(async {
        let (sender, receiver) = mpsc::unbounded_channel();
        let config = ours::BatchingConfig::default()
            .with_window(Duration::ZERO)
            .with_max_size(NonZeroUsize::MAX);
        let batches =
            ours::EventBatcher::new(config, 5).batch(UnboundedReceiverStream::new(receiver));
        let mut batches = Box::pin(batches);
        for at in 0..10 {
            let begin = Instant::now();
            sender.send(ours::KvCacheEvent::Create(hash(at))).unwrap();
            let batch = batches.next().await.unwrap();
            assert_eq!(batch.events, ours::KvCacheEvents::Create(vec![hash(at)]));
            // The runtime's timer is precise to a millisecond.
            assert!(begin.elapsed() <= Duration::from_millis(1));
            sleep(Duration::from_millis(3)).await;
        }
    });
}

/// However fast events arrive, the task yields its thread to others.
#[test]
fn a_steady_stream_of_events_stops_no_other_task() {
    run(async {
        let events = stream::repeat(ours::KvCacheEvent::Create(hash(1)));
        let config = ours::BatchingConfig::default()
            .with_window(LONG)
            .with_max_size(NonZeroUsize::MAX);
        let batches = ours::EventBatcher::new(config, 5).batch(events);
        let batching = tokio::spawn(async move { Box::pin(batches).next().await });
        tokio::task::yield_now().await;
        batching.abort();
        assert!(batching.await.unwrap_err().is_cancelled());
    });
}

/// Returns a chain, and its events when it is registered children first, released parents
/// first, and evicted by LRU.
fn events_against_the_tree(len: u64) -> (Vec<ours::KvCacheEvent>, Vec<SequenceHash>) {
    let events = Arc::new(ours::EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let manager = BlockManager::<()>::builder()
        .block_count(len as usize)
        .block_size(16)
        .registry(registry)
        .with_lru_backend()
        .build()
        .unwrap();
    let root = SequenceHash::root(1);
    let chain: Vec<_> = (2..)
        .scan(root, |last, content| {
            Some(std::mem::replace(last, last.extend(content)))
        })
        .take(len as usize)
        .collect();
    let held: Vec<_> = (chain.iter().rev())
        .map(|&hash| {
            let block = manager.allocate_one().unwrap();
            manager.register_block(block.stage(hash, 16).unwrap())
        })
        .collect();
    held.into_iter().rev().for_each(drop);
    let all = manager.allocate_blocks(chain.len()).unwrap();
    assert_eq!(all.len(), chain.len());
    (super::available(&mut subscription), chain)
}

fn batches_of(events: Vec<ours::KvCacheEvent>, size: NonZeroUsize) -> Vec<ours::KvCacheEvents> {
    let config = ours::BatchingConfig::default()
        .with_window(LONG)
        .with_max_size(size);
    let batches = ours::EventBatcher::new(config, 5).batch(stream::iter(events));
    run(batches.map(|batch| batch.events).collect())
}

#[test]
fn within_a_batch_parents_are_created_first_and_removed_last() {
    let (events, chain) = events_against_the_tree(8);
    let leaves_first: Vec<_> = chain.iter().rev().copied().collect();
    assert_eq!(
        batches_of(events, NonZeroUsize::MAX),
        [
            ours::KvCacheEvents::Create(chain),
            ours::KvCacheEvents::Remove(leaves_first),
        ]
    );
}

/// This is why a consumer must keep orphans, and drop them only by their own `Remove`.
#[test]
fn across_batches_children_may_be_without_their_parents() {
    let (events, chain) = events_against_the_tree(8);
    let mut known = Vec::new();
    let mut orphans = 0;
    for batch in batches_of(events, NonZeroUsize::new(3).unwrap()) {
        match batch {
            ours::KvCacheEvents::Create(hashes) => known.extend(hashes),
            ours::KvCacheEvents::Remove(hashes) => {
                assert!(hashes.iter().all(|hash| known.contains(hash)));
                known.retain(|hash| !hashes.contains(hash));
            }
            ours::KvCacheEvents::Shutdown => unreachable!("a batcher emits no shutdown"),
        }
        let parents = chain.iter().zip(&chain[1..]);
        orphans += parents
            .filter(|(parent, child)| known.contains(child) && !known.contains(parent))
            .count();
    }
    // After two of the three batches of each kind, one known block has an unknown parent.
    assert_eq!(orphans, 4);
    assert_eq!(known, []);
}
