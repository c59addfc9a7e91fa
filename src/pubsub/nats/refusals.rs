//! Messages that the server does not permit, of which it tells asynchronously.

use std::time::Duration;

use async_nats::subject::Subject;
use async_nats::{ConnectOptions, Event, ServerError};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// How many refusals a publisher can be behind.
const BACKLOG: usize = 1024;

/// How long after the last confirmation refusals may be observed.
pub(super) const GRACE: Duration = Duration::from_millis(20);

const PREFIX: &str = "Permissions Violation for Publish to \"";

/// Passes on what the server refuses from the client's event callback to publishers.
///
/// A server does not answer messages that its permissions forbid; it reports them as
/// errors of the connection, and these reach only the callback of
/// [`ConnectOptions::event_callback`]. [`NatsPublisher::connect`] takes care of that. A
/// client that is connected otherwise needs the callback set [by this type](Self::watch),
/// or a callback of its own that calls [`observe`](Self::observe):
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

    /// Sets the event callback of these options to one that observes, in place of any
    /// other.
    pub fn watch(&self, options: ConnectOptions) -> ConnectOptions {
        let refusals = self.clone();
        options.event_callback(move |event| {
            refusals.observe(&event);
            std::future::ready(())
        })
    }

    /// Passes an event on, if it says that a message was not permitted.
    pub fn observe(&self, event: &Event) {
        let Event::ServerError(ServerError::Other(error)) = event else {
            return;
        };
        let subject = error
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_suffix('"'))
            .and_then(unquote);
        if let Some(subject) = subject {
            // An error says that there is no publisher.
            let _ = self.denied.send(Subject::from(subject));
        }
    }

    /// A receiver for one publisher.
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

/// The subjects of messages that were not permitted.
pub(super) struct Denials {
    receiver: Option<broadcast::Receiver<Subject>>,
}

impl Denials {
    /// For a client whose events nobody observes.
    pub(super) const fn unobserved() -> Self {
        Self { receiver: None }
    }

    pub(super) const fn is_observed(&self) -> bool {
        self.receiver.is_some()
    }

    /// Returns one that has been observed already, if there is one.
    pub(super) fn try_next(&mut self) -> Option<Subject> {
        let receiver = self.receiver.as_mut()?;
        loop {
            match receiver.try_recv() {
                Ok(subject) => return Some(subject),
                // Those of other users of the client, most likely: this publisher has
                // far fewer messages under way.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// Waits for one, for ever if there is none.
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
