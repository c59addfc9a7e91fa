//! What a publisher sends, and how it copes with a bus that refuses or panics.

use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::{Stream, stream};
use kvbm_lockfree::events::{
    BatchingConfig, KvCacheEvent, KvCacheEvents, KvbmCacheEvents, KvbmCacheEventsPublisher,
};
use kvbm_lockfree::pubsub::Publisher;
use tokio::task::JoinError;
use tracing::field::Field;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::{create, hash, remove};

/// A bus that refuses every other message, and keeps the rest.
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

/// Returns the report of a publisher whose join failed.
fn report(joined: Result<(), JoinError>) -> String {
    let report = joined.unwrap_err().into_panic();
    *report.downcast().expect("a report is a string")
}

#[tokio::test]
async fn a_publisher_goes_on_after_a_refusal() {
    let bus = Arc::new(Bus::default());
    let joined = KvbmCacheEventsPublisher::builder()
        .instance_id(3)
        .event_stream(stream::iter([create(1), remove(1), create(2), remove(2)]))
        .publisher(Arc::clone(&bus))
        .subject("a.subject")
        .build()
        .unwrap()
        .join()
        .await;
    assert_eq!(
        report(joined),
        "2 messages were not published; the last one because: refused; the flush failed: never"
    );
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

/// Where a [`Moody`] bus panics.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    /// When it publishes the message of this number.
    Publish(usize),
    /// When it is asked to flush.
    Flush,
    /// When the flush is polled.
    Flushing,
    /// When the flush is dropped.
    Flushed,
    /// When the error for the first message is displayed.
    Display,
    /// When the error for the first message is dropped.
    Refusal,
    /// When it is dropped.
    Drop,
}

/// Panics when it is dropped.
#[derive(Debug, thiserror::Error)]
#[error("a bomb")]
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // The payload's drop panics as well.
        std::panic::panic_any(Another);
    }
}

struct Another;

impl Drop for Another {
    fn drop(&mut self) {
        panic!("asked for, once more");
    }
}

/// Panics when it is displayed.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("asked for");
    }
}

impl std::error::Error for Unspeakable {}

/// A log subscriber that displays errors.
struct Log;

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut display = |_: &Field, value: &dyn std::fmt::Debug| drop(format!("{value:?}"));
        event.record(&mut display);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Moody {
    mood: Mood,
    asked: Mutex<usize>,
    kept: Arc<Mutex<Vec<KvbmCacheEvents>>>,
}

impl Publisher for Moody {
    fn publish(&self, _subject: &str, payload: Bytes) -> anyhow::Result<()> {
        let asked = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            *asked += 1;
            *asked - 1
        };
        match self.mood {
            Mood::Publish(at) if at == asked => drop(Bomb),
            Mood::Display if asked == 0 => return Err(Unspeakable.into()),
            Mood::Refusal if asked == 0 => return Err(Bomb.into()),
            _ => {}
        }
        let message = rmp_serde::from_slice(&payload).unwrap();
        self.kept.lock().unwrap().push(message);
        Ok(())
    }

    fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
        assert!(self.mood != Mood::Flush, "asked for");
        let bomb = (self.mood == Mood::Flushed).then(|| Bomb);
        Box::pin(Flush(self.mood, bomb))
    }
}

impl Drop for Moody {
    fn drop(&mut self) {
        assert!(self.mood != Mood::Drop, "asked for");
    }
}

/// A flush that may panic when polled or dropped.
struct Flush(Mood, #[allow(dead_code)] Option<Bomb>);

impl Future for Flush {
    type Output = anyhow::Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(self.0 != Mood::Flushing, "asked for");
        Poll::Ready(Ok(()))
    }
}

/// Publishes `events` on a [`Moody`] bus and joins. Returns what the bus kept, and the result of
/// the join.
async fn published(
    mood: Mood,
    events: impl Stream<Item = KvCacheEvent> + Send + 'static,
) -> (Vec<KvCacheEvents>, Result<(), JoinError>) {
    let kept = Arc::default();
    let joined = KvbmCacheEventsPublisher::builder()
        .instance_id(3)
        .event_stream(events)
        .publisher(Arc::new(Moody {
            mood,
            asked: Mutex::new(0),
            kept: Arc::clone(&kept),
        }))
        .build()
        .unwrap()
        .join()
        .await;
    let kept: Vec<KvbmCacheEvents> = std::mem::take(&mut kept.lock().unwrap());
    (kept.into_iter().map(|batch| batch.events).collect(), joined)
}

