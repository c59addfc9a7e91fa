//! How does a program hand messages to the publisher, and learn what became of them?

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_nats::subject::Subject;
use async_nats::{Client, ConnectOptions, ToServerAddrs};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::pubsub::Publisher;

use super::builder::NatsPublisherBuilder;
use super::courier::Message;
use super::error::NatsError;
use super::flush::Flush;
use super::ledger::Ledger;
use super::limits::Limits;
use super::refusals::NatsRefusals;

/// Publishes to a NATS server.
///
/// Accepted messages wait in a bounded queue, from which a task delivers them in order. The
/// client reconnects by itself; until a server answers again, messages stay in the queue.
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
/// let options = ConnectOptions::new().retry_on_initial_connect();
/// let bus = NatsPublisher::connect(options, "nats://127.0.0.1:4222")
///     .await?
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
///
/// # What is delivered, and to whom?
///
/// That depends on whether there is a [stream](NatsPublisherBuilder::stream).
///
/// * **Without a stream**, a message goes to those subscribed at that moment, and arrives at
///   most once. This is the fastest way, and enough for consumers that treat events as hints.
///   Up to 64 messages, or 256 KiB, are sent at once and confirmed together. If the connection
///   breaks, or the confirmation does not come
///   [in time](NatsPublisherBuilder::acknowledgement_timeout), unconfirmed messages are not sent
///   again. They count as [`lost`](Self::lost), although some may have arrived.
/// * **With a stream**, a message leaves the queue when the server has confirmed that it is
///   stored. Consumers read the stream at their own pace and resume where they were, whatever
///   was restarted in between. This is for consumers that must be exact. An unconfirmed
///   message is sent again, with an id by which the server recognizes it, so it is stored only
///   once as long as the server remembers the id (the stream's `duplicate_window`). Messages
///   are sent one at a time, so throughput is one batch per round trip.
///
/// # In which order?
///
/// In the order of the calls to [`publish`](Publisher::publish), with or without a stream. If
/// calls overlap, their messages may be in either order.
///
/// # What can be lost?
///
/// * A message that [`publish`](Publisher::publish) does not accept, because as many are
///   waiting as the [capacity](NatsPublisherBuilder::capacity) allows, its subject is invalid,
///   it is too large, or the client is closed.
/// * A message that the server rejects for good: it exceeds the stream's `max_message_size`,
///   the stream does not cover its subject, or permissions forbid it. It is lost at once.
/// * Without a stream, a message that is not confirmed. With one, a message that is not stored
///   after a [number of attempts](NatsPublisherBuilder::attempts).
/// * Everything that is waiting when the publisher is dropped or its runtime shut down, which
///   stops its task. To have it sent first, [`flush`](Publisher::flush).
///
/// No message holds up those behind it forever. The publisher waits as long as it takes only
/// for a server that does not answer at all, or that lacks JetStream although there is a
/// stream. Meanwhile the queue fills up, and then `publish` fails.
///
/// # How do I learn of a loss?
///
/// * [`lost`](Self::lost) counts lost messages. What a dropped publisher loses is only logged.
/// * The next [`flush`](Publisher::flush) reports them, and why the last one was lost.
/// * Losses after `publish` has accepted a message are also logged, as errors.
///
/// A server reports missing permissions only as an error of the connection. The publisher
/// notices it if it was made with [`connect`](Self::connect), or has
/// [`refusals`](NatsPublisherBuilder::refusals). Otherwise, a forbidden message counts as
/// delivered without a stream, and is lost after all attempts with one. The client passes such
/// errors on from a task of its own, so without a stream a flush completes too early in rare
/// cases, and the next one reports them.
///
/// Two losses are beyond this publisher's knowledge: events that a subscription has lost
/// because its channel was too small, and, without a stream, messages that a consumer misses
/// while *it* is disconnected. A consumer that has missed any event of an instance is wrong
/// about that instance from then on.
///
/// # What does it cost?
///
/// `publish` copies the subject, and the payload if anything else refers to it. It takes a
/// mutex for a few instructions, and never waits for the network. Waiting messages take memory
/// for their payloads. Everything else happens on the publisher's task. The
/// [builder](NatsPublisherBuilder) lists the bounds of all waits.
///
/// # Which permissions does the client need?
///
/// * To publish to the subjects of the messages.
/// * To subscribe to its inboxes: `_INBOX.>`, or the client's own prefix.
/// * Without a stream, to publish to its inboxes as well, since messages are confirmed by way
///   of one.
/// * With a stream, to publish to `$JS.API.STREAM.INFO.*`, and to `$JS.API.STREAM.CREATE.*`
///   if the stream does not exist yet.
#[must_use = "dropping a publisher stops it, and loses what is waiting"]
pub struct NatsPublisher {
    pub(super) limits: Arc<Limits>,
    pub(super) queue: mpsc::UnboundedSender<Message>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) flush_timeout: Duration,
    pub(super) is_observed: bool,
    pub(super) task: AbortHandle,
    pub(super) runtime: Handle,
}

