//! Messages that are too large, and batches that are split to fit.

use std::num::NonZeroUsize;

use async_nats::jetstream::context::CreateStreamError;
use kvbm_lockfree::events::KvCacheEvent;

use super::proxy::Proxy;
use super::*;

/// More than 1 MiB of events.
const MANY: u64 = 60_000;

fn hashes() -> Vec<SequenceHash> {
    (0..MANY)
        .map(|position| SequenceHash::new(position + 1, None, position))
        .collect()
}

/// Publishes many registrations in one batch, then joins the publisher.
async fn publish_many(bus: NatsPublisher) {
    let bus = Arc::new(bus);
    let batching = BatchingConfig::default()
        .with_window(Duration::MAX)
        .with_max_size(NonZeroUsize::MAX);
    KvbmCacheEventsPublisher::builder()
        .instance_id(5)
        .event_stream(futures::stream::iter(
            hashes().into_iter().map(KvCacheEvent::Create),
        ))
        .publisher(Arc::clone(&bus))
        .batching_config(batching)
        .subject(SUBJECT)
        .build()
        .unwrap()
        .join()
        .await
        .unwrap();
    assert_eq!((bus.waiting(), bus.lost()), (0, 0));
}

#[test]
fn a_batch_that_no_message_can_hold_is_split() {
    run(async |server| {
        let client = connect(&server).await;
        let mut messages = client.subscribe(SUBJECT).await.unwrap();
        publish_many(NatsPublisher::builder(client).build().await.unwrap()).await;
        let mut created = Vec::new();
        let mut parts = 0;
        loop {
            let message = messages.next().await.unwrap();
            let message: KvbmCacheEvents = rmp_serde::from_slice(&message.payload).unwrap();
            match message.events {
                KvCacheEvents::Create(hashes) => created.extend(hashes),
                KvCacheEvents::Shutdown => break,
                KvCacheEvents::Remove(_) => panic!("nothing was removed"),
            }
            parts += 1;
        }
        assert_eq!(created, hashes());
        assert!(parts > 1);
    });
}

#[test]
fn a_batch_that_the_stream_cannot_hold_is_split() {
    run(async |server| {
        let narrow = stream::Config {
            max_message_size: 100_000,
            ..config()
        };
        let bus = NatsPublisher::builder(connect(&server).await).stream(narrow);
        let bus = bus.build().await.unwrap();
        assert!(bus.max_payload().unwrap() < 100_000);
        publish_many(bus).await;
        let context = async_nats::jetstream::new(connect(&server).await);
        let mut stream = context.get_stream(STREAM).await.unwrap();
        let last = stream.info().await.unwrap().state.last_sequence;
        let mut created = Vec::new();
        for number in 1..last {
            let message = stream.get_raw_message(number).await.unwrap();
            let message: KvbmCacheEvents = rmp_serde::from_slice(&message.payload).unwrap();
            let KvCacheEvents::Create(hashes) = message.events else {
                panic!("a shutdown before the last message");
            };
            created.extend(hashes);
        }
        assert_eq!(created, hashes());
    });
}

/// A payload of exactly the largest size is delivered.
#[test]
fn the_largest_message_arrives() {
    run_with("max_payload: 2000", async |server| {
        let client = connect(&server).await;
        let mut messages = client.subscribe(SUBJECT).await.unwrap();
        let bus = NatsPublisher::builder(client).build().await.unwrap();
        say(&bus, "connected");
        flushed(&bus).await.unwrap();
        assert_eq!(heard(&mut messages).await, "connected");
        assert_eq!(bus.max_payload(), Some(2000));
        let largest = "x".repeat(2000);
        say(&bus, &largest);
        flushed(&bus).await.unwrap();
        assert_eq!(heard(&mut messages).await, largest);

        let stored = stored(connect(&server).await).await;
        let max = stored.max_payload().unwrap();
        assert!((1700..2000).contains(&max), "{max}");
        say(&stored, &"x".repeat(max));
        flushed(&stored).await.unwrap();
        assert_eq!(all_stored(&server).await[0].len(), max);
    });
}

/// Until there is a connection, the server's limit is unknown.
#[test]
fn a_message_that_turns_out_too_large_holds_up_nothing() {
    run_with("max_payload: 2000", async |server| {
        let mut messages = listen(&server).await;
        let proxy = Proxy::new(server.port()).await;
        proxy.refuse();
        let client = ConnectOptions::new()
            .retry_on_initial_connect()
            .reconnect_delay_callback(|_| Duration::from_millis(20))
            .connect(proxy.address())
            .await
            .unwrap();
        let bus = NatsPublisher::builder(client).build().await.unwrap();
        assert_eq!(bus.max_payload(), Some(1 << 20));
        say(&bus, "before");
        say(&bus, &"x".repeat(10_000));
        say(&bus, "after");
        proxy.relay();
        let error = flushed(&bus).await.unwrap_err();
        let NatsError::Lost {
            messages: 1,
            reason,
        } = error
        else {
            panic!("{error}");
        };
        assert!(reason.contains("10000 bytes"), "{reason}");
        assert_eq!(heard(&mut messages).await, "before");
        assert_eq!(heard(&mut messages).await, "after");
        assert_eq!(bus.lost(), 1);
    });
}

#[test]
fn a_message_that_the_stream_refuses_holds_up_nothing() {
    run(async |server| {
        let client = connect(&server).await;
        let bus = stored(client.clone()).await;
        let context = async_nats::jetstream::new(client);
        let narrow = stream::Config {
            max_message_size: 1000,
            ..config()
        };
        let updated: Result<_, CreateStreamError> = context.update_stream(narrow).await;
        updated.unwrap();
        say(&bus, "before");
        say(&bus, &"x".repeat(2000));
        say(&bus, "after");
        let error = flushed(&bus).await.unwrap_err();
        let NatsError::Lost {
            messages: 1,
            reason,
        } = error
        else {
            panic!("{error}");
        };
        assert!(reason.contains("maximum"), "{reason}");
        assert_eq!(all_stored(&server).await, ["before", "after"]);
        assert_eq!(bus.lost(), 1);
        // The limit is known from now on.
        assert!(bus.max_payload().unwrap() < 1000);
        let refused = bus.publish(SUBJECT, vec![0; 2000].into()).unwrap_err();
        let refused = refused.downcast::<NatsError>().unwrap();
        assert!(matches!(refused, NatsError::TooLarge { .. }), "{refused}");
    });
}
