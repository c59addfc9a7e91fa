//! Batches: the reference's, and when one is complete.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::{StreamExt, stream};
use kvbm_lockfree::events as ours;
use kvbm_logical::events as reference;
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::hash;

/// Long enough that batches are never complete for it.
const LONG: Duration = Duration::from_secs(600);

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

/// The runtime's clock stands still while there is something to do, so times are exact.
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
        // The window begins with the event, however long nothing came before it.
        let waited = last - Duration::from_millis(130);
        assert!(
            (10..=12).contains(&waited.as_millis()),
            "the last waited {waited:?}"
        );
    });
}

#[test]
fn a_window_without_end_is_none() {
    let config = ours::BatchingConfig::default().with_window(Duration::MAX);
    let events = stream::iter([ours::KvCacheEvent::Create(hash(1))]);
    let batches: Vec<_> = run(ours::EventBatcher::new(config, 5).batch(events).collect());
    assert_eq!(batches.len(), 1);
}
