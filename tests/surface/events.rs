//! Events, their batches and their publisher.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::kvbm;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::{StreamExt, stream};
use kvbm::events::batcher::{BatchingConfig, EventBatcher};
use kvbm::events::manager::{
    EventsManager, EventsManagerBuilder, EventsManagerSettings, EventsManagerSettingsBuilder,
};
use kvbm::events::policy::{AllEventsPolicy, EventEmissionPolicy, PowerOfTwoPolicy};
use kvbm::events::protocol::{
    EventReleaseHandle, InstanceId, KvCacheEvent, KvCacheEvents, KvbmCacheEvents,
};
use kvbm::events::publisher::{KvbmCacheEventsPublisher, KvbmCacheEventsPublisherBuilder};
use kvbm::pubsub::Publisher;
use kvbm::{BlockRegistry, SequenceHash};
use tokio::sync::broadcast;

fn hash(position: u64) -> SequenceHash {
    SequenceHash::new(10 + position, None, position)
}

/// Emits events for hashes at odd positions.
struct Odd;

impl EventEmissionPolicy for Odd {
    fn should_emit(&self, seq_hash: SequenceHash) -> bool {
        seq_hash.position() % 2 == 1
    }
}

/// A publisher that keeps its messages.
#[derive(Default)]
struct Kept(Mutex<Vec<(String, Bytes)>>);

impl Publisher for Kept {
    fn publish(&self, subject: &str, payload: Bytes) -> anyhow::Result<()> {
        self.0.lock().unwrap().push((subject.to_owned(), payload));
        Ok(())
    }

    fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
        async { Ok(()) }.boxed()
    }
}

fn subscribed(said: &mut Vec<String>) {
    let settings: EventsManagerSettingsBuilder = EventsManagerSettings::builder();
    let settings: EventsManagerSettings =
        settings.clone().channel_capacity(2_usize).build().unwrap();
    let from_settings = settings.into_manager();
    let events = Arc::new(
        EventsManagerBuilder::new()
            .policy(Arc::new(Odd))
            .channel_capacity(8)
            .build(),
    );
    let mut own = Box::pin(events.subscribe());
    let mut lossy = Box::pin(from_settings.subscribe_loss_aware());
    let registry = BlockRegistry::builder()
        .event_manager(Arc::clone(&events))
        .build();
    let handles = registry.register_sequence_hashes((0..4).map(hash));
    for handle in &handles {
        say!(said, from_settings.on_block_registered(handle).is_ok());
    }
    drop(handles);
    while let Some(Some(event)) = own.next().now_or_never() {
        say!(said, event);
    }
    while let Some(Some(event)) = lossy.next().now_or_never() {
        say!(said, event);
    }

    say!(said, AllEventsPolicy::new().should_emit(hash(3)));
    let policies = [
        PowerOfTwoPolicy::new(),
        PowerOfTwoPolicy::default(),
        PowerOfTwoPolicy::with_range(2, 4),
    ];
    for policy in policies {
        say!(
            said,
            [0, 2, 3, 4, 8, 16, 17, 65_536, 131_072].map(|at| policy.should_emit(hash(at)))
        );
    }

    let (sender, mut receiver) = broadcast::channel(1);
    drop(EventReleaseHandle::new(hash(5), sender));
    say!(said, receiver.try_recv());
    drop(EventsManager::builder().build());
}

async fn published(said: &mut Vec<String>) {
    let config = BatchingConfig::default();
    say!(said, (config.window_duration, config.max_batch_size));
    let config = config
        .with_window(Duration::from_secs(1))
        .with_max_size(NonZeroUsize::new(2).unwrap());
    let events = || {
        stream::iter([3, 1, 2].map(hash))
            .map(KvCacheEvent::Create)
            .chain(stream::iter([1, 2].map(hash)).map(KvCacheEvent::Remove))
    };
    let instance: InstanceId = 4;
    let batches = EventBatcher::new(config.clone(), instance).batch(events());
    say!(said, batches.collect::<Vec<KvbmCacheEvents>>().await);

    let bus = Arc::new(Kept::default());
    let builder = KvbmCacheEventsPublisherBuilder::new()
        .instance_id(instance)
        .event_stream(events())
        .publisher(Arc::clone(&bus))
        .batching_config(config)
        .subject("a.b");
    say!(said, builder.build().unwrap().join().await.is_ok());
    for (subject, payload) in bus.0.lock().unwrap().drain(..) {
        say!(said, (subject, &payload));
        let KvbmCacheEvents {
            events,
            instance_id,
        } = rmp_serde::from_slice(&payload).unwrap();
        say!(said, instance_id);
        match events {
            KvCacheEvents::Create(hashes) | KvCacheEvents::Remove(hashes) => say!(said, hashes),
            KvCacheEvents::Shutdown => say!(said, "the end"),
        }
    }
    let publisher: KvbmCacheEventsPublisher = KvbmCacheEventsPublisher::builder()
        .instance_id(instance)
        .event_stream(stream::pending())
        .publisher(bus)
        .build()
        .unwrap();
    say!(said, publisher.is_finished());
    publisher.abort();
    let incomplete = KvbmCacheEventsPublisherBuilder::<stream::Empty<_>, Kept>::default();
    say!(said, incomplete.build().is_err());
}

pub fn run() -> Vec<String> {
    let mut said = Vec::new();
    subscribed(&mut said);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(published(&mut said));
    said
}
