//! How do events get onto a message bus, and what happens if it does not accept them?
//!
//! A [`KvbmCacheEventsPublisher`] runs a task that takes events from a subscription, groups
//! them with an [`EventBatcher`], and passes the batches to a [`Publisher`].

use std::fmt;
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

/// The default subject.
const DEFAULT_SUBJECT: &str = "kvbm.events";

const STREAM_DROPPED: &str = "a stream of events panicked when it was dropped";
const PUBLISHER_DROPPED: &str = "a publisher panicked when it was dropped";

/// Builds a [`KvbmCacheEventsPublisher`].
///
/// The instance, the stream of events and the publisher are required.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use kvbm_lockfree::events::{BatchingConfig, EventsManager, KvbmCacheEventsPublisher};
/// use kvbm_lockfree::pubsub::Publisher;
///
/// fn publish(
///     events: &EventsManager,
///     bus: Arc<impl Publisher + 'static>,
/// ) -> anyhow::Result<KvbmCacheEventsPublisher> {
///     KvbmCacheEventsPublisher::builder()
///         .instance_id(7)
///         .event_stream(events.subscribe())
///         .publisher(bus)
///         .batching_config(BatchingConfig::default().with_window(Duration::from_millis(2)))
///         .subject("kvbm.events.7")
///         .build()
/// }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
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
    /// Creates a builder with the default batching and subject.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the instance from which the events come. Required.
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

    /// Sets when batches are complete. By default, after 10 ms or at 1024 events.
    pub fn batching_config(mut self, config: BatchingConfig) -> Self {
        self.batching_config = config;
        self
    }

    /// Sets the subject of the messages. The default is `kvbm.events`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Starts publishing from a task on the current tokio runtime, whose timer must be
    /// enabled.
    ///
    /// # Errors
    ///
    /// Returns an error if a required setting is missing, or if there is no current runtime.
    pub fn build(self) -> Result<KvbmCacheEventsPublisher> {
        let instance_id = self.instance_id.context("instance_id is required")?;
        let events = self.event_stream.context("event_stream is required")?;
        let publisher = self.publisher.context("publisher is required")?;
        let runtime =
            Handle::try_current().context("a publisher must be built within a tokio runtime")?;

        // Contained, because an aborted task drops these at whatever point it has reached.
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

/// Publishes every batch, and finally `Shutdown`. Returns a report if anything was lost.
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

/// Wraps a stream so that a panic ends it. Everything before the panic is still published.
struct UntilPanic<S> {
    stream: Contained<Pin<Box<S>>>,
    /// Receives the panic, which the task resumes once everything is published.
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

/// Publishes events in batches, as MessagePack, from a task of its own.
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
/// /// Keeps the messages that are published.
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
///
/// # What is published, and in which order?
///
/// The batches of an [`EventBatcher`], in order. When the stream of events ends, the task
/// publishes [`KvCacheEvents::Shutdown`], flushes the publisher, and finishes. A batch larger
/// than [`Publisher::max_payload`] is split into several messages, which are batches as well,
/// and in order.
///
/// # When does the task end?
///
/// When the stream of events has ended and everything is published; [`join`](Self::join)
/// waits for that. Dropping this handle, or [`abort`](Self::abort), stops the task at once,
/// without publishing what is left or `Shutdown`. A stream that panics counts as ended.
///
/// # What can be lost, and how do I learn of it?
///
/// * *Messages that the [`Publisher`] does not accept*, or that make it panic. The failure is
///   logged and the task goes on with the next message. [`lost`](Self::lost) counts such
///   messages, and [`join`](Self::join) fails.
/// * *Messages that the `Publisher` loses later.* Its flush reports them, and `join` fails.
/// * *Events that the subscription loses* because it falls behind by more than the
///   [channel capacity](crate::events::EventsManagerBuilder::channel_capacity).
///   [`subscribe`](crate::events::EventsManager::subscribe) skips them silently, so give a
///   publisher a generous channel. To be told, filter
///   [`subscribe_loss_aware`](crate::events::EventsManager::subscribe_loss_aware) instead:
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use futures::{Stream, StreamExt, future};
/// use kvbm_lockfree::events::{EventsManager, KvCacheEvent};
/// # use futures::FutureExt;
/// # use kvbm_lockfree::{BlockRegistry, SequenceHash};
/// use tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged;
///
/// /// Counts the events that a subscription loses.
/// fn counting_losses(
///     events: &EventsManager,
///     lost: Arc<AtomicU64>,
/// ) -> impl Stream<Item = KvCacheEvent> + Send + 'static {
///     events.subscribe_loss_aware().filter_map(move |event| {
///         future::ready(match event {
///             Ok(event) => Some(event),
///             Err(Lagged(events)) => {
///                 lost.fetch_add(events, Ordering::Relaxed);
///                 None
///             }
///         })
///     })
/// }
/// # let events = Arc::new(EventsManager::builder().channel_capacity(2).build());
/// # let lost = Arc::new(AtomicU64::new(0));
/// # let mut counted = Box::pin(counting_losses(&events, Arc::clone(&lost)));
/// # let registry = BlockRegistry::builder().event_manager(events).build();
/// # for position in 0..3 {
/// #     drop(registry.register_sequence_hash(SequenceHash::new(1, None, position)));
/// # }
/// # while let Some(Some(_)) = counted.next().now_or_never() {}
/// # assert_eq!(lost.load(Ordering::Relaxed), 4);
/// ```
///
/// # What does it cost?
///
/// Registrations and other subscribers do not wait for this task. Each batch is sorted and
/// serialized once; one that must be split is serialized again in parts.
#[must_use = "dropping this handle aborts the task"]
pub struct KvbmCacheEventsPublisher {
    /// Returns a report if anything was lost.
    task: JoinHandle<Option<String>>,
    lost: Arc<AtomicU64>,
    runtime: Handle,
}

impl KvbmCacheEventsPublisher {
    /// Returns a builder.
    pub fn builder<S, P>() -> KvbmCacheEventsPublisherBuilder<S, P>
    where
        S: Stream<Item = KvCacheEvent> + Send + 'static,
        P: Publisher + 'static,
    {
        KvbmCacheEventsPublisherBuilder::new()
    }

    /// Waits until the stream of events has ended and everything has been published.
    /// Dropping the future aborts the task.
    ///
    /// # Errors
    ///
    /// Returns an error if
    ///
    /// * the task was aborted;
    /// * the stream of events panicked. The error carries that panic. All events before it
    ///   have been published, and so has `Shutdown`;
    /// * messages were lost, or the publisher could not be flushed. Everything else has been
    ///   published. The error is that of a task that panicked, and its payload is a `String`
    ///   that says what was lost and why. If the crate is compiled to abort on panics, the
    ///   error is that of a cancelled task instead.
    pub async fn join(mut self) -> Result<(), JoinError> {
        match (&mut self.task).await? {
            None => Ok(()),
            Some(report) => Err(join_error(report, &self.runtime).await),
        }
    }

    /// Returns the number of messages that have not been published so far, because the
    /// [`Publisher`] did not accept them or panicked. Messages that it loses after accepting
    /// them do not count; its flush reports those.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Aborts the task. Events that have not been published yet never are, nor is
    /// [`KvCacheEvents::Shutdown`].
    pub fn abort(&self) {
        self.task.abort();
    }

    /// Returns whether the task has ended, by finishing or being aborted.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl fmt::Debug for KvbmCacheEventsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvbmCacheEventsPublisher")
            .field("lost", &self.lost())
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl<S, P> fmt::Debug for KvbmCacheEventsPublisherBuilder<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvbmCacheEventsPublisherBuilder")
            .field("instance_id", &self.instance_id)
            .field("batching_config", &self.batching_config)
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

impl Drop for KvbmCacheEventsPublisher {
    fn drop(&mut self) {
        self.abort();
    }
}
