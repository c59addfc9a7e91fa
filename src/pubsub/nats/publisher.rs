//! A bounded queue of messages for a NATS server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use async_nats::Client;
use async_nats::jetstream::{self, stream};
use async_nats::subject::Subject;
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::pubsub::Publisher;

use super::courier::{Courier, Errand};
use super::error::NatsError;

/// Messages that can wait, if nothing else is said.
const DEFAULT_CAPACITY: usize = 8192;

/// What a message may have besides its payload.
const HEADER_ROOM: usize = 256;

/// Builds a [`NatsPublisher`].
pub struct NatsPublisherBuilder {
    client: Client,
    capacity: usize,
    stream: Option<stream::Config>,
}

impl NatsPublisherBuilder {
    /// How many messages can wait for the server; 8192 if not set. Their payloads
    /// are kept: a batch of 1024 events takes about 25 kB.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Publishes into this JetStream stream, which is made if there is none of its
    /// name: see [`NatsPublisher`] for what that gives. Its subjects must cover
    /// those that are published to.
    pub fn stream(mut self, stream: stream::Config) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Starts the publisher, as a task of the current tokio runtime. With a stream
    /// this waits for the server to have it.
    ///
    /// # Errors
    ///
    /// [`NatsError::NoCapacity`], [`NatsError::ExcessiveCapacity`],
    /// [`NatsError::NoRuntime`], [`NatsError::Stream`].
    pub async fn build(self) -> Result<NatsPublisher, NatsError> {
        let Self {
            client,
            capacity,
            stream,
        } = self;
        if capacity == 0 {
            return Err(NatsError::NoCapacity);
        }
        if capacity > Semaphore::MAX_PERMITS {
            return Err(NatsError::ExcessiveCapacity {
                capacity,
                max: Semaphore::MAX_PERMITS,
            });
        }
        let runtime = Handle::try_current().map_err(|_| NatsError::NoRuntime)?;
        if let Some(stream) = &stream {
            jetstream::new(client.clone())
                .get_or_create_stream(stream.clone())
                .await
                .map_err(|source| NatsError::Stream {
                    name: stream.name.clone(),
                    source,
                })?;
        }
        let (queue, errands) = mpsc::channel(capacity);
        let lost = Arc::new(AtomicU64::new(0));
        let courier = Courier::new(client.clone(), stream, errands, Arc::clone(&lost));
        let task = runtime.spawn(courier.run()).abort_handle();
        Ok(NatsPublisher {
            client,
            queue,
            lost,
            task,
        })
    }
}

/// Publishes to a NATS server.
///
/// Messages wait in a bounded queue, from which a task takes them to the server
/// one after the other. While there is no connection they stay there; the client
/// connects again by itself, and the task goes on. When the queue is full, messages
/// are refused with [`NatsError::Full`].
///
/// What arrives depends on whether there is a
/// [stream](NatsPublisherBuilder::stream):
///
/// * **Without**, a message goes to whoever is subscribed at that moment. What was
///   on its way when a connection broke is lost, and so is what a consumer misses
///   while *it* has none. That is the fastest, and enough for consumers that take
///   the events as hints.
/// * **With** one, a message leaves the queue when the server has confirmed that it
///   is stored. It is sent again until then, with an id by which the server knows it,
///   so that it is stored once as long as the server remembers the id
///   (`duplicate_window` of the stream), and in order. A consumer reads the stream
///   at its own pace and goes on where it was, whatever was restarted in between. For
///   a consumer that must be exact. A message at a time is under way, so that a
///   publisher has the throughput of one round trip for each batch.
///
/// In either case events that a subscription has lost, because its channel was too
/// small, are not published, and [`lost`](Self::lost) messages neither; a consumer of
/// an instance that has lost any is wrong about that instance from then on.
///
/// Dropping the publisher stops the task, and what waits is not sent; to have it
/// sent, [`flush`](Publisher::flush) first.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use kvbm_lockfree::BlockRegistry;
/// use kvbm_lockfree::events::{EventsManager, KvbmCacheEventsPublisher};
/// use kvbm_lockfree::pubsub::NatsPublisher;
/// use kvbm_lockfree::pubsub::async_nats::{ConnectOptions, jetstream::stream};
///
/// # async fn example() -> anyhow::Result<()> {
/// let client = ConnectOptions::new()
///     .retry_on_initial_connect()
///     .connect("nats://127.0.0.1:4222")
///     .await?;
/// let bus = NatsPublisher::builder(client)
///     .stream(stream::Config {
///         name: "kvbm".into(),
///         subjects: vec!["kvbm.events".into()],
///         ..Default::default()
///     })
///     .build()
///     .await?;
///
/// let events = Arc::new(EventsManager::builder().channel_capacity(1 << 16).build());
/// let publisher = KvbmCacheEventsPublisher::builder()
///     .instance_id(7)
///     .event_stream(events.subscribe())
///     .publisher(Arc::new(bus))
///     .subject("kvbm.events")
///     .build()?;
/// let registry = BlockRegistry::builder().event_manager(events).build();
/// // … serve …
/// drop(registry);
/// publisher.join().await?;
/// # Ok(())
/// # }
/// ```
pub struct NatsPublisher {
    client: Client,
    queue: mpsc::Sender<Errand>,
    lost: Arc<AtomicU64>,
    task: AbortHandle,
}

impl NatsPublisher {
    /// A builder of a publisher that uses this client. How to connect, and how to
    /// connect again, is the client's to say.
    pub fn builder(client: Client) -> NatsPublisherBuilder {
        NatsPublisherBuilder {
            client,
            capacity: DEFAULT_CAPACITY,
            stream: None,
        }
    }

    /// How many messages wait for the server.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// How many messages have been lost: refused because the queue was full, or
    /// refused for good by the server.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn accept(&self, subject: &str, payload: Bytes) -> Result<(), NatsError> {
        let subject = Subject::from(subject);
        if !subject.is_valid() || subject.contains(['*', '>']) {
            return Err(NatsError::Subject(subject.into_string()));
        }
        let max = self.client.max_payload().saturating_sub(HEADER_ROOM);
        if payload.len() > max {
            return Err(NatsError::TooLarge {
                size: payload.len(),
                max,
            });
        }
        let payload = own(payload);
        let message = Errand::Deliver { subject, payload };
        self.queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                NatsError::Full {
                    capacity: self.queue.max_capacity(),
                }
            }
            mpsc::error::TrySendError::Closed(_) => NatsError::Stopped,
        })
    }
}

/// Moves a payload into memory of our own. A user's memory ([`Bytes::from_owner`]) is
/// copied and dropped here, on the caller's thread: its drop is user code, whose panic
/// must not hit the courier or the client's connection. A uniquely owned buffer is not
/// copied.
fn own(payload: Bytes) -> Bytes {
    match payload.try_into_mut() {
        Ok(owned) => owned.freeze(),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}

impl Publisher for NatsPublisher {
    fn publish(&self, subject: &str, payload: Bytes) -> Result<()> {
        Ok(self.accept(subject, payload)?)
    }

    fn flush(&self) -> BoxFuture<'static, Result<()>> {
        let queue = self.queue.clone();
        async move {
            let (confirm, confirmed) = oneshot::channel();
            queue
                .send(Errand::Confirm(confirm))
                .await
                .map_err(|_| NatsError::Stopped)?;
            confirmed.await.map_err(|_| NatsError::Stopped)??;
            Ok(())
        }
        .boxed()
    }
}

impl Drop for NatsPublisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
