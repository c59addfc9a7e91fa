//! How are messages delivered into a stream, and when is a message given up?
//!
//! A message is sent until the server acknowledges that it is stored, each time with the same
//! id, by which the server recognizes it. Only then is the next message sent, so messages are
//! stored in order.
//!
//! A message that the server refuses for good is lost at once. After any other failure, the
//! stream is looked up, which distinguishes three cases:
//!
//! * the server does not answer or lacks JetStream: the message waits until one does;
//! * the stream does not cover the subject: the message is lost;
//! * otherwise: the message is sent again, a limited number of times.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::sleep;

use super::connection::Connection;
use super::courier::{Account, Message};
use super::error::NatsError;
use super::ledger::log;
use super::refusals::Denials;
use super::stream_store::{StreamStore, is_absence, is_refusal};
use super::subjects::cover;

/// The first and the longest pause before a message is sent again. Each pause is twice as long
/// as the one before.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Delivers into a stream. See the module documentation.
pub(super) struct StreamDelivery {
    link: Connection,
    store: StreamStore,
    denials: Denials,
    /// How many times a message is sent to a server that answers.
    attempts: NonZeroU32,
    /// The number of the next message.
    number: u64,
}

/// Why a message was not stored.
enum Failure {
    /// It is lost: no attempt can succeed.
    Lost(NatsError),
    /// The next attempt may succeed. Has the reason of the failure.
    Passing(String),
}

impl StreamDelivery {
    pub(super) fn new(
        link: Connection,
        store: StreamStore,
        denials: Denials,
        attempts: NonZeroU32,
    ) -> Self {
        Self {
            link,
            store,
            denials,
            attempts,
            number: 0,
        }
    }

    /// Sends a message until it is stored or lost, and accounts for it.
    pub(super) async fn deliver(&mut self, message: Message, account: &mut Account<'_>) {
        let number = self.number;
        self.number += 1;
        match self.put(number, &message).await {
            Ok(()) => account.confirm(1),
            Err(error) => account.lose_rest(&error),
        }
    }

    async fn put(&mut self, number: u64, message: &Message) -> Result<(), NatsError> {
        let subject = &message.subject;
        let mut pause = PAUSES.0;
        for attempt in 1..=self.attempts.get() {
            let reason = match self.attempt(number, message).await {
                Ok(()) => return Ok(()),
                Err(Failure::Lost(error)) => return Err(error),
                Err(Failure::Passing(reason)) => reason,
            };
            log(|| tracing::warn!(%subject, attempt, reason, "a message was not stored"));
            self.examine(message).await?;
            if attempt < self.attempts.get() {
                sleep(pause).await;
                pause = PAUSES.1.min(pause * 2);
            }
        }
        Err(NatsError::Unacknowledged {
            subject: subject.to_string(),
            attempts: self.attempts.get(),
        })
    }

    async fn attempt(&mut self, number: u64, message: &Message) -> Result<(), Failure> {
        let Message { subject, payload } = message;
        let epoch = self.link.connected().await.map_err(Failure::Lost)?;
        // The client may have changed servers since the message was accepted.
        let size = self.store.limits().check_size(payload.len());
        size.map_err(Failure::Lost)?;
        // Skip refusals of earlier messages.
        while self.denials.try_next().is_some() {}
        let denied = async { while self.denials.next().await != *subject {} };
        let put = self.store.put(number, subject.clone(), payload.clone());
        let error = tokio::select! {
            biased;
            put = put => match put {
                Ok(()) => return Ok(()),
                Err(error) => error,
            },
            () = denied => {
                let subject = subject.to_string();
                return Err(Failure::Lost(NatsError::Denied { subject }));
            }
            // The client does not fail requests whose connection breaks.
            () = self.link.broken(epoch) => {
                return Err(Failure::Passing("the connection broke".to_owned()));
            }
        };
        if is_refusal(&error) {
            // The stream's limits may have changed.
            let _ = self.store.open().await;
            return Err(Failure::Lost(NatsError::Refused {
                subject: subject.to_string(),
                error,
            }));
        }
        Err(Failure::Passing(error.to_string()))
    }

    /// Waits for a server that answers, and checks that the stream covers the message's subject.
    /// Creates the stream if it is gone, since a server may have kept it only in memory.
    async fn examine(&self, message: &Message) -> Result<(), NatsError> {
        let stream = self.store.stream();
        loop {
            self.link.open().await?;
            match self.store.open().await {
                Ok(covers) if cover(&covers, &message.subject) => return Ok(()),
                Ok(covers) => {
                    return Err(NatsError::Uncovered {
                        stream: stream.to_owned(),
                        covers,
                        subject: message.subject.to_string(),
                    });
                }
                Err(error) => {
                    log(|| tracing::warn!(stream, %error, "the stream cannot be looked up"));
                    // A server that answers may fail to create the stream without a word, for
                    // want of a permission.
                    if !is_absence(&error) || self.store.is_gone().await {
                        return Ok(());
                    }
                    sleep(PAUSES.0).await;
                }
            }
        }
    }
}
