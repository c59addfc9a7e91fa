//! From a subscription to a message bus: a task that publishes batches.

use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use futures::{Stream, StreamExt};
use tokio::pin;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use crate::events::event::KvCacheEvent;
use crate::pubsub::Publisher;
use crate::user_code::{Contained, Panics, contain, contain_future};

use super::batcher::{BatchingConfig, EventBatcher};
use super::encoding::Messages;
use super::losses::{Losses, join_error};
use super::messages::{InstanceId, KvCacheEvents, KvbmCacheEvents};

/// The subject of messages unless the builder sets another.
const DEFAULT_SUBJECT: &str = "kvbm.events";

const STREAM_DROPPED: &str = "a stream of events panicked when it was dropped";
const PUBLISHER_DROPPED: &str = "a publisher panicked when it was dropped";

/// Builds a [`KvbmCacheEventsPublisher`].
pub struct KvbmCacheEventsPublisherBuilder<S, P> {
    instance_id: Option<InstanceId>,
    event_stream: Option<Contained<S>>,
    publisher: Option<Contained<Arc<P>>>,
    batching_config: BatchingConfig,
    subject: String,
}

impl<S, P> Default for KvbmCacheEventsPublisherBuilder<S, P> {
    fn default() -> Self {
        Self {
            instance_id: None,
            event_stream: None,
            publisher: None,
            batching_config: BatchingConfig::default(),
            subject: DEFAULT_SUBJECT.to_owned(),
        }
    }
}

impl<S, P> KvbmCacheEventsPublisherBuilder<S, P>
where
    S: Stream<Item = KvCacheEvent> + Send + 'static,
    P: Publisher + 'static,
{
    /// Creates a builder with nothing set but the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the instance whose events these are. Required.
    pub fn instance_id(mut self, id: InstanceId) -> Self {
        self.instance_id = Some(id);
        self
    }

    /// Sets the stream of events, usually from
    /// [`EventsManager::subscribe`](crate::events::EventsManager::subscribe). Required.
    pub fn event_stream(mut self, stream: S) -> Self {
        self.event_stream = Some(Contained::new(STREAM_DROPPED, stream));
        self
    }

    /// Sets the publisher that sends the messages. Required.
    pub fn publisher(mut self, publisher: Arc<P>) -> Self {
        self.publisher = Some(Contained::new(PUBLISHER_DROPPED, publisher));
        self
    }

    /// Sets when batches are complete.
    pub fn batching_config(mut self, config: BatchingConfig) -> Self {
        self.batching_config = config;
        self
    }

    /// Sets the subject of the messages. The default is `kvbm.events`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Starts publishing in a task on the current tokio runtime, whose timer must be
    /// enabled.
    ///
    /// # Errors
    ///
    /// Returns an error if something required is missing, or there is no current runtime.
    pub fn build(self) -> Result<KvbmCacheEventsPublisher> {
        let instance_id = self.instance_id.context("instance_id is required")?;
        let events = self.event_stream.context("event_stream is required")?;
        let publisher = self.publisher.context("publisher is required")?;
        let runtime = Handle::try_current().context("a publisher is a task of a tokio runtime")?;

        // An aborted task drops these wherever it is.
        let stream = Contained::new(STREAM_DROPPED, Box::pin(events.into_inner()));
        let panics = Arc::new(Mutex::new(Panics::new()));
        let events = UntilPanic {
            stream,
            panics: Arc::clone(&panics),
        };
        let batches = EventBatcher::new(self.batching_config, instance_id).batch(events);
        let lost = Arc::default();
        let losses = Losses::new(Arc::clone(&lost));
        let publishing = publish(batches, publisher, self.subject, instance_id, losses);
        let task = runtime.spawn(async move {
            let report = publishing.await;
            let panics = mem::take(&mut *lock(&panics));
            panics.resume();
            report
        });
        Ok(KvbmCacheEventsPublisher {
            task,
            lost,
            runtime,
        })
    }
}

/// Publishes every batch, and finally `Shutdown`. Returns a report of what was lost.
async fn publish<P: Publisher>(
    batches: impl Stream<Item = KvbmCacheEvents>,
    publisher: Contained<Arc<P>>,
    subject: String,
    instance_id: InstanceId,
    mut losses: Losses,
) -> Option<String> {
    let mut send = |batch: KvbmCacheEvents, what| {
        let Some(limit) = contain("a publisher panicked", || publisher.max_payload()) else {
            losses.published(None, &subject, what);
            return;
        };
        for message in Messages::of(batch, limit) {
            let sent = contain("a publisher panicked", || {
                publisher.publish(&subject, message?)
            });
            losses.published(sent, &subject, what);
        }
    };
    {
        pin!(batches);
        while let Some(batch) = batches.next().await {
            send(batch, "a batch of events was not published");
        }
    }
    let shutdown = KvbmCacheEvents {
        events: KvCacheEvents::Shutdown,
        instance_id,
    };
    send(shutdown, "the end of events was not published");
    let flushed = match contain("a publisher panicked", || publisher.flush()) {
        Some(flush) => contain_future("a publisher panicked while it flushed", flush).await,
        None => None,
    };
    losses.flushed(flushed, &subject);
    losses.report()
}

