//! What else the documentation says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, stream};
use kvbm_lockfree::events::protocol::EventReleaseHandle;
use kvbm_lockfree::events::{
    EventEmissionPolicy, EventsManager, EventsManagerSettings, KvCacheEvent, KvCacheEvents,
    KvbmCacheEvents, KvbmCacheEventsPublisher,
};
use kvbm_lockfree::pubsub::Publisher;
use kvbm_lockfree::{BlockRegistry, SequenceHash};
use tokio::sync::broadcast;

use super::{available, hash};

fn create(position: u64) -> KvCacheEvent {
    KvCacheEvent::Create(hash(position))
}

fn remove(position: u64) -> KvCacheEvent {
    KvCacheEvent::Remove(hash(position))
}

#[test]
fn a_handle_of_another_registry_is_followed() {
    let events = EventsManager::builder().build();
    let mut subscription = Box::pin(events.subscribe());
    let handle = BlockRegistry::new().register_sequence_hash(hash(1));
    events.on_block_registered(&handle).unwrap();
    // Once more is the same registration.
    events.on_block_registered(&handle).unwrap();
    assert_eq!(available(&mut subscription), [create(1)]);
    drop(handle);
    assert_eq!(available(&mut subscription), [remove(1)]);
}

#[test]
fn a_handle_of_its_own_registry_is_followed_already() {
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder()
        .event_manager(Arc::clone(&events))
        .build();
    let handle = registry.register_sequence_hash(hash(1));
    events.on_block_registered(&handle).unwrap();
    drop(handle);
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
}

#[test]
fn a_refused_attachment_takes_its_event_back() {
    let events = EventsManager::builder().build();
    let mut subscription = Box::pin(events.subscribe());
    let (channel, _) = broadcast::channel(1);
    let handle = BlockRegistry::new().register_sequence_hash(hash(1));
    let other = Arc::new(EventReleaseHandle::new(hash(1), channel));
    handle.attach(other).unwrap();
    events.on_block_registered(&handle).unwrap_err();
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
    drop(handle);
    assert_eq!(available(&mut subscription), []);
}

#[test]
fn a_release_handle_tells_its_channel() {
    let (channel, mut receiver) = broadcast::channel(1);
    drop(EventReleaseHandle::new(hash(1), channel));
    assert_eq!(receiver.try_recv(), Ok(remove(1)));
}

/// Panics, or says yes.
struct Panics(Mutex<bool>);

impl EventEmissionPolicy for Panics {
    fn should_emit(&self, _seq_hash: SequenceHash) -> bool {
        assert!(
            !*self.0.lock().unwrap_or_else(|e| e.into_inner()),
            "asked for"
        );
        true
    }
}

#[test]
fn a_policy_that_panics_leaves_nothing_behind() {
    let policy = Arc::new(Panics(Mutex::new(true)));
    let events = Arc::new(
        EventsManager::builder()
            .policy(Arc::clone(&policy) as _)
            .build(),
    );
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        registry.register_sequence_hash(hash(1))
    }));
    assert!(panic.is_err());
    assert!(!registry.is_registered(hash(1)));
    *policy.0.lock().unwrap_or_else(|e| e.into_inner()) = false;
    drop(registry.register_sequence_hash(hash(1)));
    assert_eq!(available(&mut subscription), [create(1), remove(1)]);
}

#[test]
fn impossible_capacities_are_refused() {
    for capacity in [0, usize::MAX] {
        let error = EventsManagerSettings::builder()
            .channel_capacity(capacity)
            .build()
            .err()
            .unwrap();
        assert!(error.to_string().contains(&capacity.to_string()), "{error}");
        let built = catch_unwind(|| EventsManager::builder().channel_capacity(capacity).build());
        assert!(built.is_err());
    }
}

#[test]
fn a_stream_ends_with_the_last_that_could_emit() {
    let events = Arc::new(EventsManager::builder().build());
    let mut subscription = Box::pin(events.subscribe());
    let registry = BlockRegistry::builder().event_manager(events).build();
    let handle = registry.register_sequence_hash(hash(1));
    drop(registry);
    assert_eq!(available(&mut subscription), [create(1)]);
    assert_eq!(subscription.next().now_or_never(), None);
    drop(handle);
    assert_eq!(available(&mut subscription), [remove(1)]);
    assert_eq!(subscription.next().now_or_never(), Some(None));
}

/// Refuses every other message, and keeps the rest.
#[derive(Default)]
struct Bus {
    asked: Mutex<u32>,
    kept: Mutex<Vec<(String, Bytes)>>,
}

impl Publisher for Bus {
    fn publish(&self, subject: &str, payload: Bytes) -> anyhow::Result<()> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        anyhow::ensure!(*asked % 2 == 1, "refused");
        self.kept
            .lock()
            .unwrap()
            .push((subject.to_owned(), payload));
        Ok(())
    }

    fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
        async { anyhow::bail!("never") }.boxed()
    }
}

#[tokio::test]
async fn a_publisher_goes_on_after_a_refusal() {
    let bus = Arc::new(Bus::default());
    KvbmCacheEventsPublisher::builder()
        .instance_id(3)
        .event_stream(stream::iter([create(1), remove(1), create(2), remove(2)]))
        .publisher(Arc::clone(&bus))
        .subject("a.subject")
        .build()
        .unwrap()
        .join()
        .await
        .unwrap();
    let kept: Vec<_> = bus
        .kept
        .lock()
        .unwrap()
        .iter()
        .map(|(subject, payload)| {
            assert_eq!(subject, "a.subject");
            rmp_serde::from_slice::<KvbmCacheEvents>(payload).unwrap()
        })
        .collect();
    let expected = [
        KvCacheEvents::Create(vec![hash(1)]),
        KvCacheEvents::Create(vec![hash(2)]),
        KvCacheEvents::Shutdown,
    ];
    assert_eq!(
        kept,
        expected.map(|events| KvbmCacheEvents {
            events,
            instance_id: 3
        })
    );
}

#[tokio::test]
async fn a_publisher_can_be_stopped() {
    let publisher = KvbmCacheEventsPublisher::builder()
        .instance_id(3)
        .event_stream(stream::pending())
        .publisher(Arc::new(Bus::default()))
        .build()
        .unwrap();
    assert!(!publisher.is_finished());
    publisher.abort();
    assert!(publisher.join().await.unwrap_err().is_cancelled());
}

#[test]
fn a_publisher_says_what_it_lacks() {
    let complete = || {
        KvbmCacheEventsPublisher::builder()
            .instance_id(3)
            .event_stream(stream::empty())
            .publisher(Arc::new(Bus::default()))
    };
    let error = complete().build().err().unwrap();
    assert!(error.to_string().contains("runtime"), "{error}");
    let without_stream = KvbmCacheEventsPublisher::builder::<stream::Empty<_>, Bus>()
        .instance_id(3)
        .publisher(Arc::new(Bus::default()));
    let error = without_stream.build().err().unwrap();
    assert!(error.to_string().contains("event_stream"), "{error}");
}
