//! What does building a publisher check, and what does it wait for?
//!
//! For nothing, unless there is to be a JetStream stream: then until the server has it.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::stream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::connection::Connection;
use super::core_delivery::CoreDelivery;
use super::courier::{self, Route};
use super::error::NatsError;
use super::ledger::Ledger;
use super::limits::Limits;
use super::publisher::NatsPublisher;
use super::refusals::{Denials, NatsRefusals};
use super::stream_delivery::StreamDelivery;
use super::stream_store::{StreamStore, is_transient};

/// The default capacity, in messages.
const DEFAULT_CAPACITY: usize = 8192;

/// The largest capacity that can be set.
const MAX_CAPACITY: usize = Semaphore::MAX_PERMITS;

/// The pause between two attempts to look up the stream while a publisher is built.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest wait for the server: about 30 years. The clock cannot tell the end of
/// every duration.
const ENDLESS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Builds a [`NatsPublisher`].
///
/// Get one from [`NatsPublisher::connect`] or [`NatsPublisher::builder`].
///
/// # How long can each operation wait?
///
/// | what waits | for | at most | default |
/// |---|---|---|---|
/// | [`build`](Self::build) | the stream, if one is configured | [`startup_timeout`](Self::startup_timeout) | 30 s |
/// | a delivery | the server's confirmation | [`acknowledgement_timeout`](Self::acknowledgement_timeout) | 5 s |
/// | a message for a stream | to be stored by a server that answers | [`attempts`](Self::attempts) | 10 |
/// | a flush | the next message to be delivered or lost | [`flush_timeout`](Self::flush_timeout) | 120 s |
/// | a flush, if refusals are observed | late refusals | fixed | 20 ms |
/// | an accepted message | a server that answers | unbounded; at most [`capacity`](Self::capacity) messages wait | 8192 |
///
/// ```no_run
/// use std::time::Duration;
///
/// use kvbm_lockfree::pubsub::NatsPublisher;
/// use kvbm_lockfree::pubsub::async_nats::ConnectOptions;
///
/// # async fn example() -> anyhow::Result<()> {
/// // Hints for routers that may miss some: no stream, and nothing waits for long.
/// let bus = NatsPublisher::connect(ConnectOptions::new(), "nats://127.0.0.1:4222")
///     .await?
///     .capacity(1024)
///     .acknowledgement_timeout(Duration::from_secs(1))
///     .flush_timeout(Duration::from_secs(5))
///     .build()
///     .await?;
/// # drop(bus);
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct NatsPublisherBuilder {
    client: Client,
    capacity: usize,
    stream: Option<stream::Config>,
    refusals: Option<NatsRefusals>,
    startup_timeout: Duration,
    acknowledgement_timeout: Duration,
    flush_timeout: Duration,
    attempts: NonZeroU32,
}

impl NatsPublisherBuilder {
    pub(super) const fn new(client: Client) -> Self {
        Self {
            client,
            capacity: DEFAULT_CAPACITY,
            stream: None,
            refusals: None,
            startup_timeout: Duration::from_secs(30),
            acknowledgement_timeout: Duration::from_secs(5),
            flush_timeout: Duration::from_secs(120),
            attempts: const { NonZeroU32::new(10).unwrap() },
        }
    }

    /// Sets how many messages can be waiting: accepted, but not yet confirmed by the server
    /// or lost. Those being delivered count. The default is 8192.
    ///
    /// Payloads stay in memory while they wait: a batch of 1024 events takes about 25 kB.
    pub const fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Publishes into this JetStream stream. [`NatsPublisher`] explains what that
    /// guarantees.
    ///
    /// If no stream has this name, it is created. An existing stream is used unchanged,
    /// provided that it covers the subjects of this configuration. The stream must cover the
    /// subjects that are published to.
    pub fn stream(mut self, stream: stream::Config) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Sets the [`NatsRefusals`] from which the publisher learns that the server's
    /// permissions forbid a message. [`NatsPublisher::connect`] sets this by itself.
    pub fn refusals(mut self, refusals: NatsRefusals) -> Self {
        self.refusals = Some(refusals);
        self
    }