/// Wraps a stream and ends when it ends or panics, so that everything before the panic is
/// published.
struct UntilPanic<S> {
    stream: Contained<Pin<Box<S>>>,
    /// For the task to resume once everything is done.
    panics: Arc<Mutex<Panics>>,
}

impl<S: Stream> Stream for UntilPanic<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut panics = Panics::new();
        if let Some(polled) = panics.catch(|| self.stream.as_mut().poll_next(context)) {
            return polled;
        }
        *lock(&self.panics) = panics;
        // The batcher does not poll again after the end.
        Poll::Ready(None)
    }
}

fn lock(panics: &Mutex<Panics>) -> MutexGuard<'_, Panics> {
    panics.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A task that publishes events in batches, as MessagePack.
///
/// When the stream of events ends, the task publishes [`KvCacheEvents::Shutdown`],
/// flushes the publisher, and finishes. Dropping this handle aborts the task at once; to
/// have everything published first, [`join`](Self::join) it.
///
/// A batch that is larger than [`Publisher::max_payload`] is sent as several messages. They
/// are batches as well, and in order.
///
/// If the [`Publisher`] refuses a message or panics, that message is lost, the error is
/// logged, and the task goes on with the next one; [`lost`](Self::lost) counts such
/// messages, and [`join`](Self::join) fails. A stream of events that panics counts as
/// ended.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use bytes::Bytes;
/// use futures::future::{BoxFuture, FutureExt};
/// use kvbm_lockfree::events::{EventsManager, KvbmCacheEvents, KvbmCacheEventsPublisher};
/// use kvbm_lockfree::pubsub::Publisher;
/// use kvbm_lockfree::{BlockRegistry, SequenceHash};
///
/// /// Keeps what is published.
/// #[derive(Default)]
/// struct Kept(Mutex<Vec<Bytes>>);
///
/// impl Publisher for Kept {
///     fn publish(&self, _subject: &str, payload: Bytes) -> anyhow::Result<()> {
///         self.0.lock().unwrap().push(payload);
///         Ok(())
///     }
///
///     fn flush(&self) -> BoxFuture<'static, anyhow::Result<()>> {
///         async { Ok(()) }.boxed()
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let events = Arc::new(EventsManager::builder().build());
/// let bus = Arc::new(Kept::default());
/// let publisher = KvbmCacheEventsPublisher::builder()
///     .instance_id(7)
///     .event_stream(events.subscribe())
///     .publisher(Arc::clone(&bus))
///     .build()?;
///
/// let registry = BlockRegistry::builder().event_manager(events).build();
/// drop(registry.register_sequence_hash(SequenceHash::new(1, None, 0)));
/// drop(registry);
/// publisher.join().await?;
///
/// let messages = bus.0.lock().unwrap();
/// assert_eq!(messages.len(), 3, "create, remove, and shutdown");
/// let first: KvbmCacheEvents = rmp_serde::from_slice(&messages[0])?;
/// assert_eq!(first.instance_id, 7);
/// # anyhow::Ok(())
/// # })?;
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct KvbmCacheEventsPublisher {
    /// Returns a report if anything was lost.
    task: JoinHandle<Option<String>>,
    lost: Arc<AtomicU64>,
    runtime: Handle,
}

impl KvbmCacheEventsPublisher {
    /// Creates a builder.
    pub fn builder<S, P>() -> KvbmCacheEventsPublisherBuilder<S, P>
    where
        S: Stream<Item = KvCacheEvent> + Send + 'static,
        P: Publisher + 'static,
    {
        KvbmCacheEventsPublisherBuilder::new()
    }

    /// Waits until the stream of events has ended and everything has been published. If
    /// the future is dropped, the task is aborted.
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// * the task was aborted;
    /// * the stream of events panicked: the error carries that panic, and all events
    ///   before it have been published, as has `Shutdown`;
    /// * messages were lost, or the publisher could not be flushed: everything else has
    ///   been published, and the error is that of a task that panicked with a `String`
    ///   that says what was lost and why. If the crate is compiled to abort on panics,
    ///   it is that of a task that was cancelled instead.
    pub async fn join(mut self) -> Result<(), JoinError> {
        match (&mut self.task).await? {
            None => Ok(()),
            Some(report) => Err(join_error(report, &self.runtime).await),
        }
    }

    /// Returns how many messages have not been published so far, because the
    /// [`Publisher`] refused them or panicked. What a publisher loses later, it reports
    /// when it is flushed.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Aborts the task. Events that have not been published yet are not published.
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Returns whether the task has finished or was aborted.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for KvbmCacheEventsPublisher {
    fn drop(&mut self) {
        self.abort();
    }
}
