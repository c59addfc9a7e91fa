//! How are messages delivered to current subscribers, and when is one confirmed?
//!
//! Messages are sent in windows. The server handles messages of a connection in order, so the
//! echo of a last, empty message confirms a window. If the connection breaks, or the echo
//! does not arrive in time, it is unknown which messages of the window have arrived. They are
//! not sent again, since some could then arrive twice, and count as lost.
//!
//! While the server does not answer, nothing is handed to the client, which would buffer it.

use std::collections::VecDeque;
use std::sync::Arc;

use async_nats::client::PublishErrorKind;
use async_nats::subject::Subject;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::connection::Connection;
use super::courier::{Account, Message};
use super::error::NatsError;
use super::ledger::Ledger;
use super::limits::Limits;
use super::refusals::{Denials, GRACE};

/// How many messages may be unconfirmed. The client queues up to 128 of the server's errors
/// until they are observed, so none of a window's errors is dropped.
const WINDOW: usize = 64;

/// How many confirmed messages are remembered, for refusals that arrive late.
const RECENT: usize = 1024;

/// Delivers to current subscribers. See the module documentation.
pub(super) struct CoreDelivery {
    link: Connection,
    limits: Arc<Limits>,
    denials: Denials,
    /// The subjects of confirmed messages, latest last, since a refusal may be observed only
    /// after the echo. Empty if refusals are not observed.
    recent: VecDeque<Subject>,
}

impl CoreDelivery {
    pub(super) fn new(link: Connection, limits: Arc<Limits>, denials: Denials) -> Self {
        Self {
            link,
            limits,
            denials,
            recent: VecDeque::new(),
        }
    }

    /// Waits for a message. Tally refusals that arrive meanwhile.
    pub(super) async fn next(
        &mut self,
        queue: &mut mpsc::UnboundedReceiver<Message>,
        ledger: &Ledger,
    ) -> Option<Message> {
        loop {
            tokio::select! {
                biased;
                denied = self.denials.next() => self.count_late(&denied, ledger),
                message = queue.recv() => return message,
            }
        }
    }

    /// Collects a window: the first message, and others that are already waiting.
    pub(super) fn window(
        first: Message,
        queue: &mut mpsc::UnboundedReceiver<Message>,
    ) -> Vec<Message> {
        let others = std::iter::from_fn(|| queue.try_recv().ok());
        std::iter::once(first)
            .chain(others.take(WINDOW - 1))
            .collect()
    }

    /// Sends a window of messages and waits for its confirmation.
    pub(super) async fn deliver(&mut self, window: Vec<Message>, account: &mut Account<'_>) {
        let epoch = match self.link.answers().await {
            Ok(epoch) => epoch,
            Err(error) => return account.lose_rest(&error),
        };
        let mut sent = Vec::new();
        let deadline = Instant::now() + self.link.patience();
        for message in window {
            let subject = message.subject.clone();
            match self.send(message, deadline).await {
                Ok(()) => sent.push(subject),
                Err(error) => account.lose(1, &error),
            }
        }
        let confirmed = self.link.confirm(epoch).await;
        if self.count_denials(&mut sent, account) {
            // More may follow, and they must not pile up in the client.
            sleep(GRACE).await;
            self.count_denials(&mut sent, account);
        }
        match confirmed {
            Ok(()) => {
                account.confirm(sent.len());
                if self.denials.is_observed() {
                    self.recent.extend(sent);
                    let excess = self.recent.len().saturating_sub(RECENT);
                    self.recent.drain(..excess);
                }
            }
            Err(error) => account.lose_rest(&error),
        }
    }

    /// Tally the refusals observed so far. Returns whether there were any.
    fn count_denials(&mut self, sent: &mut Vec<Subject>, account: &mut Account<'_>) -> bool {
        let mut is_any = false;
        while let Some(denied) = self.denials.try_next() {
            is_any = true;
            if let Some(at) = sent.iter().position(|subject| *subject == denied) {
                sent.swap_remove(at);
                account.lose(1, &error_of(&denied));
            } else if self.forget_recent(&denied) {
                account.lose_confirmed(&error_of(&denied));
            }
        }
        is_any
    }

    /// Hands a message to the client, waiting for room in its queue until the deadline.
    async fn send(&self, message: Message, deadline: Instant) -> Result<(), NatsError> {
        let Message { subject, payload } = message;
        let size = payload.len();
        // The client may have changed servers since the message was accepted.
        self.limits.check_size(size)?;
        let sending = self.link.client().publish(subject.clone(), payload);
        match timeout_at(deadline, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => NatsError::TooLarge {
                    size,
                    max: self.limits.max_payload(),
                },
                PublishErrorKind::InvalidSubject => NatsError::Subject(subject.to_string()),
                PublishErrorKind::Send => NatsError::Closed,
            }),
            Err(_) => Err(NatsError::Unconfirmed),
        }
    }

    /// Tally a refusal that arrived after its message was confirmed.
    fn count_late(&mut self, denied: &Subject, ledger: &Ledger) {
        if self.forget_recent(denied) {
            ledger.lose(1, &error_of(denied));
        }
    }

    /// Removes the latest remembered message to this subject. Returns whether there was one.
    fn forget_recent(&mut self, subject: &Subject) -> bool {
        let at = self.recent.iter().rposition(|recent| recent == subject);
        at.and_then(|at| self.recent.remove(at)).is_some()
    }
}

fn error_of(denied: &Subject) -> NatsError {
    NatsError::Denied {
        subject: denied.to_string(),
    }
}
