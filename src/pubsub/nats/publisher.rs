//! A bounded queue of messages for a NATS server.

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
/// Messages wait in a bounded queue, from which a task takes them to the server in order.
/// While there is no server that answers they stay there; the client reconnects by
/// itself, and the task goes on. At most as many messages as the
/// [capacity](NatsPublisherBuilder::capacity) are accepted and not yet confirmed; others
/// are refused with [`NatsError::Full`].
///
/// What arrives depends on whether there is a
/// [stream](NatsPublisherBuilder::stream):
///
/// * **Without**, a message goes to whoever is subscribed at that moment. The server
///   confirms up to 64 messages at once. Those that were under way when a connection
///   broke, or that were not confirmed [in
///   time](NatsPublisherBuilder::acknowledgement_timeout), are not sent again, and count as
///   [`lost`](Self::lost), although some of them may have arrived. What a consumer misses
///   while *it* has no connection is lost too, and not noticed. This is the fastest way,
///   and enough for consumers that take the events as hints.
/// * **With** one, a message leaves the queue when the server has confirmed that it is
///   stored. It is sent again until then, with an id by which the server knows it, so
///   that it is stored once as long as the server remembers the id (`duplicate_window` of
///   the stream), and in order. A consumer reads the stream at its own pace and resumes
///   where it was, whatever was restarted in between. This is for consumers that must be
///   exact. Only one message at a time is under way, so the throughput is one batch per
///   round trip.
///
/// # Loss
///
/// No message holds up those behind it forever. One that the server refuses for good is
/// lost at once: a message larger than the stream's `max_message_size`, one to a subject
/// that the stream does not cover, or to one that the user is not permitted to publish to.
/// One that the server fails to store is lost after a [number of
/// attempts](NatsPublisherBuilder::attempts). Only a server that does not answer at all, or
/// has no JetStream although there is to be a stream, is waited for as long as it takes,
/// while the queue fills up.
///
/// Every lost message, whether refused by [`publish`](Publisher::publish) or lost later,
/// is counted by [`lost`](Self::lost) and reported by the next
/// [`flush`](Publisher::flush). Losses after `publish` has accepted a message are also
/// logged, as errors.
///
/// Without a stream, a server tells of missing permissions only by an error of the
/// connection, which is noticed if the publisher was made with [`connect`](Self::connect)
/// or has [`refusals`](NatsPublisherBuilder::refusals). Since the client reports such
/// errors on a task of its own, a flush may in rare cases report one too late, with the
/// next flush.
///
/// Events that a subscription has lost, because its channel was too small, are not
/// published either. A consumer of an instance that has lost any events or messages is
/// wrong about that instance from then on.
///
/// Dropping the publisher stops the task, and what waits is not sent; to have it
/// sent, [`flush`](Publisher::flush) first.
///
/// # Permissions
///
/// The client's user must be permitted to subscribe to its inboxes (`_INBOX.>`, or the
/// client's own prefix). Without a stream, it must be permitted to publish to them as
/// well, since the server confirms messages by way of an inbox; with a stream, to publish
/// to `$JS.API.STREAM.INFO.*`, and to `$JS.API.STREAM.CREATE.*` if there is no stream yet.
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
    /// Connects to a server, and returns a builder of a publisher that uses the
    /// connection.
    ///
    /// This sets the event callback of the options, in place of any other. For one of
    /// your own, see [`NatsRefusals`].
    ///
    /// # Errors
    ///
    /// [`NatsError::Connect`] if the client cannot connect. With
    /// [`ConnectOptions::retry_on_initial_connect`], this does not wait for the server.
    pub async fn connect(
        options: ConnectOptions,
        addresses: impl ToServerAddrs,
    ) -> Result<NatsPublisherBuilder, NatsError> {
        let refusals = NatsRefusals::new();
        let client = refusals.watch(options).connect(addresses).await;
        let client = client.map_err(|source| NatsError::Connect { source })?;
        Ok(Self::builder(client).refusals(refusals))
    }

    /// Returns a builder of a publisher that uses this client. How to connect, and how to
    /// reconnect, is up to the client.
    pub const fn builder(client: Client) -> NatsPublisherBuilder {
        NatsPublisherBuilder::new(client)
    }

    /// Returns how many messages have been accepted, and neither confirmed by the server
    /// nor lost.
    pub fn waiting(&self) -> usize {
        self.ledger.waiting()
    }

    /// Returns how many messages have been lost: those that were not accepted, those that
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
        self.accept(subject, payload).map_err(|error| {
            self.ledger.refuse(&error);
            error.into()
        })
    }

    /// Completes when the server has confirmed the messages accepted before.
    ///
    /// # Errors
    ///
    /// * [`NatsError::Lost`] if messages have been lost that no flush has reported
    ///   before. This also counts messages that [`publish`](Publisher::publish) refused.
    /// * [`NatsError::Waiting`] if no message was delivered for as long as the
    ///   [flush timeout](NatsPublisherBuilder::flush_timeout). The messages are still in
    ///   the queue.
    /// * [`NatsError::Stopped`].
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
            // A task of the publisher's runtime, which has a timer. It is aborted with
            // this future.
            let mut task = JoinSet::new();
            task.spawn_on(flush.run(), &runtime);
            let flushed = task.join_next().await.and_then(Result::ok);
            flushed.unwrap_or(Err(NatsError::Stopped))?;
            Ok(ledger.report(since)?)
        }
        .boxed()
    }

    /// Returns what the server and the stream accept, without headers. Before the client
    /// has connected, this is what servers accept by default: 1 MiB.
    fn max_payload(&self) -> Option<usize> {
        Some(self.limits.max_payload())
    }
}

impl Drop for NatsPublisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}
