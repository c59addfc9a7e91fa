//! How does a publisher learn that the server's permissions forbid a message?
//!
//! The server reports it asynchronously, as an error of the connection.

use std::time::Duration;

use async_nats::subject::Subject;
use async_nats::{ConnectOptions, Event, ServerError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// How many refusals a publisher can fall behind before it misses some.
const BACKLOG: usize = 1024;

/// How long after the last confirmation a refusal may still arrive.
pub(super) const GRACE: Duration = Duration::from_millis(20);

const PREFIX: &str = "Permissions Violation for Publish to \"";

/// Tells publishers which messages the server's permissions forbid.
///
/// A server does not answer a forbidden message. It reports it as an error of the connection,
/// which reaches only the client's [event callback](ConnectOptions::event_callback).
/// [`NatsPublisher::connect`] installs one. If you connect the client yourself, either have
/// [`watch`](Self::watch) install the callback, or call [`observe`](Self::observe) from your
/// own:
///
/// ```no_run
/// use kvbm_lockfree::pubsub::async_nats::ConnectOptions;
/// use kvbm_lockfree::pubsub::{NatsPublisher, NatsRefusals};
///
/// # async fn example() -> anyhow::Result<()> {
/// let refusals = NatsRefusals::new();
/// let observed = refusals.clone();
/// let client = ConnectOptions::new()
///     .event_callback(move |event| {
///         observed.observe(&event);
///         async move { println!("{event}") }
///     })
///     .connect("nats://127.0.0.1:4222")
///     .await?;
/// let bus = NatsPublisher::builder(client).refusals(refusals).build().await?;
/// # Ok(())
/// # }
/// ```
///
/// One instance can serve several publishers on the same client. Clones are handles to the same
/// instance. A publisher that falls behind by more than 1024 refusals misses the oldest.
///
/// # How is a refusal matched with its message?
///
/// By subject, since the server's report names nothing else. If something else publishes to
/// the same subject through the same client, its refusals can be attributed to the publisher.
///
/// [`NatsPublisher::connect`]: super::NatsPublisher::connect
#[derive(Debug, Clone)]
pub struct NatsRefusals {
    denied: broadcast::Sender<Subject>,
}

impl Default for NatsRefusals {
    fn default() -> Self {
        Self::new()
    }
}

impl NatsRefusals {
    /// Creates an instance that has observed nothing.
    pub fn new() -> Self {
        Self {
            denied: broadcast::Sender::new(BACKLOG),
        }
    }

    /// Returns these options with an event callback that [observes](Self::observe) every
    /// event. It replaces any other callback.
    #[must_use]
    pub fn watch(&self, options: ConnectOptions) -> ConnectOptions {
        let refusals = self.clone();
        options.event_callback(move |event| {
            refusals.observe(&event);
            std::future::ready(())
        })
    }

    /// Tells publishers if this event reports that a message is forbidden, and ignores it
    /// otherwise. Never waits.
    pub fn observe(&self, event: &Event) {
        let Event::ServerError(ServerError::Other(error)) = event else {
            return;
        };
        let subject = error
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix('"'))
            .and_then(unquote);
        if let Some(subject) = subject {
            // An error means that there is no publisher.
            let _ = self.denied.send(Subject::from(subject));
        }
    }

    /// Returns a receiver for one publisher.
    pub(super) fn subscribe(&self) -> Denials {
        Denials {
            receiver: Some(self.denied.subscribe()),
        }
    }
}

/// Undoes how the server, which is written in Go, quotes a string.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            text.push(char);
            continue;
        }
        let kind = chars.next()?;
        let mut code = |digits| {
            let (code, rest) = chars.as_str().split_at_checked(digits)?;
            chars = rest.chars();
            char::from_u32(u32::from_str_radix(code, 16).ok()?)
        };
        text.push(match kind {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => code(2)?,
            'u' => code(4)?,
            'U' => code(8)?,
            literal => literal,
        });
    }
    Some(text)
}

/// Receives the subjects of forbidden messages.
pub(super) struct Denials {
    receiver: Option<broadcast::Receiver<Subject>>,
}

impl Denials {
    /// Creates a receiver that gets nothing, for a client whose events are not observed.
    pub(super) const fn unobserved() -> Self {
        Self { receiver: None }
    }

    pub(super) const fn is_observed(&self) -> bool {
        self.receiver.is_some()
    }

    /// Returns the next subject, unless no further refusal has been observed yet.
    pub(super) fn try_next(&mut self) -> Option<Subject> {
        let receiver = self.receiver.as_mut()?;
        loop {
            match receiver.try_recv() {
                Ok(subject) => return Some(subject),
                // Most likely refusals of other users of the client: this publisher has far
                // fewer messages in flight.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// Waits for the next subject; forever if refusals are not observed.
    pub(super) async fn next(&mut self) -> Subject {
        while let Some(receiver) = &mut self.receiver {
            match receiver.recv().await {
                Ok(subject) => return subject,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => self.receiver = None,
            }
        }
        std::future::pending().await
    }
}
