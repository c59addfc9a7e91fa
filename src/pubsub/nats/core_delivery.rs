//! How are messages delivered to current subscribers, and when is one confirmed?
//!
//! Messages are sent in windows, bounded in number and in size. The server handles messages of a connection in order, so the
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

/// The size in bytes at which a window ends, so that a slow connection can deliver and confirm it
/// in time. A window exceeds it by at most one message.
const WINDOW_BYTES: usize = 256 << 10;

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

    /// Collects a window: the first message, and others that are already waiting, until there are
    /// [`WINDOW`] of them, or of [`WINDOW_BYTES`] together.
    pub(super) fn window(
        first: Message,
        queue: &mut mpsc::UnboundedReceiver<Message>,
    ) -> Vec<Message> {
        let mut bytes = first.payload.len();
        let mut window = vec![first];
        while window.len() < WINDOW
            && bytes < WINDOW_BYTES
            && let Ok(message) = queue.try_recv()
        {
            bytes += message.payload.len();
            window.push(message);
        }
        window
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

    /// Counts the refusals observed so far. Returns whether there were any.
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

    /// Counts a refusal that arrived after its message was confirmed.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: usize) -> Message {
        Message {
            subject: Subject::from("events"),
            payload: vec![0; size].into(),
        }
    }

    /// The sizes of the windows in which messages of these sizes are sent.
    fn windows(sizes: &[usize]) -> Vec<usize> {
        let (sender, mut queue) = mpsc::unbounded_channel();
        for &size in sizes {
            sender.send(message(size)).expect("the queue is open");
        }
        let mut windows = Vec::new();
        while let Ok(first) = queue.try_recv() {
            windows.push(CoreDelivery::window(first, &mut queue).len());
        }
        windows
    }

    #[test]
    fn windows_are_bounded_in_number_and_in_size() {
        assert_eq!(windows(&[0; WINDOW]), [WINDOW]);
        assert_eq!(windows(&[0; WINDOW + 1]), [WINDOW, 1]);
        assert_eq!(windows(&[WINDOW_BYTES; 3]), [1, 1, 1]);
        assert_eq!(windows(&[WINDOW_BYTES / 2; 5]), [2, 2, 1]);
        assert_eq!(windows(&[WINDOW_BYTES - 1, WINDOW_BYTES, 1]), [2, 1]);
    }
}