    /// Sets how long [`build`](Self::build) waits until the server has the stream. The
    /// default is 30 seconds. Only matters with a stream.
    pub const fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.startup_timeout = timeout;
        self
    }

    /// Sets how long to wait for the server to confirm messages it was sent. The default is
    /// 5 seconds.
    ///
    /// Messages that are not confirmed in time are lost without a stream, and sent again with
    /// one.
    pub const fn acknowledgement_timeout(mut self, timeout: Duration) -> Self {
        self.acknowledgement_timeout = timeout;
        self
    }

    /// Sets how many times a message is sent to a server that answers but does not store it,
    /// before the message is lost. The default is 10. Only matters with a stream.
    ///
    /// Pauses between attempts double from 20 ms up to 2 seconds; with 10 attempts they add
    /// up to about 6.5 seconds. If every attempt also reaches the
    /// [acknowledgement timeout](Self::acknowledgement_timeout), a message delays those behind
    /// it by about a minute. An attempt that ends because the connection breaks counts. The
    /// time until a server with JetStream answers again does not.
    pub const fn attempts(mut self, attempts: NonZeroU32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets how long a flush waits without progress, that is, while not a single message is
    /// delivered or lost. This happens when there is no server. The default is two minutes.
    pub const fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Starts the publisher as a task on the current tokio runtime, whose timer must be
    /// enabled.
    ///
    /// With a stream, this waits until the server has it, for at most the
    /// [startup timeout](Self::startup_timeout), even if the client is still connecting for
    /// the first time. Without a stream, it does not wait.
    ///
    /// # Errors
    ///
    /// * [`NatsError::NoCapacity`] or [`NatsError::ExcessiveCapacity`] if the
    ///   [capacity](Self::capacity) is 0 or too large.
    /// * [`NatsError::NoRuntime`] outside a tokio runtime.
    /// * [`NatsError::Subjects`] if the stream exists but does not cover the subjects of the
    ///   configuration. Nothing has been changed or published.
    /// * [`NatsError::Stream`] if the server refused to create the stream, or did not create
    ///   it in time.
    /// * [`NatsError::NoServer`] if no connection was established in time.
    /// * [`NatsError::Closed`] if the client gave up connecting.
    pub async fn build(self) -> Result<NatsPublisher, NatsError> {
        match self.capacity {
            0 => return Err(NatsError::NoCapacity),
            1..=MAX_CAPACITY => {}
            capacity => {
                return Err(NatsError::ExcessiveCapacity {
                    capacity,
                    max: MAX_CAPACITY,
                });
            }
        }
        let runtime = Handle::try_current().map_err(|_| NatsError::NoRuntime)?;
        // Before anything is published, so that no refusal is missed.
        let denials = match &self.refusals {
            Some(refusals) => refusals.subscribe(),
            None => Denials::unobserved(),
        };
        let patience = self.acknowledgement_timeout.min(ENDLESS);
        let link = Connection::new(self.client.clone(), patience);
        let (route, limits) = match self.stream {
            Some(stream) => {
                let store = StreamStore::new(self.client, stream, patience);
                prepare(&link, &store, self.startup_timeout).await?;
                let limits = Arc::clone(store.limits());
                let delivery = StreamDelivery::new(link, store, denials, self.attempts);
                (Route::Stream(Box::new(delivery)), limits)
            }
            None => {
                // These messages have no headers.
                let limits = Arc::new(Limits::new(self.client, 0));
                let delivery = CoreDelivery::new(link, Arc::clone(&limits), denials);
                (Route::Subscribers(Box::new(delivery)), limits)
            }
        };
        // Unbounded, since the ledger enforces the capacity.
        let (queue, messages) = mpsc::unbounded_channel();
        let ledger = Arc::new(Ledger::new(self.capacity));
        let task = runtime.spawn(courier::run(messages, route, Arc::clone(&ledger)));
        Ok(NatsPublisher {
            limits,
            queue,
            ledger,
            flush_timeout: self.flush_timeout,
            is_observed: self.refusals.is_some(),
            task: task.abort_handle(),
            runtime,
        })
    }
}

/// Waits until the server has the stream, then checks that it covers the configured subjects.
async fn prepare(link: &Connection, store: &StreamStore, limit: Duration) -> Result<(), NatsError> {
    let mut last = None;
    let opened = timeout(limit, async {
        loop {
            link.connected().await?;
            match store.open().await {
                Ok(covers) => return Ok(covers),
                Err(error) if is_transient(&error) => last = Some(error),
                Err(error) => return Err(stream_error(store, error)),
            }
            sleep(PAUSE).await;
        }
    });
    let covers = match opened.await {
        Ok(opened) => opened?,
        Err(_) => {
            return Err(match last {
                Some(error) => stream_error(store, error),
                None => NatsError::NoServer { waited: limit },
            });
        }
    };
    let needed = store.missing(&covers);
    if needed.is_empty() {
        return Ok(());
    }
    Err(NatsError::Subjects {
        stream: store.stream().to_owned(),
        covers,
        needed,
    })
}

impl fmt::Debug for NatsPublisherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsPublisherBuilder")
            .field("capacity", &self.capacity)
            .field("stream", &self.stream.as_ref().map(|stream| &stream.name))
            .field("startup_timeout", &self.startup_timeout)
            .field("acknowledgement_timeout", &self.acknowledgement_timeout)
            .field("flush_timeout", &self.flush_timeout)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

fn stream_error(
    store: &StreamStore,
    source: async_nats::jetstream::context::CreateStreamError,
) -> NatsError {
    NatsError::Stream {
        name: store.stream().to_owned(),
        source,
    }
}
