//! The settings of a publisher, and its start.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::stream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::core_delivery::CoreDelivery;
use super::courier::{self, Route};
use super::error::NatsError;
use super::ledger::Ledger;
use super::limits::Limits;
use super::link::Link;
use super::publisher::NatsPublisher;
use super::refusals::{Denials, NatsRefusals};
use super::store::{Store, is_transient};
use super::stream_delivery::StreamDelivery;

/// How many messages can wait, unless the builder sets another number.
const DEFAULT_CAPACITY: usize = 8192;

/// The most that can be set.
const MAX_CAPACITY: usize = Semaphore::MAX_PERMITS;

/// The pause between two attempts to look up the stream while a publisher is built.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest wait for the server: about 30 years. The clock cannot tell the end of
/// every duration.
const ENDLESS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Builds a [`NatsPublisher`].
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

    /// Sets how many messages can be accepted and not yet confirmed by the server,
    /// including those that are under way. The default is 8192.
    ///
    /// Their payloads are kept in memory: a batch of 1024 events takes about 25 kB.
    pub const fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Publishes into this JetStream stream, which is created if there is none of its
    /// name: see [`NatsPublisher`] for what that gives.
    ///
    /// Its subjects must cover those that are published to. A stream that exists is used
    /// as it is, if it covers the subjects of this configuration.
    pub fn stream(mut self, stream: stream::Config) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Sets where the publisher learns that a message was not permitted: see
    /// [`NatsRefusals`]. [`NatsPublisher::connect`] has set it already.
    pub fn refusals(mut self, refusals: NatsRefusals) -> Self {
        self.refusals = Some(refusals);
        self
    }

    /// Sets how long [`build`](Self::build) waits for the server to have the stream. The
    /// default is 30 seconds.
    pub const fn startup_timeout(mut self, timeout: Duration) -> Self {
        self.startup_timeout = timeout;
        self
    }

    /// Sets how long to wait for the server to confirm what it was sent. The default is 5
    /// seconds.
    ///
    /// Without a stream, messages that are not confirmed in time count as lost. With one,
    /// they are sent again.
    pub const fn acknowledgement_timeout(mut self, timeout: Duration) -> Self {
        self.acknowledgement_timeout = timeout;
        self
    }

    /// Sets how often a message is sent to a server that answers but does not store it,
    /// before it counts as lost. The default is 10. Only matters with a stream.
    ///
    /// The pauses between the attempts grow from 20 ms to 2 seconds, and add up to 7
    /// seconds by default. If every attempt runs into the
    /// [acknowledgement timeout](Self::acknowledgement_timeout), a message thus delays those
    /// behind it by about a minute. An attempt that ends because the connection breaks
    /// counts; the time until there is a server again that answers, and has JetStream, does
    /// not.
    pub const fn attempts(mut self, attempts: NonZeroU32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets how long a flush waits while not a single message is delivered or lost, which
    /// happens when there is no server. The default is two minutes.
    pub const fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Starts the publisher, as a task of the current tokio runtime, whose timer must be
    /// enabled.
    ///
    /// With a stream, this waits until the server has it, for no longer than the
    /// [startup timeout](Self::startup_timeout), even if the client is still connecting
    /// for the first time. Without a stream, it does not wait.
    ///
    /// # Errors
    ///
    /// * [`NatsError::NoCapacity`], [`NatsError::ExcessiveCapacity`],
    ///   [`NatsError::NoRuntime`].
    /// * [`NatsError::Subjects`] if a stream of this name exists that does not cover the
    ///   subjects of the configuration. Nothing has been changed or published then.
    /// * [`NatsError::Stream`] if the server refused to create the stream, or did not in
    ///   time.
    /// * [`NatsError::NoServer`] if no connection was established in time,
    ///   [`NatsError::Closed`] if the client gave up connecting.
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
        // From now on, so that nothing is missed.
        let denials = match &self.refusals {
            Some(refusals) => refusals.subscribe(),
            None => Denials::unobserved(),
        };
        let patience = self.acknowledgement_timeout.min(ENDLESS);
        let link = Link::new(self.client.clone(), patience);
        let (route, limits) = match self.stream {
            Some(stream) => {
                let store = Store::new(self.client, stream, patience);
                prepare(&link, &store, self.startup_timeout).await?;
                let limits = Arc::clone(store.limits());
                let delivery = StreamDelivery::new(link, store, denials, self.attempts);
                (Route::Stream(Box::new(delivery)), limits)
            }
            None => {
                // Messages without headers.
                let limits = Arc::new(Limits::new(self.client, 0));
                let delivery = CoreDelivery::new(link, Arc::clone(&limits), denials);
                (Route::Subscribers(Box::new(delivery)), limits)
            }
        };
        // The ledger keeps to the capacity.
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

/// Waits until the server has the stream, and checks its subjects.
async fn prepare(link: &Link, store: &Store, limit: Duration) -> Result<(), NatsError> {
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

fn stream_error(
    store: &Store,
    source: async_nats::jetstream::context::CreateStreamError,
) -> NatsError {
    NatsError::Stream {
        name: store.stream().to_owned(),
        source,
    }
}