impl NatsPublisher {
    /// Connects to a server and returns a builder for a publisher that uses the connection.
    ///
    /// This replaces the event callback of the options. To have a callback of your own, see
    /// [`NatsRefusals`]. With [`ConnectOptions::retry_on_initial_connect`], this does not wait
    /// for the server.
    ///
    /// # Errors
    ///
    /// Returns [`NatsError::Connect`] if the client cannot connect.
    pub async fn connect(
        options: ConnectOptions,
        addresses: impl ToServerAddrs,
    ) -> Result<NatsPublisherBuilder, NatsError> {
        let refusals = NatsRefusals::new();
        let client = refusals.watch(options).connect(addresses).await;
        let client = client.map_err(|source| NatsError::Connect { source })?;
        Ok(Self::builder(client).refusals(refusals))
    }

    /// Returns a builder for a publisher that uses this client, which decides how to connect
    /// and reconnect.
    ///
    /// Refusals are not noticed unless the builder is given the client's
    /// [`refusals`](NatsPublisherBuilder::refusals).
    pub const fn builder(client: Client) -> NatsPublisherBuilder {
        NatsPublisherBuilder::new(client)
    }

    /// Returns the number of messages that are waiting: accepted, but neither confirmed by
    /// the server nor lost.
    pub fn waiting(&self) -> usize {
        self.ledger.waiting()
    }

    /// Returns the number of messages lost so far: those that were not accepted, those that
    /// the server refused, and those that it did not confirm.
    pub fn lost(&self) -> u64 {
        self.ledger.lost()
    }

    fn accept(&self, subject: &str, payload: Bytes) -> Result<(), NatsError> {
        let subject = Subject::from(subject);
        self.limits.check(&subject, payload.len())?;
        let payload = own(payload);
        self.ledger.accept()?;
        self.queue.send(Message { subject, payload }).map_err(|_| {
            self.ledger.settle(1);
            NatsError::Stopped
        })
    }
}

/// Moves a payload into memory that the crate owns. A uniquely owned buffer is not copied.
///
/// Memory that a user provides ([`Bytes::from_owner`]) is copied and dropped here, on the
/// caller's thread: its drop is user code, and a panic there must hit neither the courier nor
/// the client's connection.
fn own(payload: Bytes) -> Bytes {
    match payload.try_into_mut() {
        Ok(owned) => owned.freeze(),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}

impl Publisher for NatsPublisher {
    fn publish(&self, subject: &str, payload: Bytes) -> Result<()> {
        self.accept(subject, payload).map_err(|error| {
            self.ledger.refuse(&error);
            error.into()
        })
    }

    /// Returns a future that completes when every message accepted before this call has been
    /// confirmed by the server, or lost. It can be polled in any executor.
    ///
    /// If refusals are observed, it waits another 20 ms at the end, since they may arrive
    /// after the confirmation.
    ///
    /// # Errors
    ///
    /// * [`NatsError::Lost`] if messages have been lost that no flush had reported when this
    ///   one began. Those that [`publish`](Publisher::publish) did not accept count.
    /// * [`NatsError::Waiting`] if no message was delivered or lost for as long as the
    ///   [flush timeout](NatsPublisherBuilder::flush_timeout). The messages are still waiting.
    /// * [`NatsError::Stopped`] if the publisher was dropped, or its runtime shut down, before
    ///   everything was delivered.
    fn flush(&self) -> BoxFuture<'static, Result<()>> {
        let flush = Flush {
            ledger: Arc::clone(&self.ledger),
            since: self.ledger.checkpoint(),
            queue: self.queue.clone(),
            patience: self.flush_timeout,
            is_observed: self.is_observed,
        };
        let runtime = self.runtime.clone();
        let (ledger, since) = (Arc::clone(&flush.ledger), flush.since);
        async move {
            // Wait in a task on the publisher's runtime, which has a timer. Dropping this
            // future aborts the task.
            let mut task = JoinSet::new();
            task.spawn_on(flush.run(), &runtime);
            let flushed = task.join_next().await.and_then(Result::ok);
            flushed.unwrap_or(Err(NatsError::Stopped))?;
            Ok(ledger.report(since)?)
        }
        .boxed()
    }

    /// Returns the size in bytes of the largest payload that both the server and the stream
    /// accept. Until the client has connected, the server's limit is taken to be the default
    /// of 1 MiB. Headers that the publisher adds are already deducted.
    fn max_payload(&self) -> Option<usize> {
        Some(self.limits.max_payload())
    }
}

impl fmt::Debug for NatsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsPublisher")
            .field("waiting", &self.waiting())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}

impl Drop for NatsPublisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