/// The batch is lost like one that is refused; everything else is sent.
#[tokio::test]
async fn a_publisher_goes_on_after_a_panic() {
    let messages = [
        KvCacheEvents::Create(vec![hash(1)]),
        KvCacheEvents::Remove(vec![hash(1)]),
        KvCacheEvents::Create(vec![hash(2)]),
        KvCacheEvents::Shutdown,
    ];
    let _log = tracing::subscriber::set_default(Log);
    let losing = |at| move |mood| (mood, Some(at));
    let moods = (0..messages.len())
        .map(|at| losing(at)(Mood::Publish(at)))
        .chain([Mood::Display, Mood::Refusal].map(losing(0)))
        .chain([Mood::Flush, Mood::Flushing, Mood::Flushed, Mood::Drop].map(|mood| (mood, None)));
    for (mood, lost) in moods {
        let events = stream::iter([create(1), remove(1), create(2)]);
        let (kept, joined) = published(mood, events).await;
        let mut expected = messages.to_vec();
        if let Some(lost) = lost {
            expected.remove(lost);
        }
        assert_eq!(kept, expected, "{mood:?}");
        let is_reported = lost.is_some() || matches!(mood, Mood::Flush | Mood::Flushing);
        assert_eq!(joined.is_err(), is_reported, "{mood:?}: {joined:?}");
        if lost.is_some() {
            let report = report(joined);
            assert!(
                report.starts_with("1 messages were not published"),
                "{report}"
            );
        }
    }
}

/// A bus that accepts messages up to a size.
struct Narrow {
    limit: usize,
    kept: Mutex<Vec<KvbmCacheEvents>>,
}

impl Publisher for Narrow {
    fn publish(&self, _subject: &str, payload: Bytes) -> anyhow::Result<()> {
        anyhow::ensure!(payload.len() <= self.limit, "too large");
        let message = rmp_serde::from_slice(&payload)?;
        self.kept.lock().unwrap().push(message);
        Ok(())
    }

    fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn max_payload(&self) -> Option<usize> {
        Some(self.limit)
    }
}

async fn narrow(
    limit: usize,
    events: impl Stream<Item = KvCacheEvent> + Send + 'static,
) -> (Vec<KvCacheEvents>, Result<(), JoinError>) {
    let bus = Arc::new(Narrow {
        limit,
        kept: Mutex::default(),
    });
    let joined = KvbmCacheEventsPublisher::builder()
        .instance_id(3)
        .event_stream(events)
        .publisher(Arc::clone(&bus))
        .batching_config(BatchingConfig::default().with_max_size(NonZeroUsize::MAX))
        .build()
        .unwrap()
        .join()
        .await;
    let kept = std::mem::take(&mut *bus.kept.lock().unwrap());
    (kept.into_iter().map(|batch| batch.events).collect(), joined)
}

#[tokio::test]
async fn a_batch_that_is_too_large_is_split() {
    let (mut kept, joined) = narrow(1000, stream::iter((0..5000).map(create))).await;
    joined.unwrap();
    assert_eq!(kept.pop(), Some(KvCacheEvents::Shutdown));
    let created: Vec<_> = kept
        .into_iter()
        .flat_map(|events| match events {
            KvCacheEvents::Create(hashes) => hashes,
            other => panic!("unexpected events: {other:?}"),
        })
        .collect();
    assert_eq!(created, (0..5000).map(hash).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_that_is_too_large_is_lost_and_reported() {
    let (kept, joined) = narrow(1, stream::iter([create(1), create(2)])).await;
    assert_eq!(kept, []);
    let report = report(joined);
    // The shutdown as well.
    assert!(
        report.starts_with("3 messages were not published"),
        "{report}"
    );
}

/// Everything before the panic is sent, and then the shutdown.
#[tokio::test]
async fn a_stream_that_panics_has_ended() {
    let mut events = [create(1), create(2)].into_iter();
    let events = stream::poll_fn(move |_| Poll::Ready(Some(events.next().expect("no more"))));
    let (kept, joined) = published(Mood::Publish(usize::MAX), events).await;
    let expected = [
        KvCacheEvents::Create(vec![hash(1), hash(2)]),
        KvCacheEvents::Shutdown,
    ];
    assert_eq!(kept, expected);
    let panic = joined.unwrap_err().into_panic();
    assert_eq!(
        panic.downcast_ref::<String>().map(String::as_str),
        Some("no more")
    );
}

/// An aborted task drops everything it owns, and panics in those drops are contained.
#[tokio::test]
async fn a_publisher_that_is_stopped_survives_its_users_drops() {
    let bomb = Bomb;
    let events = stream::poll_fn(move |_| {
        let _bomb = &bomb;
        Poll::Pending
    });
    let kept = Arc::default();
    let publisher = KvbmCacheEventsPublisher::builder()
        .instance_id(3)
        .event_stream(events)
        .publisher(Arc::new(Moody {
            mood: Mood::Drop,
            asked: Mutex::new(0),
            kept: Arc::clone(&kept),
        }))
        .build()
        .unwrap();
    tokio::task::yield_now().await;
    publisher.abort();
    assert!(publisher.join().await.unwrap_err().is_cancelled());
    assert_eq!(Arc::strong_count(&kept), 1);
}
